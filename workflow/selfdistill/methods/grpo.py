"""Declares the settings of GRPO as the RLCSD paper runs it: token mean, advantages over the group's deviation."""

from dataclasses import dataclass

from selfdistill.methods.method import ClippedPolicySettings, Look


@dataclass(frozen=True)
class GRPOSettings(ClippedPolicySettings):
    """Settings of GRPO."""

    description = "reinforcement learning from the verifier alone: no teacher"
    published = {"optimizer": {"max_grad_norm": 1.0}, "update": {"kl_coef": 0.001}}
    papers = ("2402.03300", "2606.11709")
    look = Look("#0072B2")
