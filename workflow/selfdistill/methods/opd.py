"""Declares the settings of distilling another model on the sampled token (arXiv 2606.11709 v2, sect. 4.5)."""

from dataclasses import dataclass

from selfdistill.methods.method import ClippedPolicySettings, Look
from selfdistill.methods.setting import setting


@dataclass(frozen=True)
class OPDSettings(ClippedPolicySettings):
    """Settings of on-policy distillation as a policy gradient.

    A token's advantage is the teacher's log-prob less that of the policy that drew it, both after the student's own
    prompt. With `extrapolation` l and a reference (`teacher.reference`) it is (c - old) + (l - 1)(c - reference).
    """

    description = "draws the student to another model by the log-ratio of each drawn token; rewards play no part"
    published = {
        "teacher": {"kind": "external"},
        "optimizer": {"max_grad_norm": 1.0},
        "update": {"kl_coef": 0.0},
    }
    papers = ("2606.11709, v2 sect. 4.5", "2604.13016", "2602.12125, `extrapolation`")
    look = Look("#882255")

    advantage_clip: float | None = setting(
        10.0, "Bound of the log-ratio, both sides; null is off.", unit="nats", above=0
    )
    extrapolation: float = setting(
        1.0, "Past the teacher, as seen from `teacher.reference`, where above 1; at 1 no reference is read.", minimum=0
    )
    task_weight: float = setting(
        0.0, "Weight of the group's advantage, which is added to the log-ratio; at 0 rewards play no part.", minimum=0
    )

    @property
    def compares_rollouts(self) -> bool:
        """Only by the group's advantage."""
        return self.task_weight != 0
