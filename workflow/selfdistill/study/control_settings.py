"""Declares the settings of negative controls, which take something away from evidence or hints on purpose.

`reward.shuffle` and `hints.shuffle_feedback` are controls too; they stand with what they shuffle. What each is for:
docs/methods.md, Controls.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from selfdistill.errors import UserError
from selfdistill.methods.catalogue import shipped
from selfdistill.methods.setting import Settings, setting

EVIDENCE = ("kept", "permuted_in_rollouts", "permuted_in_batch", "noise")
WRONG_HINTS = ("group", "other_problems")
CORRECT_HINTS = ("correct", "wrong")


@dataclass(frozen=True)
class ControlSettings(Settings):
    """Holds what is destroyed of the signal, to learn whether a result needs it. All off: the method as it is."""

    at: ClassVar = ("controls",)

    evidence: str = setting(
        "kept",
        "What becomes of the evidence of hinted tokens: `permuted_in_rollouts`, among the tokens of each rollout; "
        "`permuted_in_batch`, among all tokens of an optimizer step; `noise`, replaced by normal draws of the same "
        "root mean square. Lengths, rewards, hints and the sizes of the evidence stay.",
        choices=EVIDENCE,
        added=True,
    )
    random_signs: bool = setting(
        False,
        "Each hinted token's evidence has a sign drawn at random; with `permuted_in_rollouts`, as many tokens of a "
        "rollout are modulated as before, chosen at random and in a random direction.",
        added=True,
    )
    misaligned_rows: int = setting(
        0,
        "Read the teacher's log-probs as the code of June 2026 did (D13): in micro-batches of so many rollouts, later "
        "by the difference of their longest response to the batch's; 0 is off.",
        unit="rollouts",
        minimum=0,
        added=True,
    )
    wrong_hints: str = setting(
        "group",
        "Where wrong hints come from: wrong rollouts of the same group, or of other problems of the step.",
        choices=WRONG_HINTS,
        added=True,
    )
    correct_hint: str = setting(
        "correct",
        "`wrong`: in place of the correct hint stands a wrong rollout of the group.",
        choices=CORRECT_HINTS,
        added=True,
    )
    empty_hints: bool = setting(
        False, "Hints on both sides are empty: the template alone is what the teacher reads.", added=True
    )

    @property
    def change_scores(self) -> bool:
        """Returns whether the teacher's log-probs are changed after they were read."""
        return self.evidence != "kept" or self.random_signs or self.misaligned_rows > 0

    @property
    def change_hints(self) -> bool:
        """Returns whether the teacher reads other hints than the method's."""
        return self.wrong_hints != "group" or self.correct_hint != "correct" or self.empty_hints


def check_controls(settings: Mapping[str, Any], where: str) -> None:
    """Raise UserError for controls of what a shipped method does not read; training.method_checks knows it of all.

    Args:
        settings: of a run, resolved.
        where: names it in the message.
    """
    asked, kind = ControlSettings(**settings.get("controls", {})), shipped().get(settings["implementation"])
    if kind is not None and (asked.change_scores or asked.change_hints) and not kind.reads_evidence:
        able = ", ".join(name for name, each in shipped().items() if each.reads_evidence)
        raise UserError(
            f"{where}: {' and '.join(f'controls.{key}' for key in settings['controls'])}: a control of a hinted "
            f"teacher's evidence of the sampled tokens, which method {settings['implementation']} does not read: take "
            f"one of {able}, or remove it",
            keys=[*(f"controls.{key}" for key in settings["controls"])],
        )
