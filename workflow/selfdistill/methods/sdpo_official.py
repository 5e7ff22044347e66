"""Declares the settings of SDPO as its authors run it (arXiv 2601.20802): contexts are siblings or feedback.

All that the published run sets is named here, so that preset `as_published`, which is about RLCSD's release, changes
nothing of it.
"""

from dataclasses import dataclass

from selfdistill.errors import UserError
from selfdistill.methods.method import ClippedPolicySettings, Look
from selfdistill.methods.sdpo import StudentDivergenceSettings
from selfdistill.methods.setting import setting

LEVELS = ("logits", "token", "sequence")


@dataclass(frozen=True)
class SDPOOfficialSettings(ClippedPolicySettings, StudentDivergenceSettings):
    """Settings of SDPO with contexts of its own."""

    description = "distils a teacher that has read a sibling's success or what was said of the rollout itself"
    published = {
        "rollout": {"importance_threshold": 2.0},
        "reward": {"deviation": "none"},
        "teacher": {"kind": "ema", "ema_decay": 0.95, "clock": "training_steps"},
        "hints": {
            "source": "self_rollout",
            "mode": "solution",
            "template": "sections",
            "feedback": "only_without_solution",
            "thinking": "remove",
            "lone_targets": "keep",
            "truncation": "hint_body",
        },
        "optimizer": {"max_grad_norm": 1.0, "master_dtype": "float32"},
        "update": {"kl_coef": 0.0, "aggregation": "all_rollouts"},
    }
    papers = ("2601.20802",)
    look = Look("#117733", (0, (6, 1.2, 2, 1.2)), "\\\\\\\\")
    costs_like = "sdpo"

    level: str = setting(
        "logits",
        "What the teacher is compared at: distributions at each token; or, with `alpha` 1 alone, the drawn token; or "
        "the drawn tokens' mean over the rollout, the same for all of them.",
        choices=LEVELS,
    )
    grpo_share: float = setting(
        0.0,
        "Share of the group's advantage, as in grpo, in a sum with the distillation; above 0 every rollout is in the "
        "mean, and one without a context has the advantage's part alone.",
        minimum=0,
        below=1,
    )
    epsilon_high: float = setting(0.28, "Clip of the policy ratio above 1, in the advantage's part.", above=0)
    advantage_bound: float | None = setting(
        None,
        "Bound of what draws a student to its teacher, |log-prob of the teacher - of the student| of each id; null is "
        "off. With `alpha` 1 alone. The divergence that is logged stays what it is.",
        unit="nats",
        above=0,
        added=True,
    )

    def __post_init__(self) -> None:
        """Raise UserError for values out of range, and for two that contradict each other."""
        super().__post_init__()
        if self.level != "logits" and self.alpha != 1.0:
            raise UserError(
                f"objective.level {self.level} needs objective.alpha 1, found {self.alpha}: drawn tokens can estimate "
                "the reverse divergence only; change one",
                keys=["objective.level", "objective.alpha"],
            )
        if self.advantage_bound is not None and self.alpha != 1.0:
            raise UserError(
                f"objective.advantage_bound needs objective.alpha 1, found {self.alpha}: it bounds the "
                "advantages of the reverse divergence; change one",
                keys=["objective.advantage_bound", "objective.alpha"],
            )
