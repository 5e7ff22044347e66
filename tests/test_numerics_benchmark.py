"""The benchmark of numerics: its rollouts and evidence are a run's own, its tables say what they say they do."""

import csv
import importlib
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from selfdistill.reporting.tokens.classes import CLASSES, token_class
from selfdistill.study.run_settings import RecordSettings
from selfdistill.study.training_settings import TrainingSettings
from selfdistill.tasks.datasets import generate_problems
from selfdistill.tasks.graders import grade_response
from selfdistill.training.local.trainer import LocalTrainer

ROOT = Path(__file__).parents[1]
GROUPS = 2


@pytest.fixture(scope="module")
def numerics():
    folder = str(ROOT / "benchmarks")
    sys.path.append(folder)  # behind all others: some benchmarks have names that libraries have too
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        yield importlib.import_module("numerics")
    sys.path.remove(folder)


@pytest.fixture(scope="module")
def study(numerics):
    return numerics.load([Path("config/demo.yaml")])


@pytest.fixture(scope="module")
def case(numerics, study):
    return numerics.make_case(study, "arithmetic", "tiny_qwen3", None, GROUPS)


@pytest.fixture(scope="module")
def recorded(numerics, study, case):
    """What a run of rlcsd records of all rollouts of its first step: (prompt, rollout) -> record."""
    settings = TrainingSettings.from_config(study.resolve("arithmetic", "tiny_qwen3", "rlcsd", seed=0))
    settings = replace(
        settings,
        rollout=replace(settings.rollout, prompts_per_step=GROUPS),
        update=replace(settings.update, prompts_per_update=GROUPS),
        records=RecordSettings(every=1, rollouts=100),
    )
    problems = generate_problems({**study.split("arithmetic", "train"), "problems": GROUPS}, "train")
    model, _ = numerics.load_model(numerics.base_model(study, "arithmetic", "tiny_qwen3"), torch.device("cpu"))
    trainer = LocalTrainer(settings, model, case.tokenizer, problems, {}, partial(grade_response, name="maths"))
    trainer.step(1)
    return {(row["prompt"], row["rollout"]): row for row in trainer.recorded}


def test_evidence_is_that_of_a_runs_first_step(numerics, case, recorded):
    """Rollouts, hints, scores and selection, against the records that the trainer itself writes."""
    size = case.settings.rollout.group_size
    assert [divmod(row, size) for row in case.hinted] == sorted(recorded)
    rows = [recorded[place] for place in sorted(recorded)]
    assert [case.responses[row] for row in case.hinted] == [row["token_ids"] for row in rows]
    signals = {"one-sided": [], "contrast": []}
    for row in rows:
        wrong = np.log(np.mean(np.exp(np.array(row["wrong_logprobs"], dtype=np.float64)), axis=0))
        signals["contrast"].append(row["correct_logprobs"] - wrong)
        signals["one-sided"].append(row["correct_logprobs"] - row["student_logprobs"])
    marked = np.concatenate([row["marked"] for row in rows])
    classes = np.array([token_class(text) for row in rows for text in row["tokens"]])
    found = {(r["precision"], r["signal"], r["class"]): r for r in numerics.evidence_by_class(case)}
    for name in ("all", *CLASSES):
        part = np.full(len(classes), True) if name == "all" else classes == name
        assert (("float32", "contrast", name) in found) == part.any()
        for signal, values in signals.items():
            if not part.any():
                continue
            row, sizes = found["float32", signal, name], np.abs(np.concatenate(values))[part]
            assert row["tokens"] == part.sum()
            assert row["mean"] == pytest.approx(sizes.mean(), rel=1e-4)
            assert row["median"] == pytest.approx(np.median(sizes), rel=1e-3, abs=1e-5)
            assert row["p90"] == pytest.approx(np.quantile(sizes, 0.9), rel=1e-3, abs=1e-5)
            assert row["saturated"] == (sizes > 2.5 * 0.02).mean()
            assert row["same"] is row["new"] is None
        if part.any():
            assert found["float32", "contrast", name]["selected"] == pytest.approx(marked[part].mean())


def test_one_command_makes_three_tables(numerics, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(numerics, "OUTPUT", tmp_path / "out.csv")
    weights = str(ROOT / "resources/base_models/tiny_qwen3/arithmetic")
    numerics.main(["--tasks", "arithmetic", "--folder", weights, "--prompts", "1", "--rows", "4"])
    tables = {}
    for name in ("null", "engines", "evidence"):
        with (tmp_path / f"out_{name}.csv").open() as file:
            tables[name] = list(csv.DictReader(file))
    assert all(float(row["max"]) < 2e-5 for row in tables["null"] if row["precision"] == "float32")
    for row in tables["engines"]:
        assert (float(row["max"]) < 2e-5) == (row["drawn_in"] == "float32")
    # Float32 log-probs of a sampler in bfloat16, and bfloat16's own: plain forwards only of the weights that drew.
    engines = [(r["engine"], r["drawn_in"], r["scored_in"], r["scored"]) for r in tables["engines"]]
    assert engines == [
        (engine, *how)
        for how_drawn in (
            [("float32", "float32", "trainer"), ("float32", "float32", "alone")],
            [
                ("bfloat16", "float32", "trainer"),
                ("bfloat16", "bfloat16", "trainer"),
                ("bfloat16", "bfloat16", "alone"),
            ],
        )
        for engine in ("own", "transformers")
        for how in how_drawn
    ]
    assert {row["precision"] for row in tables["evidence"]} == {"float32", "bfloat16"}
    assert "rollouts have hints; tokens are selected beyond 0.0008 nats" in capsys.readouterr().out
