"""Simulated comparisons of two methods whose truth is known, to measure what intervals cover, in two worlds.

"beta": the chances of a benchmark's problems follow a beta distribution with a given mean, and with a given share of a
draw's variance p (1 - p) between problems: 0.6, after "A Sober Look at Progress in LM Reasoning" (docs/statistics.md).
Two methods differ on a few problems, as if new ones stood there; a seed moves all problems together; draws are
independent.

"logit": difficulties are normal on the logit, with a standard deviation of 2.6; each method has a gap of its own to
every problem, and each run another; a seed moves the logit; draws of equal seed and number are made from the same
random numbers for both methods, as ours are. Runs may collapse, and the methods may differ.

"rare": the first method alone solves a few problems, each as a whole, and else both solve the same ones.
"""

import functools
from dataclasses import dataclass

import numpy as np

#: Two methods differ on a share of the problems: this one gives the paired difference of two methods on 83 + 30 + 30
#: problems x 12 draws a standard error of 1.8 points (1.1 with the problems fixed), as docs/statistics.md says.
UNLIKE = 0.09
#: Standard deviations on the logit: of difficulty, of a method's own gaps, and of a run's own gaps to its method's.
DIFFICULTY, OWN, OF_RUNS = 2.6, 0.5, 0.3
#: How a run that collapses changes: every chance is multiplied by it.
COLLAPSED = 0.8
#: Share of problems that the first method alone solves.
RARE = 0.05


@dataclass(frozen=True)
class Regime:
    """A kind of comparison.

    Attributes:
        benchmarks: number of problems of each.
        draws: of each problem and seed.
        seeds: of each method.
        mean: the first method's true accuracy (without collapses); of "rare", of both on all other problems.
        seed_sd: standard deviation of a seed's accuracy around it, the draws aside.
        world: "beta", "logit" or "rare".
        gap: the first method's true accuracy minus the second's; "logit" only.
        collapsing: share of the runs that collapse; "logit" only.
        of_second: seeds of the second method, where they are others.
    """

    benchmarks: tuple[int, ...]
    draws: int
    seeds: int
    mean: float = 0.7
    seed_sd: float = 0.0
    world: str = "beta"
    gap: float = 0.0
    collapsing: float = 0.0
    of_second: int | None = None
    between: float = 0.6
    unlike: float = UNLIKE

    @property
    def truth(self) -> tuple[float, float]:
        """The methods' true accuracies: of other problems and other runs."""
        if self.world == "rare":
            return self.mean + RARE * (1 - self.mean), (1 - RARE) * self.mean
        kept = 1 - self.collapsing * (1 - COLLAPSED)
        return kept * self.mean, kept * (self.mean - self.gap)


@dataclass(frozen=True)
class Simulated:
    """One comparison of two methods.

    Attributes:
        first, second: for each benchmark a 0/1 array S x P x D.
        first_here, second_here: what the macro averages would be on these very problems with endless seeds and draws,
            or, of one seed, with endless draws.
    """

    first: list[np.ndarray]
    second: list[np.ndarray]
    first_here: float
    second_here: float


def simulate(rng: np.random.Generator, regime: Regime) -> Simulated:
    """Simulate one comparison of a regime."""
    return {"beta": _beta, "logit": _logit, "rare": _rare}[regime.world](rng, regime)


def _beta(rng: np.random.Generator, regime: Regime) -> Simulated:
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


def _logit(rng: np.random.Generator, regime: Regime) -> Simulated:
    counts = (regime.seeds, regime.of_second or regime.seeds)
    levels = [logit_level(mean, regime.seed_sd) for mean in (regime.mean, regime.mean - regime.gap)]
    moves = [rng.normal(0, move, size=count) for (_, move), count in zip(levels, counts, strict=True)]
    kept = [np.where(rng.random(count) < regime.collapsing, COLLAPSED, 1.0) for count in counts]
    sides: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    here = np.zeros(2)
    for problems in regime.benchmarks:
        difficulty = rng.normal(0, DIFFICULTY, size=problems)
        numbers = rng.random((max(counts), problems, regime.draws))
        for place, count in enumerate(counts):
            level, move = levels[place]
            own = level + difficulty + rng.normal(0, OWN, size=problems)
            of_runs = own + moves[place][:, None] + rng.normal(0, OF_RUNS, size=(count, problems))
            chances = kept[place][:, None] * _sigmoid(of_runs)
            sides[place].append(numbers[:count] < chances[:, :, None])
            expected = chances if count == 1 else _expected(own, np.hypot(move, OF_RUNS)) * _kept(regime)
            here[place] += expected.mean() / len(regime.benchmarks)
    return Simulated(*sides, *here)


def _rare(rng: np.random.Generator, regime: Regime) -> Simulated:
    sides: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for problems in regime.benchmarks:
        alone, right = rng.random(problems) < RARE, rng.random(problems) < regime.mean
        for side, solved in zip(sides, (alone | right, ~alone & right), strict=True):
            side.append(np.broadcast_to(solved[None, :, None], (regime.seeds, problems, regime.draws)))
    return Simulated(*sides, *(float(np.mean([c.mean() for c in side])) for side in sides))


def _draws(rng: np.random.Generator, chances: list[np.ndarray], regime: Regime) -> list[np.ndarray]:
    """A seed moves all chances of all benchmarks up or down: those in the middle most, and none past 0 or 1."""
    within = regime.mean * (1 - regime.mean) * (1 - regime.between)  # the mean of chance (1 - chance)
    moves = np.clip(rng.normal(0, regime.seed_sd, size=regime.seeds), -within, within)
    draws = []
    for c in chances:
        moved = c + moves[:, None] / within * c * (1 - c)
        draws.append(rng.random((*moved.shape, regime.draws)) < moved[:, :, None])
    return draws


def _kept(regime: Regime) -> float:
    return 1 - regime.collapsing * (1 - COLLAPSED)


#: Nodes and weights of a mean over a standard normal variable.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(41)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def _expected(logits: np.ndarray, sd: float) -> np.ndarray:
    """The mean chance where the logit varies by so much."""
    return _sigmoid(logits[..., None] + sd * _NODES) @ _WEIGHTS


@functools.cache
def logit_level(mean: float, seed_sd: float) -> tuple[float, float]:
    """The level of the logit that gives this mean, and by how much a seed moves it for its accuracy to vary so much."""
    move, level = 0.0, 0.0
    for _ in range(4):
        sd, low, high = np.sqrt(DIFFICULTY**2 + OWN**2 + OF_RUNS**2 + move**2), -20.0, 20.0
        for _ in range(50):
            level = (low + high) / 2
            low, high = (level, high) if _expected(np.array([level]), sd)[0] < mean else (low, level)
        slope = (_expected(np.array([level + 0.01]), sd)[0] - _expected(np.array([level - 0.01]), sd)[0]) / 0.02
        move = seed_sd / slope
    return level, move


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))
