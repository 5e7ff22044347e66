"""GRPO as the RLCSD paper runs it: token mean, advantages divided by the group's deviation."""

from dataclasses import dataclass

from selfdistill.methods.method import Look, MethodSettings
from selfdistill.methods.setting import setting


@dataclass(frozen=True)
class GRPOSettings(MethodSettings):
    """Settings of GRPO."""

    description = "reinforcement learning from the verifier alone: no teacher"
    published = {"optimizer": {"max_grad_norm": 1.0}, "update": {"kl_coef": 0.001}}
    papers = ("2402.03300", "2606.11709")
    look = Look("#0072B2")

    epsilon_low: float = setting(0.2, "Clip of the policy ratio below 1.", above=0, maximum=1)
    epsilon_high: float = setting(0.2, "Clip of the policy ratio above 1.", above=0)
    dual_clip: float = setting(3.0, "Bound of the ratio where the advantage is negative.", above=1)
