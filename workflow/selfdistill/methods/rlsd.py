"""Declares the settings of RLSD as arXiv 2606.11709 runs it; RLSD's paper has answer_only hints, epsilon_high 0.28."""

from dataclasses import dataclass

from selfdistill.methods.method import Look, MethodSettings
from selfdistill.methods.setting import setting

FORMS = ("interpolated", "minimum")


@dataclass(frozen=True)
class AnnealedSettings(MethodSettings):
    """Settings that RLSD shares with its relatives: clip of the ratio, and a teacher's part that falls to 0."""

    published = {
        "teacher": {"kind": "snapshot", "sync_interval": 10},
        "hints": {"source": "gt_cot"},
        "optimizer": {"max_grad_norm": 1.0},
        "update": {"kl_coef": 0.0},
    }
    reads_evidence = True

    epsilon_low: float = setting(0.2, "Clip of the policy ratio below 1; no dual clip.", above=0, maximum=1)
    epsilon_high: float = setting(0.2, "Clip of the policy ratio above 1.", above=0)
    lam: float = setting(0.5, "Share of the teacher's part in the advantage.", minimum=0, maximum=1)
    lam_decay_steps: int = setting(50, "In which `lam` falls to 0; 0 is no decay.", unit="training steps", minimum=0)


@dataclass(frozen=True)
class ScaledSettings(AnnealedSettings):
    """Settings of advantages that are scaled by a clipped weight."""

    epsilon_w: float = setting(0.2, "Clip of a token's weight, both sides of 1.", above=0, maximum=1)


@dataclass(frozen=True)
class RLSDSettings(ScaledSettings):
    """Settings of RLSD.

    `form` "interpolated" is A ((1 - lam) + lam clip(w)), of the paper's text and the released code (lam 1 without
    decay: A clip(w), the paper's other form). "minimum" is (1 - lam) A + lam min(w A, clip(w) A), of its printed
    objective, which bounds w on one side only: where A < 0 a single token may weigh up to exp(20). Printed without a
    policy ratio that has no gradient: here both forms are advantages of the clipped surrogate.
    """

    description = "grpo whose token advantages are scaled by how far a hinted teacher agrees with each token"
    papers = ("2604.03128, Eq. 16 (`form: minimum`)", "2606.11709")
    look = Look("#56B4E9")

    form: str = setting(
        "interpolated",
        "The advantage's form; `minimum` is the RLSD paper's printed Eq. 16, inside the clipped surrogate.",
        choices=FORMS,
    )
