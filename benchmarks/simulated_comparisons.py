"""Simulated comparisons of two methods whose truth is known, to measure what intervals cover.

The chances of a benchmark's problems follow a beta distribution with a given mean, and with a given share of a draw's
variance p (1 - p) between problems: 0.6, after "A Sober Look at Progress in LM Reasoning" (docs/statistics.md).
"""

from dataclasses import dataclass

import numpy as np

#: Two methods differ on a share of the problems: this one gives the paired difference of two methods on 83 + 30 + 30
#: problems x 12 draws a standard error of 1.8 points (1.1 with the problems fixed), as docs/statistics.md says.
UNLIKE = 0.09


@dataclass(frozen=True)
class Regime:
    """A kind of comparison.

    Attributes:
        benchmarks: number of problems of each.
        draws: of each problem and seed.
        seeds: of each method.
        mean: the first method's true accuracy.
        seed_sd: standard deviation of a seed's accuracy around it, the draws aside.
        between: share of a draw's variance that lies between problems.
        unlike: share of problems on which the second method has a chance of its own.
    """

    benchmarks: tuple[int, ...]
    draws: int
    seeds: int
    mean: float = 0.7
    seed_sd: float = 0.0
    between: float = 0.6
    unlike: float = UNLIKE


@dataclass(frozen=True)
class Simulated:
    """One comparison of two methods of equal true accuracy.

    Attributes:
        first, second: for each benchmark a 0/1 array S x P x D.
        first_here, second_here: what the macro averages would be on these very problems with endless seeds and draws.
    """

    first: list[np.ndarray]
    second: list[np.ndarray]
    first_here: float
    second_here: float


def simulate(rng: np.random.Generator, regime: Regime) -> Simulated:
    """Simulate one comparison of a regime."""
    total = 1 / regime.between - 1
    shape = (regime.mean * total, (1 - regime.mean) * total)
    chances = [rng.beta(*shape, size=problems) for problems in regime.benchmarks]
    others = [np.where(rng.random(len(c)) < regime.unlike, rng.beta(*shape, size=len(c)), c) for c in chances]
    return Simulated(
        _draws(rng, chances, regime),
        _draws(rng, others, regime),
        float(np.mean([c.mean() for c in chances])),
        float(np.mean([c.mean() for c in others])),
    )


def _draws(rng: np.random.Generator, chances: list[np.ndarray], regime: Regime) -> list[np.ndarray]:
    """A seed moves all chances of all benchmarks up or down: those in the middle most, and none past 0 or 1."""
    within = regime.mean * (1 - regime.mean) * (1 - regime.between)  # the mean of chance (1 - chance)
    moves = np.clip(rng.normal(0, regime.seed_sd, size=regime.seeds), -within, within)
    draws = []
    for c in chances:
        moved = c + moves[:, None] / within * c * (1 - c)
        draws.append(rng.random((*moved.shape, regime.draws)) < moved[:, :, None])
    return draws
