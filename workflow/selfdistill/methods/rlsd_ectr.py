"""Declares the settings of RLSD with RLCSD's contrast, the plug-in study of arXiv 2606.11709."""

from dataclasses import dataclass

from selfdistill.methods.method import DASHES, HATCHES, Look
from selfdistill.methods.rlsd import ScaledSettings


@dataclass(frozen=True)
class RLSDECTRSettings(ScaledSettings):
    """Settings of RLSD-ECTR: those of RLSD. Published with one wrong hint; several count by their mean."""

    description = "rlsd with the contrast of a correct hint with a wrong one in place of the one-sided signal"
    published = {
        "teacher": {"kind": "snapshot", "sync_interval": 10},
        "hints": {"source": "self_rollout", "k_max": 1},
        "optimizer": {"max_grad_norm": 1.0},
        "update": {"kl_coef": 0.001},
    }
    papers = ("2604.03128", "2606.11709")
    look = Look("#56B4E9", DASHES[1], HATCHES[1])
    costs_like = "rlcsd"
