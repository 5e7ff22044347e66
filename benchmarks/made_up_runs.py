"""Files of runs at the paper's sizes, made up: only their number and size matter here.

Making them for each of some 250 runs would take longer than reporting them, so a few sets are made and linked.
"""

import itertools
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from selfdistill.evaluation.draws import Draw, write_draws
from selfdistill.files import write_json, write_text
from selfdistill.randomness import generator
from selfdistill.runs.records import write_records
from selfdistill.study.matrix import BASE, Run
from selfdistill.study.study import Study

#: Different sets of draws a task, and of records. Runs take them in turn; more than a variant has seeds.
SETS = 5
#: Tokens of a response: their mean, and the most. Characters a token.
MEAN_TOKENS, MOST_TOKENS, CHARACTERS = 8000, 16_384, 4
#: Recorded rollouts of a run, over all its recorded steps, and wrong hints of each.
RECORDED, WRONG_HINTS = 80, 4
#: Different tokens in a run's records.
VOCABULARY = 20_000
WORDS = ("wait", "so", "the", "therefore", "x", "=", "12", "+", "\\frac", "let", "hence", "number", "7", "\n\n", "is")


class MadeUp:
    """A folder of runs as `draws.source` takes them."""

    def __init__(self, folder: Path, study: Study, problems: Mapping[str, int]):
        """`problems`: of each benchmark. Nothing is written yet."""
        self._runs, self._study, self._problems = folder / "runs", study, problems
        self._sets, self._numbers = folder / "sets", itertools.count()

    @property
    def folder(self) -> Path:
        return self._runs

    def make(self, run: Run, *, anew: bool = False) -> None:
        """All files of a run, in place of those that it has; `anew`: all of them as of now, none linked."""
        settings = self._study.config["tasks"][run.task]
        place = self._runs / run.task / run.model / run.variant / f"seed{run.seed}"
        place.mkdir(parents=True, exist_ok=True)
        number = next(self._numbers)
        for benchmark in settings["benchmarks"]:
            made = self._sets / f"{benchmark}-{number % SETS}.parquet"
            if not made.exists():
                made.parent.mkdir(parents=True, exist_ok=True)
                write_draws(made, _draws(benchmark, self._problems[benchmark], settings["draws"], number))
            _put(made, place / f"{benchmark}.parquet", anew)
        write_json(place / "evaluation.json", _account(number))
        if run.variant == BASE:
            return
        resolved = self._study.resolve(run.task, run.model, run.variant, run.seed)
        steps = (json.dumps(_metrics(step, number, settings)) for step in range(resolved["steps"] + 1))
        write_text(place / "metrics.jsonl", "\n".join(steps) + "\n")
        write_text(place / "config.yaml", yaml.safe_dump(resolved))
        write_json(place / "provenance.json", _account(number) | {"packages": dict.fromkeys(WORDS[:8], "1.0")})
        if self._study.has_teacher(run):
            made = self._sets / f"records-{number % SETS}.parquet"
            if not made.exists():
                write_records(made, _records(number))
            _put(made, place / "records.parquet", anew)


def _put(made: Path, place: Path, anew: bool) -> None:
    place.unlink(missing_ok=True)
    (shutil.copyfile if anew else os.link)(made, place)


def _lengths(rng: np.random.Generator, count: int) -> np.ndarray:
    spread = 0.5
    drawn = rng.lognormal(np.log(MEAN_TOKENS) - spread**2 / 2, spread, count)
    return np.clip(drawn, 1, MOST_TOKENS).astype(int)


def _draws(benchmark: str, problems: int, draws: int, number: int) -> Iterator[Draw]:
    rng = generator("draws", benchmark, number)
    right = rng.random((problems, draws)) < 0.5 + 0.05 * (number % SETS)
    lengths = _lengths(rng, right.size).reshape(right.shape)
    text = " ".join(WORDS[i] for i in rng.integers(len(WORDS), size=200_000))
    for problem, draw in np.ndindex(right.shape):
        length = int(lengths[problem, draw])
        start = int(rng.integers(len(text) - CHARACTERS * length))
        reason = "length" if length == MOST_TOKENS else "stop"
        yield Draw(
            *(f"{benchmark}/{problem}", draw, text[start : start + CHARACTERS * length], length, reason, "1"),
            bool(right[problem, draw]),
        )


def _records(number: int) -> list[dict[str, Any]]:
    rng = generator("records", number)
    words = np.array([*WORDS, *(f"word{i}" for i in range(VOCABULARY - len(WORDS)))])
    rows = []
    for place, length in enumerate(_lengths(rng, RECORDED)):
        ids = np.minimum(rng.zipf(1.3, length) - 1, VOCABULARY - 1)
        student = -rng.exponential(0.3, length).astype(np.float32)
        correct, *wrong = student + rng.normal(0, 0.1, (1 + WRONG_HINTS, length)).astype(np.float32)
        rows.append(
            {
                "step": 50 * (place // 8),
                "prompt": place % 8,
                "rollout": 0,
                "problem_id": f"train/{place}",
                "problem": "What is it? " * 20,
                "answer": "1",
                "correct": True,
                "reward": 1.0,
                "advantage": 0.5,
                "tokens": words[ids],
                "token_ids": ids,
                "old_logprobs": student,
                "student_logprobs": student,
                "correct_logprobs": correct,
                "wrong_logprobs": wrong,
                "advantages_after": 0.5 + correct - student,
                "divergences": None,
                "weights": np.ones(length, np.float32),
                "marked": correct > student,
                "correct_solution": "So it is. " * 300,
                "correct_answer": "1",
                "wrong_solutions": ["It is not. " * 300] * WRONG_HINTS,
                "wrong_answers": ["2"] * WRONG_HINTS,
            }
        )
    return rows


def _account(number: int) -> dict[str, Any]:
    return {
        "git_commit": "0" * 40,
        "git_dirty": False,
        "config_hash": f"{number:064d}",
        "weights_sha256": "1" * 64,
        "hardware": {"cpu": "made up", "cores": 8, "gpu": "made up"},
        "wall_seconds": 9e4,
        "gpu_hours": 200.0,
        "peak_memory_gib": {"host": 90.0, "device": 70.0},
        "tokens": 1e7,
    }


def _metrics(step: int, number: int, settings: Mapping[str, Any]) -> dict[str, float]:
    """One step, of all that a figure or a claim reads."""
    wave = 1 + 0.1 * np.sin(step / 20 + number)
    found = {"step": step, "reward/mean": 0.6 * wave, "response/length_mean": 8000 * wave, "actor/entropy": 0.3 * wave}
    found |= {"response/truncated": 0.02, "hints/hinted_share": 0.8, "teacher/gap_abs_mean": 0.05}
    found |= {"signal/evidence_abs_mean": 0.02 * wave, "tokens/generated": 4e6, "tokens/teacher_forwarded": 8e6}
    if step % 50 == 0:
        found |= {f"val/{name}/mean@12": 0.6 * wave for name in settings["benchmarks"]}
    return found
