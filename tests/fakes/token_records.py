"""Made-up records of runs, small or long, for tests of tables, figures and pages of tokens."""

from pathlib import Path

import numpy as np

from selfdistill.randomness import generator
from selfdistill.reporting.read.runs import RunFiles
from selfdistill.reporting.tokens.page import token_page
from selfdistill.reporting.tokens.summaries import summarise
from selfdistill.runs.records import write_records

WORDS = ["Wait", ",", " so", " 1", "2", " +", " =", " the", " answer", "\n\n", " x", "\\frac", "{", "}", " therefore"]


def record(tokens, *, step=1, prompt=0, rollout=0, hints=2, advantage=1.0, distilled=False, key=0, **changes):
    """A record with random numbers; `hints`: wrong ones."""
    rng, length = generator("record", step, prompt, rollout, key), len(tokens)
    student = -rng.exponential(0.4, length).astype(np.float32)
    correct = np.minimum(student + rng.normal(0, 0.3, length), 0).astype(np.float32)
    return {
        "step": step,
        "prompt": prompt,
        "rollout": rollout,
        "problem_id": f"train/{prompt}",
        "problem": "What is <b>1 + 1</b>?",
        "answer": "2",
        "correct": advantage > 0,
        "reward": float(advantage > 0),
        "advantage": advantage,
        "tokens": list(tokens),
        "token_ids": list(range(length)),
        "old_logprobs": student,
        "student_logprobs": student,
        "correct_logprobs": correct,
        "wrong_logprobs": [
            np.minimum(student + rng.normal(-0.1, 0.3, length), 0).astype(np.float32) for _ in range(hints)
        ],
        "advantages_after": None if distilled else (advantage + 0.5 * np.tanh(correct - student)).astype(np.float32),
        "divergences": rng.exponential(0.02, length).astype(np.float32) if distilled else None,
        "weights": np.ones(length, np.float32),
        "marked": (np.abs(correct - student) > 0.2).tolist(),
        "correct_solution": "First 1, then 1: </script> 2.",
        "correct_answer": "2",
        "wrong_solutions": [f"Guess {i}." for i in range(hints)],
        "wrong_answers": [str(i) for i in range(hints)],
    } | changes


def words(count, key=0):
    """So many tokens of an English-like response."""
    return [WORDS[i] for i in generator("words", key).integers(len(WORDS), size=count)]


def run_with(folder: Path, rows, *, variant="rlcsd", seed=0, task="sums", model="tiny") -> RunFiles:
    """A run whose records are the given rows."""
    path = folder / task / model / variant / f"seed{seed}" / "records.parquet"
    path.parent.mkdir(parents=True)
    write_records(path, rows)
    return RunFiles(task, model, variant, seed, variant.split("-")[0], {}, records=path)


def classes_of(runs):
    """Runs with the classes of their summaries, for `tokens_table`."""
    return [(run, summarise(run.records).classes) for run in runs]


def tokens_of(runs):
    """Runs with the tokens of their summaries, for `top_tokens_table`."""
    return [(run, summarise(run.records).tokens) for run in runs]


def page_of(runs, task="sums", **options):
    """The token view of runs as the workflow makes it."""
    return token_page(runs, task, **options)
