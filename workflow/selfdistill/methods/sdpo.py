"""Declares the settings of SDPO as arXiv 2606.11709 runs it: hints are dataset solutions, not siblings (D6)."""

from dataclasses import dataclass

from selfdistill.errors import UserError
from selfdistill.methods.method import DASHES, Look, MethodSettings
from selfdistill.methods.setting import setting

#: What the RLCSD paper runs sdpo and srpo with.
PUBLISHED_BY_RLCSD = {
    "teacher": {"kind": "ema", "ema_decay": 0.95},
    "hints": {"source": "gt_cot"},
    "optimizer": {"max_grad_norm": 1.0},
    "update": {"kl_coef": 0.0},
}


@dataclass(frozen=True)
class StudentDivergenceSettings(MethodSettings):
    """Settings of a divergence on the ids that the student finds most likely, for rollouts of an older policy too."""

    alpha: float = setting(0.5, "Mix of the divergence, as opsd's `beta`; 0.5 is Jensen-Shannon.", minimum=0, maximum=1)
    is_clip: float = setting(2.0, "Bound of the policy ratio that weights a token's divergence.", above=0)
    top_k: int = setting(
        100,
        "Ids that the divergence is taken over, the most likely ones of the student; 0 is the whole vocabulary.",
        unit="ids",
        minimum=0,
    )
    tail: bool = setting(True, "The rest of the vocabulary is one more id; false: the ids are renormalised.")


@dataclass(frozen=True)
class SDPOSettings(StudentDivergenceSettings):
    """Settings of SDPO."""

    description = "distils a teacher that has read the solution, by Jensen-Shannon divergence; rewards play no part"
    published = PUBLISHED_BY_RLCSD
    papers = ("2601.20802", "2606.11709")
    look = Look("#009E73", DASHES[2])

    full_distribution: bool = setting(
        True, "False estimates the reverse divergence from the sampled token alone; only with `alpha` 1."
    )

    def __post_init__(self) -> None:
        """Raise UserError for values out of range, and for two that contradict each other."""
        super().__post_init__()
        if not self.full_distribution and self.alpha != 1.0:
            raise UserError(
                f"objective.full_distribution false needs objective.alpha 1, found {self.alpha}: sampled tokens can "
                "estimate the reverse divergence only; change one",
                keys=["objective.full_distribution", "objective.alpha"],
            )
