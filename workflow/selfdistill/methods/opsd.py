"""Declares the settings of OPSD (siyan-zhao/OPSD), with the values of arXiv 2606.11709."""

from dataclasses import dataclass

from selfdistill.methods.method import Look, MethodSettings
from selfdistill.methods.setting import setting


@dataclass(frozen=True)
class DivergenceSettings(MethodSettings):
    """Settings of a divergence from the teacher, on the ids that the teacher finds most likely."""

    beta: float = setting(
        0.0,
        "Mix of the divergence: 0 is KL(teacher, student), 1 is KL(student, teacher), between them generalised "
        "Jensen-Shannon.",
        minimum=0,
        maximum=1,
    )
    token_clip: float | None = setting(
        0.05, "Most that one id may add to a token's divergence; null is off.", unit="nats", above=0
    )
    top_k: int = setting(
        100,
        "Ids that the divergence is taken over, the most likely ones of the teacher; 0 is the whole vocabulary.",
        unit="ids",
        minimum=0,
    )
    tail: bool = setting(True, "The rest of the vocabulary is one more id; false: the ids are renormalised.")


@dataclass(frozen=True)
class OPSDSettings(DivergenceSettings):
    """Settings of OPSD."""

    description = "distils a teacher that has read the solution; rewards play no part"
    published = {
        "teacher": {"kind": "initial"},
        "hints": {"source": "gt_cot"},
        "optimizer": {"max_grad_norm": 0.1},
        "update": {"kl_coef": 0.0},
    }
    papers = ("2601.18734", "2606.11709")
    look = Look("#E69F00")

    full_distribution: bool = setting(
        True, "False takes (teacher - student)^2 of the sampled token's log-probs instead."
    )
