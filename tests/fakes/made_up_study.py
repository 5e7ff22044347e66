"""A synthetic study on disk, with curves and accuracies shaped like the toy's (docs/departures.md, The toy)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from selfdistill.evaluation.draws import Draw, write_draws
from selfdistill.randomness import generator
from selfdistill.reporting.read.runs import RunFiles

TASKS: dict[str, dict[str, Any]] = {
    "arithmetic": {
        "metric": "mean@12",
        "draws": 12,
        "benchmarks": {
            "chain-3": {"distribution": "in"},
            "chain-5": {"distribution": "in"},
            "chain-8": {"distribution": "in"},
            "chain-10": {"distribution": "out"},
        },
    },
    "knights": {
        "metric": "pass@1",
        "draws": 1,
        "benchmarks": {
            "knights-2": {"distribution": "in", "counted": False},
            "knights-3": {"distribution": "in"},
            "knights-4": {"distribution": "out"},
            "knights-5": {"distribution": "out"},
        },
    },
}

# Final accuracy in distribution; entropy and length from first to last step; training reward from first to last step.
SHAPES = {
    "base": (0.60, None, None, None),
    "grpo": (0.97, (0.090, 0.024), (24, 34), (0.58, 0.98)),
    "opsd": (0.14, (0.093, 0.427), (24, 33), (0.58, 0.15)),
    "sdpo": (0.14, (0.102, 0.359), (22, 10), (0.55, 0.14)),
    "srpo": (0.95, (0.095, 0.060), (24, 28), (0.57, 0.93)),
    "rlsd": (0.96, (0.092, 0.040), (24, 22), (0.58, 0.96)),
    "rlcsd": (0.98, (0.091, 0.023), (25, 32), (0.59, 0.98)),
    "opsd_ectr": (0.20, (0.106, 0.336), (24, 30), (0.56, 0.22)),
    "rlsd_ectr": (0.94, (0.092, 0.035), (24, 29), (0.58, 0.94)),
    "rlcsd-gt_cot": (0.93, (0.091, 0.030), (25, 29), (0.58, 0.93)),
    "rlcsd-no_anchor": (0.55, (0.091, 0.210), (25, 14), (0.58, 0.50)),
}
#: As the matrix of the ablations: seven variants of one method. A variant without a shape has its method's.
CROWD = [
    *("base", "grpo", "opsd", "opsd-own_rollout", "opsd_ectr", "rlsd", "rlsd-own_rollout", "rlsd_ectr", "rlcsd"),
    *("rlcsd-gt_cot", "rlcsd-gt_one_sided", "rlcsd-own_one_sided", "rlcsd-one_wrong_hint", "rlcsd-self_hint"),
    *("rlcsd-no_anchor", "rlcsd-single_path"),
]
#: What a run logs of its teacher, by method: its signal, and the share of tokens that it acts on.
SIGNALS = {
    "opsd": ("signal/divergence_mean", None),
    "opsd_ectr": ("signal/divergence_mean", None),
    "sdpo": ("signal/divergence_mean", None),
    "srpo": ("signal/divergence_mean", "signal/distilled_share"),
    "rlsd": ("signal/evidence_abs_mean", "signal/weight_clipped_share"),
    "rlsd_ectr": ("signal/evidence_abs_mean", "signal/weight_clipped_share"),
    "rlcsd": ("signal/evidence_abs_mean", "signal/selected_share"),
}
#: Settings that a variant changes.
CHANGES = {"rlcsd-gt_cot": {"hints": {"source": "gt_cot", "k_max": 4}}, "rlcsd-no_anchor": {"anchor": False}}
STEPS = 40
PROBLEMS = 60


@dataclass(frozen=True)
class Study:
    runs: list[RunFiles]
    tasks: dict[str, dict[str, Any]]
    methods: dict[str, str]


def make_study(root: Path, variants: Sequence[str], *, seeds: Sequence[int] = (0,), models=("tiny-qwen3",)) -> Study:
    methods = {variant: variant.split("-")[0] for variant in variants}
    runs = [
        _write_run(root, task, model, variant, methods[variant], seed)
        for task in TASKS
        for model in models
        for variant in variants
        for seed in seeds
    ]
    return Study(runs, TASKS, methods)


def _write_run(root: Path, task: str, model: str, variant: str, method: str, seed: int) -> RunFiles:
    name = f"{task}/{model}/{variant}/seed{seed}"
    folder = root / "runs" / name
    folder.mkdir(parents=True)
    draws = {b: root / "draws" / name / f"{b}.parquet" for b in TASKS[task]["benchmarks"]}
    for benchmark, path in draws.items():
        write_draws(path, _draws(task, variant, seed, benchmark))
    trained = method != "base"
    settings = {
        "task": task,
        "variant": variant,
        "implementation": method,
        "seed": seed,
        "note": "a < b & c",
        "validation_draws": TASKS[task]["draws"],
        "anchor": True,
        "hints": {"source": "self_rollout", "k_max": 4},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings | CHANGES.get(variant, {}), sort_keys=False))
    (folder / "provenance.json").write_text(json.dumps({"run": {"task": task}, "git_commit": None, "command": ["a b"]}))
    if trained:
        lines = [json.dumps(record) for record in _metrics(task, variant, seed)]
        (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return RunFiles(
        task=task,
        model=model,
        variant=variant,
        seed=seed,
        method=method,
        draws=draws,
        metrics=folder / "metrics.jsonl" if trained else None,
        config=folder / "config.yaml",
        provenance=folder / "provenance.json",
    )


def _shape(variant: str) -> tuple:
    return SHAPES.get(variant) or SHAPES[variant.split("-")[0]]


def _accuracy(task: str, variant: str, benchmark: str) -> float:
    """Final accuracy; out of distribution a good method keeps half of it."""
    about = TASKS[task]["benchmarks"][benchmark]
    return _shape(variant)[0] * (1.0 if about["distribution"] == "in" else 0.5)


def _draws(task: str, variant: str, seed: int, benchmark: str) -> list[Draw]:
    """Draws whose problems are equally hard for all variants, so that pairing has something to find."""
    ease = generator("ease", benchmark).beta(1.2, 0.8, size=PROBLEMS)
    rng = generator("draws", task, variant, seed, benchmark)
    target = _accuracy(task, variant, benchmark)
    chance = np.clip(target + 0.6 * (ease - 0.6) * min(target, 1 - target) * 2, 0, 1)
    return [
        Draw(
            f"{benchmark}/{p}", d, f"<b>steps</b> \\boxed{{{d}}}", 20 + d, "stop" if d % 4 else "length", str(d), right
        )
        for p in range(PROBLEMS)
        for d, right in enumerate((rng.random(TASKS[task]["draws"]) < chance[p]).tolist())
    ]


def _metrics(task: str, variant: str, seed: int) -> list[dict[str, float]]:
    rng = generator("metrics", task, variant, seed)
    final, entropy, length, reward = _shape(variant)
    method = variant.split("-")[0]
    records = []
    for step in range(STEPS + 1):
        done = 1 - np.exp(-3.5 * step / STEPS)
        record: dict[str, float] = {"step": step}
        if step:
            for key, (first, last), noise in (
                ("actor/entropy", entropy, 0.008),
                ("response/length_mean", length, 1.2),
                ("reward/mean", reward, 0.05),
            ):
                record[key] = first + (last - first) * done + noise * rng.normal()
            record["reward/mean"] = min(record["reward/mean"], 1.0)
        if step and method in SIGNALS:
            signal, share = SIGNALS[method]
            record[signal] = 1.1 - 0.7 * done + 0.05 * rng.normal()
            record |= {share: 0.5 - 0.3 * done} if share else {}
            record["teacher/gap_abs_mean"] = 0.3 - 0.2 * done
            record["hints/hinted_share"] = 1.0 if method in ("opsd", "sdpo", "rlsd") else 0.98 - 0.8 * done
            record["guard/null_contrast_abs_max"] = 1e-6 * (1 + step)
        if step % 10 == 0:
            for place, benchmark in enumerate(TASKS[task]["benchmarks"]):
                goal = final * (1.0 if TASKS[task]["benchmarks"][benchmark]["distribution"] == "in" else 0.5)
                record[f"val/{benchmark}/mean@4"] = 0.6 + (goal - 0.6) * done - 0.01 * place
        records.append(record)
    return records
