"""Declares the settings of the TC-RLSD note's additive advantage; only its formula is published.

There the hint is a critique that another model writes of each wrong rollout; here it is whatever `hints.source` gives.
"""

from dataclasses import dataclass

from selfdistill.methods.method import DASHES, HATCHES, Look
from selfdistill.methods.rlsd import AnnealedSettings
from selfdistill.methods.setting import setting


@dataclass(frozen=True)
class RLSDAddSettings(AnnealedSettings):
    """Settings of the additive form."""

    description = "rlsd with the teacher's evidence added to the advantages in place of scaling them"
    look = Look("#56B4E9", DASHES[2], HATCHES[2])
    costs_like = "rlsd"

    evidence_clip: float = setting(
        2.0, "Bound of the additive term (ours: the note bounds it nowhere).", unit="nats", above=0
    )
