"""Made-up blocks for claims: accuracies by share, curves by the points that they pass through."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from selfdistill.evaluation.draws import DrawMatrix
from selfdistill.evaluation.estimators import score_variances, scores_by_seed
from selfdistill.randomness import generator
from selfdistill.reporting.claims.inputs import ClaimInputs
from selfdistill.reporting.claims.predicates import ENTROPY, LENGTH, REWARD
from selfdistill.reporting.read.accuracy import Result, VariantScores
from selfdistill.reporting.read.runs import MissingRun

BENCHMARKS = {
    "near": {"distribution": "in", "counted": True},
    "far": {"distribution": "out", "counted": True},
    "extra": {"distribution": "out", "counted": False},
}
PROBLEMS = 400
SIGNALS = ("one_sided_abs_mean", "contrast_abs_mean")
#: The accuracy of validation: of both benchmarks, of which the one out of distribution is not asked.
VALIDATED = "val/near/mean@4"
#: A run that does nothing remarkable.
CALM = {ENTROPY: (1, 1), LENGTH: (1, 1), REWARD: (0.5, 0.6), VALIDATED: (0.5, 0.6)}


def through(points: Sequence[float], steps: int) -> np.ndarray:
    """Straight lines through evenly spaced points, flat at both ends for a tenth of the steps."""
    done = np.clip((np.arange(steps) / max(steps - 1, 1) - 0.1) / 0.8, 0, 1)
    return np.interp(done, np.linspace(0, 1, len(points)), points)


def run(curves: Mapping[str, Sequence[float]], factor: float, steps: int, noise: float = 0.0, key: str = "") -> list:
    """The metrics of one run; what is not said of it is calm.

    curves: metric -> the points that it passes through (as many as there are steps: its values as they are). factor:
    by which the seed's change is larger than said. None is a value that was not finite.
    """
    records = [{"step": step} for step in range(steps + 1)]
    for metric, points in {**CALM, **curves}.items():
        whole = len(points) == steps
        values = list(points) if whole else through(points, steps)
        rng = generator("curves", key, metric)
        for record, value in zip(records[1:], values, strict=True):
            if value is not None and not whole:
                value = points[0] + (value - points[0]) * factor if "val" in metric or metric == REWARD else value
                value *= factor if metric in (ENTROPY, LENGTH) and record["step"] > 0.1 * steps else 1
                value = value * (1 + noise * rng.normal())
            if metric != VALIDATED or record["step"] % max(steps // 20, 1) == 0:
                record[metric] = value
    return records


def scores(variant: str, shares: Sequence[float], seeds: int, problems: int = PROBLEMS, draws: int = 1):
    """Right on the first problems, as many as the shares say, so that two variants differ on no more than they must."""
    results = {}
    for name, about in BENCHMARKS.items():
        right = np.arange(problems) < round(shares[about["distribution"] == "out"] * problems)
        results[name] = result(np.repeat(np.repeat(right[None, :, None], seeds, axis=0), draws, axis=2))
    return VariantScores("task", "model", variant, results)


def result(correct: np.ndarray) -> Result:
    """What is known of 0/1 draws, [seeds, problems, draws]."""
    names = tuple(map(str, range(correct.shape[1])))
    draws = DrawMatrix(names, correct, np.ones(correct.shape, int), np.zeros(correct.shape, bool))
    metric = f"mean@{correct.shape[2]}"
    return Result(draws, metric, scores_by_seed(correct, metric), score_variances(correct, metric))


def block(
    family: str = "maths",
    shares: Mapping[str, Sequence[float]] | None = None,
    curves: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
    *,
    seeds: int = 3,
    factors: Sequence[float] = (0.99, 1.0, 1.01, 0.995, 1.005),
    steps: int = 40,
    planned: int | None = None,
    noise: float = 0.0,
    sizes: Mapping[str, Sequence[float]] | None = None,
    missing: Sequence[MissingRun] = (),
    draws: int = 1,
    task: str = "task",
) -> ClaimInputs:
    """A block of these variants: those with curves have draws too, half of them right where no share is said.

    shares: variant -> share of right draws in and out of distribution. curves: variant -> metric -> points. planned:
    steps of the matrix, those that were run where it is not said. sizes: class of tokens -> sizes of both signals.
    """
    shares, curves = dict(shares or {}), dict(curves or {})
    tokens = [
        {"task": task, "model": "model", "variant": "rlcsd", "seed": seed, "token_class": kind, "tokens": 5000}
        | {
            signal: size * (factor ** (2 * place - 1) if kind == "style" else 1)
            for place, (signal, size) in enumerate(zip(SIGNALS, both, strict=True))
        }
        for seed, factor in enumerate(factors[:seeds])
        for kind, both in (sizes or {}).items()
    ]
    return ClaimInputs(
        task=task,
        model="model",
        family=family,
        settings={"metric": f"mean@{draws}", "benchmarks": BENCHMARKS},
        variants={v: scores(v, shares.get(v, (0.5, 0.5)), seeds, draws=draws) for v in {**shares, **curves}},
        metrics={
            variant: {
                seed: run(of, factor, steps, noise, f"{variant}{seed}") for seed, factor in enumerate(factors[:seeds])
            }
            for variant, of in curves.items()
        },
        tokens=pd.DataFrame(tokens, columns=["task", "model", "variant", "seed", "token_class", "tokens", *SIGNALS]),
        missing=missing,
        steps=steps if planned is None else planned,
    )


def missing(variant: str, seed: int, status: str = "failed", why: str = "") -> MissingRun:
    """A run of the block that is not there."""
    return MissingRun("task", "model", variant, seed, variant, status, why)
