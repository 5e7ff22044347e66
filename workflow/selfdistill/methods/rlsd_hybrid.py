"""Declares the settings of the TC-RLSD note's hybrid advantage; only its formula is published (see rlsd_add)."""

from dataclasses import dataclass

from selfdistill.methods.method import DASHES, HATCHES, Look
from selfdistill.methods.rlsd import ScaledSettings
from selfdistill.methods.setting import setting


@dataclass(frozen=True)
class RLSDHybridSettings(ScaledSettings):
    """Settings of the hybrid form; `beta` is not annealed."""

    description = "rlsd with the teacher's evidence both scaling the advantages and added to them"
    look = Look("#56B4E9", DASHES[3], HATCHES[3])
    costs_like = "rlsd"

    alpha: float = setting(0.7, "Weight of the rlsd advantage.", minimum=0)
    beta: float = setting(0.3, "Weight of the additive term.", minimum=0)
    evidence_clip: float = setting(
        2.0, "Bound of the additive term (ours: the note bounds it nowhere).", unit="nats", above=0
    )
