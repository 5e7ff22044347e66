"""Declares the settings of a run's critic: who reads wrong rollouts, what it is asked, what may fail."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from selfdistill.errors import UserError
from selfdistill.methods.setting import Settings, setting
from selfdistill.study.critique_modes import KINDS, modes_of

#: Of `hints.source`: the teacher reads a critique of the rollout that it scores.
CRITIQUE = "critique"


@dataclass(frozen=True)
class CriticSettings(Settings):
    """Who writes critiques of rollouts, and what becomes of failures (docs/methods.md, Critics)."""

    at: ClassVar = ("critic",)

    kind: str = setting(
        "none",
        "Who reads the wrong rollouts: nobody; a server that speaks OpenAI's protocol; a second model in the trainer's "
        "process; a rule of the task's, for toys; the student itself.",
        choices=KINDS,
        added=True,
    )
    model: str = setting(
        "",
        "Kind `model`, and `server` with `start`: an entry of `models`. `server` with `url`: the name that it is asked "
        "for by.",
        added=True,
    )
    url: str = setting(
        "",
        "Kind `server`: where it answers, up to and with `/v1`; there is no default. Not with `start`.",
        pattern=(
            "empty, or http:// or https:// and an address without a key in it: a host, maybe a port and a path",
            r"^(https?://(\[[0-9A-Fa-f:.]+\]|[^\s@/?#:\[\]]+)(:\d{1,5})?(/[^\s@?#]*)?)?$(?!\n)",
        ),
        added=True,
    )
    start: bool = setting(
        False, "Kind `server`: the job itself starts vLLM with `model`, and ends it with the run.", added=True
    )
    gpus: int = setting(
        1,
        "That the started server has to itself, beside the run's own; 0 is a CPU.",
        unit="GPUs",
        minimum=0,
        added=True,
    )
    send_rollouts: bool = setting(
        False, "Needed with `url`: problems and rollouts leave the process for that address.", added=True
    )
    use_proxy: bool = setting(
        False,
        "With `url`: requests go through the proxy that the environment names (HTTPS_PROXY, NO_PROXY). Otherwise they "
        "go to the address alone, whatever it names.",
        added=True,
    )
    key_variable: str = setting(
        "",
        "Name of the environment variable that holds the server's key; empty: it has none. The key itself stands in no "
        "file.",
        pattern=("empty, or the name of an environment variable", r"^([A-Za-z_]\w*)?$(?!\n)"),
        added=True,
    )
    mode: str = setting(
        "critique",
        "What is written: `critique`; `step_aligned`, the right steps again and the first wrong one repaired; "
        "`critique_gold`, by a critic that sees the dataset's solution. Kind `rule`: `verdict`, `gold` (the dataset's "
        "solution), or one of the task's own.",
        pattern=("a word of small letters", r"^[a-z][a-z_]*$(?!\n)"),
        added=True,
    )
    prompt: str | None = setting(
        None, "A text file with a critic's prompt of one's own; slots {problem} and {response}.", added=True
    )
    hedge: bool = setting(
        False, "The critic is told that the format may be to blame: the test of its leniency.", added=True
    )
    right: str = setting(
        "none", "Right rollouts: nobody reads them, or the critic praises them.", choices=("none", "praise"), added=True
    )
    judged_right: str = setting(
        "keep", "A critique that calls a wrong answer right is shown, or not.", choices=("keep", "drop"), added=True
    )
    leaks: str = setting(
        "keep",
        "A critique that holds the right answer, which its writer was not shown, is shown, or not.",
        choices=("keep", "drop"),
        added=True,
    )
    max_tokens: int = setting(1024, "Most of a critique; a longer one is cut.", unit="tokens", minimum=1, added=True)
    temperature: float = setting(0.0, "Of the critic; 0 is greedy.", minimum=0, added=True)
    thinking: bool | None = setting(
        False, "What the critic's chat template is told; null tells it nothing (servers that refuse it).", added=True
    )
    timeout: float = setting(60.0, "Of one answer of a server.", unit="seconds", above=0, added=True)
    tries: int = setting(3, "At a server that does not answer, with a pause that doubles.", minimum=1, added=True)
    pause: float = setting(1.0, "Before the second try.", unit="seconds", minimum=0, added=True)
    in_flight: int = setting(64, "Requests at a server at a time.", minimum=1, added=True)
    max_response_characters: int = setting(
        40000, "Of a rollout that the critic reads.", unit="characters", minimum=1, added=True
    )
    response_cut: str = setting(
        "head_and_tail",
        "A longer one loses its middle, or is not shown at all (reason too_long_input).",
        choices=("head_and_tail", "refuse"),
        added=True,
    )
    on_failure: str = setting(
        "none",
        "A rollout whose critique failed has no hint; or the verdict alone; or the run stops.",
        choices=("none", "verdict", "stop"),
        added=True,
    )
    max_failed_share: float = setting(
        0.2,
        "More failures among the rollouts of a step that were asked about, and the run stops: it can go on later.",
        unit="share",
        minimum=0,
        maximum=1,
        added=True,
    )
    placebo: int = setting(
        16,
        "So many critiques an optimizer step are also read on a right rollout of the same problem "
        "(`teacher/delta_gap`); 0 is off.",
        unit="rollouts",
        minimum=0,
        added=True,
    )

    @property
    def models(self) -> dict[str, str]:
        """Role "critic" -> the entry of `models` whose weights this machine reads; empty where it reads none."""
        reads = self.kind == "model" or (self.kind == "server" and self.start)
        return {"critic": self.model} if reads and self.model else {}

    def check(self, grader: str, where: str = "run config") -> None:
        """Raise UserError for settings that contradict each other."""
        if self.kind == "none":
            return
        known = modes_of(self.kind, grader)
        if self.mode not in known:
            raise UserError(
                f"{where}: critic.mode: {self.mode!r} is none of a critic of kind {self.kind} (grader {grader}); "
                f"expected one of {', '.join(known)}",
                keys=["critic.mode"],
            )
        if self.kind == "server":
            self._check_server(where)
        elif self.url or self.start:
            raise UserError(
                f"{where}: critic.url and critic.start are of the kind server, not of {self.kind!r}",
                keys=["critic.url", "critic.start"],
            )
        if self.kind == "model" and not self.model:
            raise UserError(
                f"{where}: critic.kind 'model' needs critic.model, an entry of models; name one",
                keys=["critic.kind", "critic.model"],
            )

    def _check_server(self, where: str) -> None:
        if bool(self.url) == self.start:
            raise UserError(
                f"{where}: critic.kind 'server' needs either critic.url or critic.start: true (found url {self.url!r} "
                f"and start {str(self.start).lower()}); set one of them",
                keys=["critic.kind", "critic.url", "critic.start"],
            )
        if not self.model:
            raise UserError(
                f"{where}: critic.kind 'server' needs critic.model: an entry of models with critic.start, else the "
                "name that the server knows it by",
                keys=["critic.kind", "critic.model", "critic.start"],
            )
        if self.url and not self.send_rollouts:
            raise UserError(
                f"{where}: critic.url sends problems and rollouts to {self.url}; say critic.send_rollouts: true if "
                "that is wanted",
                keys=["critic.url", "critic.send_rollouts"],
            )


def gpus_of_critic(settings: Mapping[str, Any]) -> int:
    """Return the GPUs that a resolved run asks for beside those of its trainer: of a server that the job starts."""
    critic = CriticSettings(**settings.get("critic", {}))
    return critic.gpus if critic.kind == "server" and critic.start else 0


def check_critic(settings: Mapping[str, Any], machine: Mapping[str, int], where: str) -> None:
    """Check what a resolved run says of its critic.

    Args:
        settings: as `RunSettings.resolve` returns them.
        machine: what the run asks of a cluster: `nodes`, and `gpus` of each.
        where: names the run in messages.

    Raises:
        UserError: for settings that contradict each other: a critic that nobody reads, or none that somebody reads.
    """
    critic = CriticSettings(**settings.get("critic", {}))
    reads = settings["hints"]["source"] == CRITIQUE
    if reads != (critic.kind != "none"):
        raise UserError(
            f"{where}: hints.source is {settings['hints']['source']!r} and critic.kind {critic.kind!r}: the teacher "
            "reads critiques where both are set (hints.source: critique); change one of them",
            keys=["hints.source", "critic.kind"],
        )
    critic.check(settings["grader"], where)
    if critic.kind != "none" and settings["reward"]["shuffle"]:
        raise UserError(
            f"{where}: reward.shuffle with a critic: what it says of a rollout tells the true reward; take another "
            "hints.source for this control",
            keys=["reward.shuffle", "hints.source"],
        )
    if critic.start and machine["nodes"] > 1:
        raise UserError(
            f"{where}: critic.start with {machine['nodes']} nodes: the server would take GPUs of one of them, and all "
            "must have as many for the trainer; start it as a job of its own and give its address as critic.url, or "
            "set verl.nodes: 1",
            keys=["critic.start", "verl.nodes"],
        )
    if settings["trainer"] == "verl" and critic.kind == "model":
        raise UserError(
            f"{where}: critic.kind 'model' with trainer verl: its processes have no place for a second sampler; take "
            "kind server, with start: true for one of the job's own",
            keys=["critic.kind"],
        )
