"""Runs with given draws."""

import dataclasses

import numpy as np

from selfdistill.evaluation.draws import Draw, write_draws


def drawn_study(study, tmp_path, draws: dict[str, dict[str, np.ndarray]], metric: str, model: str = "tiny"):
    """Runs with these draws: variant -> benchmark -> 0/1 array, seeds x problems x draws."""
    runs = []
    for variant, benchmarks in draws.items():
        for seed in range(len(next(iter(benchmarks.values())))):
            files = {name: tmp_path / f"{variant}-{seed}-{name}.parquet" for name in benchmarks}
            for name, path in files.items():
                cells = np.ndenumerate(benchmarks[name][seed])
                write_draws(path, [Draw(f"{name}/{p}", d, "", 1, "stop", None, bool(r)) for (p, d), r in cells])
            run = dataclasses.replace(study.runs[0], task="logic", model=model, variant=variant, seed=seed, draws=files)
            runs.append(run)
    names = {name: {"distribution": "in"} for name in next(iter(draws.values()))}
    return runs, {"logic": {"metric": metric, "benchmarks": names}}
