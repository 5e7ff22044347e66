"""Declares the settings of a run's teacher: whose weights it has, and what it reads."""

from dataclasses import dataclass
from typing import ClassVar

from selfdistill.errors import UserError
from selfdistill.methods.setting import Settings, setting

KINDS = ("none", "initial", "live", "snapshot", "ema", "trust_region", "external")
EXTERNAL = "external"
#: Of `teacher.reference`, beside names of models: nothing, and the student's first weights.
NO_REFERENCE, INITIAL = "none", "initial"
CLOCKS = ("training_steps", "optimizer_steps")
SOURCES = ("none", "self_rollout", "gt_cot", "critique")
TRUNCATIONS = ("hint_body", "left")
HINT_MODES = ("solution_answer", "answer_only", "solution")
#: Templates of teachers' prompts by name; another name is a file of the user's own.
TEMPLATES = ("reference", "sections", "critique")
FEEDBACK = ("never", "only_without_solution", "always")
THINKING = ("keep", "remove_closed", "remove")


@dataclass(frozen=True)
class TeacherSettings(Settings):
    """Says which weights score a teacher's contexts. What the kinds are: config/README.md, Teachers."""

    at: ClassVar = ("teacher",)

    kind: str = setting("none", "Whose weights the teacher has; see below.", choices=KINDS)
    sync_interval: int = setting(10, "Between snapshots.", unit="ticks", minimum=1)
    ema_decay: float = setting(0.95, "Of the moving average; 1 is frozen.", minimum=0, maximum=1)
    student_share: float = setting(0.05, "Of the student's logits in the trust region's.", minimum=0, maximum=1)
    clock: str = setting("training_steps", "What ticks, for snapshots and the moving average (D4).", choices=CLOCKS)
    model: str = setting(
        "", "Of the kind `external`: an entry of `models`, whose weights are read and never change.", added=True
    )
    reference: str = setting(
        NO_REFERENCE,
        "What an extrapolation past the teacher starts from: `initial`, the student's first weights, or an entry of "
        "`models`, the one that the teacher was trained from.",
        added=True,
    )

    def check_model(self, where: str = "run config") -> None:
        """Raise UserError where kind and model contradict each other; a method's published values may lack a model."""
        if (self.kind == EXTERNAL) != bool(self.model):
            raise UserError(
                f"{where}: teacher.kind is {self.kind!r} and teacher.model {self.model!r}: the kind external needs "
                "an entry of models, and no other kind reads one; change one of them",
                keys=["teacher.kind", "teacher.model"],
            )

    @property
    def models(self) -> dict[str, str]:
        """Models that are read beside the student: "teacher" and "reference" -> the entry, of those that there are."""
        found = {
            "teacher": self.model,
            "reference": "" if self.reference in (NO_REFERENCE, INITIAL) else self.reference,
        }
        return {role: model for role, model in found.items() if model}


@dataclass(frozen=True)
class HintSettings(Settings):
    """Says how hints are chosen and shown."""

    at: ClassVar = ("hints",)

    source: str = setting(
        "none",
        "Correct hint: a correct response of the same group, the dataset's solution, or what a critic says of the "
        "rollout itself (`critic`).",
        choices=SOURCES,
    )
    mode: str = setting("solution_answer", "What of a hint is shown, beside feedback.", choices=HINT_MODES)
    framing: str = setting("neutral", "The template's framing sentence.", choices=("neutral", "verbose", "terse"))
    k_max: int = setting(
        4, "Most wrong hints of a rollout; methods that compare distributions read one.", unit="hints", minimum=1
    )
    max_tokens: int = setting(
        16384,
        "Most of a hint, solution and answer; the same for correct and wrong ones.",
        unit="tokens",
        minimum=1,
    )
    truncation: str = setting(
        "hint_body",
        "What too long a hint costs: the beginning of its solution, the template staying whole; or the beginning of "
        "the whole prompt, chat header and problem first (D15).",
        choices=TRUNCATIONS,
    )
    lone_targets: str = setting(
        "keep",
        "A rollout without a possible hint stays without signal, or leaves the batch (D10).",
        choices=("keep", "drop"),
    )
    allow_self: bool = setting(False, "A rollout may be its own hint (ablation).")
    template: str = setting(
        "reference",
        "Words around a hint: `reference` is a reference solution between marks, `sections` SDPO's headings behind the "
        "student's own prompt, `critique` a review of an earlier attempt; or a file of one's own (docs/methods.md, "
        "Contexts): a .yaml with `body` and a section a part, or a .txt that is the whole message.",
        pattern=(
            "reference, sections, critique, or the path of a .yaml or .txt file",
            r"^(reference|sections|critique|.+\.(ya?ml|txt))$(?!\n)",
        ),
        added=True,
    )
    feedback: str = setting(
        "never",
        "When the teacher reads what the grader said of the rollout: never, where there is no solution to show, or "
        "always; blank feedback is none.",
        choices=FEEDBACK,
        added=True,
    )
    shuffle_feedback: bool = setting(
        False,
        "Feedback is that of a rollout of another prompt of the step, about something else: a negative control.",
        added=True,
    )
    attempt: bool = setting(
        False,
        "A hinted teacher also reads the rollout that it scores, where its template has a place for it.",
        added=True,
    )
    sibling: str = setting(
        "keyed",
        "Which response of the group is the correct hint: one drawn for each rollout by the run's seed, or the first "
        "one in the batch's order.",
        choices=("keyed", "first"),
        added=True,
    )
    success_threshold: float = setting(
        1.0,
        "A response whose score is as high may be shown as correct too; scores are 1 for right answers, and between 0 "
        "and 1 only where a grader knows of halves.",
        above=0,
        maximum=1,
        added=True,
    )
    thinking: str = setting(
        "keep",
        "Thinking in a response that is shown: kept, taken out where it is closed (as SDPO was released), or also "
        "where a `<think>` or `</think>` stands alone.",
        choices=THINKING,
        added=True,
    )


def reads_initial(kind: str, reference: str | None) -> bool:
    """Return whether a teacher of this kind, or what it is compared with, needs the initial weights beside its own."""
    return INITIAL in (kind, reference) or kind == "trust_region"
