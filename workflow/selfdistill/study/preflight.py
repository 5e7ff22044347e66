"""Resolves a configuration's pre-flights: contexts that a base model is tried under before training, and limits."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from selfdistill.errors import UserError
from selfdistill.study.base_chat import base_chat, base_section
from selfdistill.study.critic_settings import CriticSettings
from selfdistill.study.feedback_levels import check_level
from selfdistill.study.matrix import BASE
from selfdistill.study.own_prompts import resolved_prompt
from selfdistill.study.teacher_settings import EXTERNAL

if TYPE_CHECKING:
    from selfdistill.study.study import Study

#: Where what a pre-flight found lies.
PREFLIGHT_FILE = "results/preflight/{task}/{model}/{variant}.json"
#: The row of the model that reads no context; contexts have other names.
STUDENT = "student"
#: The row of what a comparison of methods needs of a base model (`preflight.contrast`).
CONTRAST = "contrast"

#: What is measured under each context, and of the student. The first token that is wrong is known where the grader can
#: tell it; where none can, what is of tokens is missing.
MEASURES: Mapping[str, str] = {
    "hinted_share": "share of the responses of which the context has anything to show",
    "argmax_right": "share of wrong responses at whose first wrong token the right one is the most likely",
    "right_probability": "mean probability of the right token there",
    "log_ratio": "mean log-prob of the wrong token there, minus the student's, in nats",
    "elsewhere": "mean absolute difference of the two at all other tokens, in nats",
    "elsewhere_share": "`elsewhere` over the absolute value of `log_ratio`",
    "divergence": "mean Jensen-Shannon divergence from the student there, in nats",
    "divergence_elsewhere": "the same at all other tokens",
    "accuracy_as_trained": "share of right answers of a model that reads the context, drawn as rollouts are",
    "accuracy": "the same, drawn as in evaluation",
    "student_accuracy": "the same without the context, on the same problems",
    "accuracy_gain": "accuracy minus student_accuracy",
    "gap": "the same over all responses; the teacher is the student where it has no context",
    "gap_low": "lower bound of its 95 % interval, over problems",
    "gap_high": "upper bound of it",
    "delta_wrong": "mean log-prob of a token of wrong responses, minus the student's, in nats",
    "delta_right": "the same of right responses to the same problems, under the context of a wrong one: a placebo",
    "delta_gap": "`delta_wrong` minus `delta_right`",
    "delta_gap_alike": "the same of those wrong and right responses alone that begin with the same token",
    "delta_first": "as `delta_wrong`, at the first token of a response",
    "delta_answer": "as `delta_wrong`, at the boxed answer",
    "delta_answer_right": "as `delta_right`, at the boxed answer",
    "plain_accuracy": "share of right answers without a context, over all problems, drawn as in evaluation",
    "rollout_accuracy": "the same, drawn as rollouts are",
    "direct_share": "share of answers without any working, drawn as in evaluation",
    "slip_share": "share of wrong rollouts whose first wrong token is known and not the first of all",
    "follows_right": "share of responses under a right hint that box its answer",
    "follows_wrong": "the same under a wrong hint, a wrong rollout of the problem",
    "slip_auc": "mean share of the tokens before a slip that contrastive evidence of siblings puts above it",
    "slip_evidence": "mean contrastive evidence at slips, in nats",
    "evidence_before": "mean absolute contrastive evidence before slips, in nats",
}


@dataclass(frozen=True)
class Preflight:
    """A pre-flight: of the contexts that a task names (variant "base"), or of those of a variant's first step."""

    task: str
    model: str
    variant: str

    @property
    def file(self) -> str:
        """Returns where what was found lies."""
        return PREFLIGHT_FILE.format(**vars(self))


class Preflights:
    """The pre-flights that a configuration asks for."""

    def __init__(self, study: "Study"):
        """study: a checked configuration."""
        self._study = study

    def cells(self) -> list[Preflight]:
        """Return those of the matrix: of tasks' own contexts where a run waits for them, and, where a task asks for
        them (`variants`), of its variants with a self-teacher, one for all that read the same contexts.
        """
        found: dict[tuple[str, str, str], Preflight] = {}
        for run in self._study.runs():
            if run.variant == BASE:
                continue
            for each in self.awaited(run.task, run.model, run.variant):
                found.setdefault((run.task, run.model, each.variant), each)
            if self._asked(run.task).get("variants") and self._shows_contexts(run.task, run.model, run.variant):
                settings = self._study.resolve(run.task, run.model, run.variant, 0)
                if settings["teacher"]["kind"] != EXTERNAL:
                    read = repr([settings[section] for section in ("hints", "reward", "rollout")])
                    found.setdefault((run.task, run.model, read), Preflight(run.task, run.model, run.variant))
        return list(found.values())

    def awaited(self, task: str, model: str, variant: str) -> list[Preflight]:
        """Return what a run waits for that shows contexts: its task's pre-flight, and its own where that has limits.

        Where methods are to be compared (`contrast`), every run waits for the task's.
        """
        if self._asked(task).get("contrast"):
            own = [variant] if variant in self._asked(task).get("limits", {}) else []
            return [Preflight(task, model, each) for each in (BASE, *own)]
        if not self._shows_contexts(task, model, variant):
            return []
        found = [BASE] if self._asked(task).get("contexts") else []
        found += [variant] if variant in self._asked(task).get("limits", {}) else []
        return [Preflight(task, model, each) for each in found]

    def refuses(self, task: str) -> bool:
        """Return whether a run is refused where a limit is not met."""
        return bool(self._asked(task).get("refuse"))

    def limits(self, task: str, variant: str) -> dict[str, Any]:
        """Return context -> measure -> bound -> limit: of the task's contexts, or of a variant's first step."""
        limits = self._asked(task).get("limits", {})
        names = (STUDENT, CONTRAST, *self._asked(task).get("contexts", {})) if variant == BASE else (variant,)
        return {name: dict(limits[name]) for name in names if name in limits}

    def of(self, task: str, model: str, variant: str) -> dict[str, Any]:
        """Return all that decides one pre-flight, JSON-able.

        Rollouts and hints are those of the variant's runs, and of the base those of runs as far as neither method nor
        variant changes them.

        Raises:
            UserError: for a task that asks for none, or names no contexts of its own; and as `resolve` does.
        """
        study, entry, asked = self._study, self._study.config["tasks"][task], self._asked(task)
        if not asked or (variant == BASE and not (asked.get("contexts") or asked.get("contrast"))):
            raise UserError(
                f"tasks.{task}: it asks for no such pre-flight; give it preflight.problems and .contexts, or .contrast"
            )
        shared = {
            "problems": asked["problems"],
            "grader": entry["grader"],
            "grading": dict(entry.get("grading", {})),
            "evaluation": dict(entry["evaluation"]),
            **resolved_prompt(entry),
        }
        if variant != BASE:
            return {**shared, "run": study.resolve(task, model, variant, 0)}
        sections = {name: base_section(study.config, task, model, name) for name in ("rollout", "hints")}
        contexts = {name: dict(about) for name, about in asked.get("contexts", {}).items()}
        more = {name: asked[name] for name in ("responses", "contrast") if name in asked}
        return {**shared, **more, "contexts": contexts, **sections, "chat": base_chat(study.config, task, model)}

    def _asked(self, task: str) -> Mapping[str, Any]:
        return self._study.config["tasks"][task].get("preflight", {})

    def _shows_contexts(self, task: str, model: str, variant: str) -> bool:
        hints = self._study.resolve(task, model, variant, 0)["hints"]
        return hints["source"] != "none" or hints.get("feedback", "never") != "never"


def check_preflight(entry: Mapping[str, Any], grader: str, place: str, variants: Collection[str] = ()) -> None:
    """Raise UserError unless every limit of a task's pre-flight is one of a measure that it takes, and every context
    shows what there is.

    Args:
        entry: `preflight` of a task.
        grader: of the task.
        variants: those that there are, whose first step may have limits too.
        place: file and keys, for the message.
    """
    contexts, limited = entry.get("contexts", {}), entry.get("limits", {})
    for taken in (STUDENT, CONTRAST):
        if taken in contexts:
            raise UserError(f"{place}.contexts: {taken!r} is a row of its own; name this context otherwise")
    for name, about in contexts.items():
        if not about.get("solution") and not about.keys() & {"feedback", "critique"}:
            raise UserError(
                f"{place}.contexts.{name}: shows nothing; give it feedback: <level>, solution: true or critique: <kind>"
            )
        if "critique" in about:
            CriticSettings(kind="rule", mode=about["critique"]).check(grader, f"{place}.contexts.{name}")
        if about.get("shuffled") and "feedback" not in about:
            raise UserError(f"{place}.contexts.{name}: shuffled needs the level of feedback that is; add feedback")
        check_level(grader, about.get("feedback"), f"{place}.contexts.{name}.feedback")
    for name, limits in limited.items():
        own = (STUDENT, *([CONTRAST] if entry.get("contrast") else []))
        if name not in (*own, *contexts, *variants):
            known = ", ".join((*own, *contexts))
            raise UserError(
                f"{place}.limits: no context {name!r}; expected {STUDENT} or one of contexts ({known}), or a variant"
            )
        for measure, bounds in limits.items():
            if not bounds:
                raise UserError(f"{place}.limits.{name}.{measure}: expected least, most or both, found neither")
