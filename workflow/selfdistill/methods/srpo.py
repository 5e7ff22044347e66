"""Declares the settings of SRPO as arXiv 2606.11709 runs it: hints are dataset solutions, not siblings (D6)."""

from dataclasses import dataclass

from selfdistill.methods.method import ClippedPolicySettings, Look
from selfdistill.methods.sdpo import PUBLISHED_BY_RLCSD, StudentDivergenceSettings
from selfdistill.methods.setting import setting

ROUTINGS = ("verifier", "advantage_sign")


@dataclass(frozen=True)
class SRPOSettings(ClippedPolicySettings, StudentDivergenceSettings):
    """Settings of SRPO."""

    description = "grpo on correct rollouts, sdpo on wrong ones"
    published = PUBLISHED_BY_RLCSD
    papers = ("2604.02288", "2606.11709")
    look = Look("#CC79A7", (0, (5, 1.2, 1, 1.2, 1, 1.2)))

    entropy_beta: float = setting(
        1.0,
        "Distilled tokens weigh exp(-entropy_beta x teacher's entropy), relative to their mean; 0 is off.",
        minimum=0,
    )
    routing: str = setting(
        "verifier",
        "What goes to grpo: correct rollouts, or those with an advantage above 0 (D7); the rest is distilled, where it "
        "has a hint.",
        choices=ROUTINGS,
    )
