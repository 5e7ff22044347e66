"""Declares the settings of RLCSD (arXiv 2606.11709) with its published values."""

from dataclasses import dataclass

from selfdistill.methods.method import Look, MethodSettings
from selfdistill.methods.setting import setting


@dataclass(frozen=True)
class RLCSDSettings(MethodSettings):
    """Settings of RLCSD."""

    description = "grpo whose token advantages are shifted by the contrast of a correct hint with wrong ones"
    published = {
        "teacher": {"kind": "snapshot", "sync_interval": 10},
        "hints": {"source": "self_rollout", "k_max": 4},
        "optimizer": {"max_grad_norm": 1.0},
        "update": {"kl_coef": 0.0},
    }
    papers = ("2606.11709, sect. 4, Eq. 10-15",)
    look = Look("#D55E00")
    reads_evidence = True

    epsilon: float = setting(0.2, "Clip of the policy ratio, both sides; no dual clip.", above=0, maximum=1)
    tau: float = setting(0.02, "Scale of the evidence; tanh is saturated beyond some 2.5 tau.", unit="nats", above=0)
    beta: float = setting(
        1.0, "The residual is beta lam tanh(evidence / tau); at 0 this is grpo without dual clip.", minimum=0
    )
    lam: float = setting(0.5, "The other factor of the residual.", minimum=0)
    delta: float = setting(0.02, "Tokens with a residual up to this size stay unmodulated.", minimum=0)
    eta: float = setting(1.0, "Weight of the modulated path.", minimum=0)
    residual_clip_low: float = setting(-2.0, "Lower bound of the residual, inactive at published values.", maximum=0)
    residual_clip_high: float = setting(2.0, "Upper bound of the residual.", minimum=0)
    one_sided: bool = setting(
        False, "Evidence against the student in place of the contrast with wrong hints (hint settings 1 and 2)."
    )
    anchor: bool = setting(True, "False: the residual replaces the advantage, without the sign clamp (ablation).")
    single_path: bool = setting(False, "True: one mean over all tokens in place of one a path (ablation).")
    zero_advantage: str = setting(
        "stays",
        "A selected token's advantage where A = 0: 0, or `shifts` as for A > 0, max(0, A + r) (the paper's rule).",
        choices=("stays", "shifts"),
        added=True,
    )
