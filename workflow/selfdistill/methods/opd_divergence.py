"""Declares the settings of distilling another model by a divergence of distributions."""

from dataclasses import dataclass

from selfdistill.methods.method import DASHES, HATCHES, Look, MethodSettings
from selfdistill.methods.opd import OPDSettings
from selfdistill.methods.setting import setting

CHOOSERS = ("teacher", "student")


@dataclass(frozen=True)
class OPDDivergenceSettings(MethodSettings):
    """Settings of on-policy distillation by a divergence.

    There is no bound on what an id adds (as opsd has one): it can turn the gradient round (docs/methods.md#opsd).
    """

    description = "draws the student's distribution to that of another model; rewards play no part"
    published = OPDSettings.published
    papers = ("2606.11709, v2 sect. 4.5", "2306.13649, generalised divergences")
    look = Look("#882255", DASHES[1], HATCHES[1])
    costs_like = "opd"

    beta: float = setting(
        1.0,
        "Mix of the divergence: 0 is KL(teacher, student), 1 is KL(student, teacher), between them generalised "
        "Jensen-Shannon.",
        minimum=0,
        maximum=1,
    )
    top_k: int = setting(
        0,
        "Ids that the divergence is taken over, the most likely ones; 0 is the whole vocabulary.",
        unit="ids",
        minimum=0,
    )
    chooser: str = setting("teacher", "Whose most likely ids these are.", choices=CHOOSERS)
    tail: bool = setting(True, "The rest of the vocabulary is one more id; false: the ids are renormalised.")

    @property
    def compares_rollouts(self) -> bool:
        """Every rollout stands alone."""
        return False
