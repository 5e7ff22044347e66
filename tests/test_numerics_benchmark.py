"""The benchmark of numerics: its rollouts and evidence are a run's own, its tables say what they say they do."""

import csv
import importlib
import math
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from selfdistill.errors import UserError
from selfdistill.objectives.rlcsd import RLCSD
from selfdistill.reporting.tokens.classes import CLASSES, token_class
from selfdistill.sampling.interface import Rollout
from selfdistill.scoring.scores import Sequences
from selfdistill.study.run_settings import RecordSettings
from selfdistill.study.training_settings import TrainingSettings
from selfdistill.tasks.datasets import generate_problems
from selfdistill.tasks.graders import Graded, grade_response
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


@torch.no_grad()
def alone(model, prompt, response):
    """Log-probs of a response, float64 from the logits on: no batch, no padding, no mask, no cache."""
    distributions = model(torch.tensor([[*prompt, *response]])).logits[0].double().softmax(dim=-1)
    return torch.stack([distributions[len(prompt) + t - 1, token].log() for t, token in enumerate(response)])


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


def test_same_tells_selections_that_precision_changes(numerics, case):
    equal = replace(case, models={"float32": case.models["float32"], "bfloat16": case.models["float32"]})
    rows = [row for row in numerics.evidence_by_class(equal) if row["precision"] == "bfloat16"]
    assert {(row["same"], row["new"]) for row in rows} == {(1.0, 0.0)}
    noisy = numerics.in_precision(case.models["float32"], "bfloat16")
    for weights in noisy.parameters():
        weights.data += 0.05 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(0)).bfloat16()
    other = replace(case, models={**case.models, "bfloat16": noisy})
    float32, bfloat16 = [], []
    for row in numerics.evidence_by_class(other):
        {"float32": float32, "bfloat16": bfloat16}[row["precision"]].append(row)
    for before, after in zip(float32, bfloat16, strict=True):
        assert after["same"] < 1
        # Selected are those that stay, those that turn, and new ones.
        assert after["selected"] >= before["selected"] * after["same"] + (1 - before["selected"]) * after["new"] - 1e-9
    assert any(row["new"] > 0 for row in bfloat16)


def test_all_shapes_say_what_each_row_alone_says(numerics, case):
    rows = case.hinted[:8]
    sequences = Sequences([case.contexts.correct[row] for row in rows], [case.responses[row] for row in rows])
    width = max(map(len, sequences.responses))
    found = numerics.shapes(case, case.models["float32"], sequences, width)
    assert list(found) == ["alone, padded", "2 rows", "4 rows", "8 rows", "trainer, 8192", "trainer, 1024"]
    for logprobs in (shape() for shape in found.values()):
        for row, (prompt, response) in enumerate(zip(sequences.prompts, sequences.responses, strict=True)):
            expected = alone(case.models["float32"], prompt, response)
            np.testing.assert_allclose(logprobs[row, : len(response)], expected, rtol=0, atol=2e-5)
            assert not logprobs[row, len(response) :].any()


def test_null_contrast_of_known_differences(numerics, case, monkeypatch):
    def known(case, model, sequences, width):
        plain = numerics.score(model, sequences, width, 1).logprobs
        return {"same": lambda: plain, "below": lambda: plain + 0.0007, "above": lambda: plain - 0.001}

    monkeypatch.setattr(numerics, "shapes", known)
    rows = list(numerics.null_contrast(case, len(case.hinted)))
    assert [(row["precision"], row["shape"]) for row in rows] == [
        (precision, shape) for precision in ("float32", "bfloat16") for shape in ("same", "below", "above")
    ]
    lengths = [len(case.responses[row]) for row in case.hinted]
    for row, (size, selected) in zip(rows, [(0, 0), (0.0007, 0), (0.001, 1)] * 2, strict=True):
        assert row["tokens"] == sum(lengths)
        assert row["mean"] == pytest.approx(size, abs=1e-6)
        assert row["max"] == pytest.approx(size, abs=1e-5)
        assert row["selected"] == selected
        assert row["shift"] == pytest.approx(0.5 * math.tanh(size / 0.02), abs=1e-4)


def test_the_smallest_evidence_that_is_selected(numerics):
    method = RLCSD()
    nats = numerics.smallest_selected(method)
    assert nats == pytest.approx(0.0008, abs=1e-6)
    correct = torch.tensor([[0.99 * nats, 1.01 * nats, -1.01 * nats], [1.01 * nats, 5.0, 5.0]]).double()
    batch = numerics.hinted_batch([[1, 2, 3], [1]], correct, torch.zeros(2, 1, 3).double())
    evidence, selected = numerics.evidence_of(method, batch)
    assert evidence.tolist() == [*correct[0].tolist(), float(correct[1, 0])]  # nothing behind a response
    assert selected.tolist() == [False, True, True, True]


def test_ratios_of_known_differences(numerics, case):
    old = [np.array(row, dtype=np.float32) for row in ([-1, -2, -3], [-1])]
    drawn = [Rollout([0] * len(row), row, row, "stop") for row in old]
    new = torch.tensor([[-1.0, -2.1, -3.3], [-0.2, 9.0, 9.0]])
    found = numerics.ratios(case, drawn, new)
    differences = [0, 0.1, 0.3, 0.8]
    assert found["tokens"] == 4
    assert found["mean"] == pytest.approx(np.mean(differences), abs=1e-6)
    assert found["max"] == pytest.approx(0.8, abs=1e-6)
    assert (found["ratio_min"], found["ratio_max"]) == pytest.approx((math.exp(-0.3), math.exp(0.8)), abs=1e-6)
    assert found["clipped"] == 0.5  # beyond 1 - 0.2 and 1 + 0.2
    assert found["truncated"] == 0.25  # at the threshold of 2
    unlimited = replace(case.settings, rollout=replace(case.settings.rollout, importance_threshold=None))
    assert numerics.ratios(replace(case, settings=unlimited), drawn, new)["truncated"] is None


def test_a_rounded_copy_is_what_transformers_loads(numerics, case, tmp_path):
    model = case.models["float32"]
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    copy = numerics.in_precision(model, "bfloat16")
    assert {weights.dtype for weights in model.parameters()} == {torch.float32}
    assert {weights.dtype for weights in copy.parameters()} == {torch.bfloat16}
    ids = torch.tensor([case.prompts[0]])
    with torch.no_grad():
        assert torch.equal(copy(input_ids=ids).logits, loaded(input_ids=ids).logits)


def test_without_hints_it_says_so(numerics, study, monkeypatch):
    monkeypatch.setattr(numerics, "grade_response", lambda *_, **__: Graded("1", False))
    with pytest.raises(UserError, match=r"arithmetic: no rollout of 1 groups of 8 .*\(--prompts\)"):
        numerics.make_case(study, "arithmetic", "tiny_qwen3", None, 1)


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
