"""SRPO as arXiv 2606.11709 compares it: hints are dataset solutions, not siblings (D6)."""

from dataclasses import dataclass

from selfdistill.methods.method import Look
from selfdistill.methods.sdpo import StudentDivergenceSettings
from selfdistill.methods.setting import setting

ROUTINGS = ("verifier", "advantage_sign")


@dataclass(frozen=True)
class SRPOSettings(StudentDivergenceSettings):
    """Settings of SRPO."""

    description = "grpo on correct rollouts, sdpo on wrong ones"
    published = {
        "teacher": {"kind": "ema", "ema_decay": 0.95},
        "hints": {"source": "gt_cot"},
        "optimizer": {"max_grad_norm": 1.0},
        "update": {"kl_coef": 0.0},
    }
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
    epsilon_low: float = setting(0.2, "Clip of the policy ratio below 1, in the grpo branch.", above=0, maximum=1)
    epsilon_high: float = setting(0.2, "Clip of the policy ratio above 1, in the grpo branch.", above=0)
    dual_clip: float = setting(3.0, "Bound of the ratio where the advantage is negative, in the grpo branch.", above=1)
