"""Lists the claims of RLSD's own paper (arXiv 2604.03128), RLSD-1 to RLSD-4, for runs of config/rlsd.yaml.

All parts are asked of blocks in whose matrix their variant is. The published table has one number a cell and no
interval. That opsd leaks the answer is not measured; what a leak does is: its reward falls after an early best. Not
judged: how many tokens have their weight clipped, a number without a comparison (`rlsd/clipped` in a run's metrics).
"""

from collections.abc import Sequence

from selfdistill.reporting.claims.predicates import (
    ENTROPY,
    FALLS,
    REWARD,
    Against,
    Claim,
    Curve,
    Gap,
    Highest,
    Part,
    Predicate,
)

PAPER = "RLSD"
#: Grader of the task.
PICTURES = ("pictures",)
#: Variants (config/methods.yaml).
RLSD, RELEASED, GRPO, TWICE, OPSD = "rlsd-paper", "rlsd-released", "grpo-rlsd", "grpo-rlsd-twice", "opsd-rlsd"
OTHERS = ("base", GRPO, OPSD, "sdpo-rlsd", "grpo_opsd-rlsd")
#: Training steps of the paper's runs.
STEPS = {"pictures": 200}


def _claim(name: str, sentence: str, parts: Sequence[Part], published: str) -> Claim:
    return Claim(name, PAPER, ("",), sentence, tuple(parts), {"": published}, STEPS)


def _part(name: str, statement: str, predicate: Predicate, figures: tuple[str, ...] = ("benchmarks",)) -> Part:
    return Part(name, statement, predicate, PICTURES, planned=True, figures=figures)


_CURVES = ("dynamics",)

# fmt: off
CLAIMS: tuple[Claim, ...] = (
    _claim("RLSD-1", "RLSD has the highest mean of five benchmarks",
           [_part("mean", f"{RLSD} is above {', '.join(OTHERS)}", Highest(RLSD, OTHERS)),
            _part("released", f"{RELEASED} is above {', '.join(OTHERS)}", Highest(RELEASED, OTHERS))],
           "56.18; grpo 53.86, grpo+opsd 52.91, sdpo 52.74, opsd 52.49, base 51.49"),
    _claim("RLSD-2", "RLSD beats grpo at twice the steps",
           [_part("twice", f"{RLSD} scores higher than {TWICE}", Gap(RLSD, TWICE, 0.0))],
           "67.2 / 78.1 / 24.9 against 67.4 / 76.7 / 22.3 on MMMU, MathVista, ZeroBench (names by size)"),
    _claim("RLSD-3", "opsd peaks early and leaks",
           [_part("peak", f"the reward of {OPSD} falls from its best", Curve(OPSD, REWARD, FALLS), _CURVES)],
           "best at step 10 to 20; responses come to speak of a reference that is not there"),
    _claim("RLSD-4", "RLSD keeps more entropy than grpo",
           [_part("entropy", f"{RLSD} ends with a higher entropy than {GRPO}",
                  Against(RLSD, GRPO, ENTROPY, "end", above=1.0), _CURVES)],
           "15 to 20 % above"),
)
# fmt: on
