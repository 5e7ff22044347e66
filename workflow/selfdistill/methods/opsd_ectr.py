"""Declares the settings of OPSD with RLCSD's contrast, the plug-in study of arXiv 2606.11709."""

from dataclasses import dataclass

from selfdistill.methods.method import DASHES, HATCHES, Look
from selfdistill.methods.opsd import DivergenceSettings
from selfdistill.methods.setting import setting


@dataclass(frozen=True)
class OPSDECTRSettings(DivergenceSettings):
    """Settings of OPSD-ECTR: those of OPSD's divergence, and of the contrast."""

    description = "opsd with a teacher sharpened by the contrast of a correct hint with a wrong one"
    published = {
        "teacher": {"kind": "initial"},
        "hints": {"source": "self_rollout", "k_max": 1},
        "optimizer": {"max_grad_norm": 0.1},
        "update": {"kl_coef": 0.001},
    }
    papers = ("2601.18734", "2606.11709")
    look = Look("#E69F00", DASHES[1], HATCHES[1])
    costs_like = "opsd"

    ectr_alpha: float = setting(
        0.5,
        "Strength of the contrast in the target p_correct^(1 + alpha) / p_wrong^alpha; 0 is the correct hint alone.",
        minimum=0,
    )
    log_w_floor: float | None = setting(
        -5.0, "Lower bound of log p_wrong in that target; null is off.", unit="nats", maximum=0
    )
    cw_tau: float = setting(
        1.0, "A token weighs KL / (KL + cw_tau), KL between the two teachers; 0 is off.", unit="nats", minimum=0
    )
    cw_from: str = setting(
        "correct",
        "Which teacher that KL is taken from: KL(correct, wrong) as in the released code, or KL(wrong, correct) as in "
        "the paper's second version.",
        choices=("correct", "wrong"),
        added=True,
    )
