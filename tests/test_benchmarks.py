"""Benchmarks run at a tiny size, and what they compare with is right; no time is asserted."""

import csv
import functools
import importlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from selfdistill.models.tiny_model import TinyModel, build_model
from selfdistill.scoring.scorer import ModelScorer
from selfdistill.signals.teacher_scores import score_contexts

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def load():
    """A benchmark as a module by its name, importable by processes that it starts."""
    folder = str(ROOT / "benchmarks")
    sys.path.append(folder)  # behind all others: some benchmarks have names that libraries have too
    yield importlib.import_module
    sys.path.remove(folder)


@pytest.fixture(scope="module")
def tiny(tokenizer):
    return build_model(TinyModel(layers=2), tokenizer, seed=0).eval()


@torch.no_grad()
def alone(model, prompt, response, temperature=1.0):
    """Log-probs of a response, float64: no batch, no padding, no mask, no cache."""
    distributions = (model(torch.tensor([[*prompt, *response]])).logits[0].double() / temperature).softmax(dim=-1)
    return torch.stack([distributions[len(prompt) + t - 1, token].log() for t, token in enumerate(response)])


@pytest.fixture
def in_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def read(load, monkeypatch, tmp_path):
    """Run a benchmark's main with its output in a temporary file, and read that."""

    def run(name, *arguments, **changes):
        module = load(name)
        for key, value in {"OUTPUT": tmp_path / "out.csv", **changes}.items():
            monkeypatch.setattr(module, key, value)
        module.main(arguments)
        with (tmp_path / "out.csv").open() as file:
            return list(csv.DictReader(file))

    return run


def test_variants_alternate_and_warm_up_rounds_do_not_count(load, monkeypatch):
    common = load("side_by_side")
    clock, order = [0.0], []
    took = {"a": iter([100, 1, 5, 3]), "b": iter([100, 2, 2, 8])}

    def variant(name):
        order.append(name)
        clock[0] += next(took[name])

    monkeypatch.setattr(common.time, "process_time", lambda: clock[0])  # tests have one thread
    assert common.medians({n: lambda n=n: variant(n) for n in "ab"}, repetitions=3) == {"a": 3, "b": 2}
    assert order == list("abababab")


def test_peak_memory_is_that_of_the_call(load):
    """In a process of its own: one that has freed memory of that size before need not ask for any."""
    common = load("side_by_side")
    allocate = functools.partial(torch.ones, 20 << 20, dtype=torch.uint8)
    assert 16 << 20 <= common.in_own_process(common.peak_growth, allocate) < 48 << 20


@pytest.mark.parametrize("outcome", ["1/7", "mixed"])
def test_the_plain_scheme_says_what_each_row_alone_says(load, tiny, outcome):
    """Every slot of every hinted row, whatever the micro-batches; replicas beyond a row's own hints."""
    teacher = load("teacher")
    size = teacher.Size("tiny", response=6, before=3, after=2, groups=2, budget=40, repetitions=1)
    contexts, responses = teacher.make_batch(size, outcome, tiny.config.vocab_size)
    plain = teacher.score_plainly(tiny, contexts, responses, width=7, budget=size.budget, temperature=0.7)
    tokens, most = 0, max(map(len, contexts.wrong))
    for row, (correct, wrong) in enumerate(zip(contexts.correct, contexts.wrong, strict=True)):
        if correct is None:
            assert not plain.correct[row].any()
            assert not plain.wrong[row].any()
            continue
        slots = [correct, *wrong, *[wrong[0]] * (most - len(wrong))]
        for context, found in zip(slots, [plain.correct[row], *plain.wrong[row]], strict=True):
            length = len(responses[row])
            expected = alone(tiny, context, responses[row], 0.7)
            np.testing.assert_allclose(found[:length], expected, rtol=0, atol=1e-5)
            assert not found[length:].any()
            tokens += len(context) + length
    assert plain.tokens == tokens <= plain.positions
    scores = score_contexts(ModelScorer(tiny, 1000, 0.7), contexts, responses, 7)
    assert scores.tokens_plain == tokens
    assert teacher.largest_difference(plain, scores) < 1e-5
    changed = replace(scores, wrong_logprobs=scores.wrong_logprobs + 0.1 * scores.wrong_mask[..., None])
    assert teacher.largest_difference(plain, changed) == pytest.approx(0.1, abs=1e-4)


def test_teacher_shows_what_the_plan_saves(read, in_root, load):
    size = load("teacher").Size("demo", 8, 4, 2, groups=1, budget=60, repetitions=1)
    rows = read("teacher", "--outcomes", "4/4", "7/1", SIZES=(size,))
    assert [row["outcome"] for row in rows] == ["4/4", "7/1"]
    for row in rows:
        assert int(row["plan_tokens"]) < int(row["plain_tokens"]) <= int(row["plain_positions"])
        assert float(row["tokens_ratio"]) == int(row["plan_tokens"]) / int(row["plain_tokens"])
        assert 0 <= float(row["largest_difference"]) < 1e-5
        assert row["plain_mib"] == ""


def test_averages_are_over_the_middle_outcomes_and_both_ratios_have_to_meet_the_goal(load):
    teacher = load("teacher")
    base = {"size": "demo", "tokens_ratio": 0.5}
    ratios = {"1/7": 9.0, "2/6": 0.5, "3/5": 0.6, "4/4": 0.5, "5/3": 0.5, "6/2": 0.7, "7/1": 9.0}
    rows = [{**base, "outcome": outcome, "seconds_ratio": ratio} for outcome, ratio in ratios.items()]
    (found,) = teacher.averages(rows)
    assert found["seconds_ratio"] == pytest.approx(0.56)
    assert found["goal 0.6"] == "met"
    rows[3]["seconds_ratio"] = 1.2
    assert teacher.averages(rows)[0]["goal 0.6"] == "missed"
    assert teacher.averages(rows[:5]) == []  # not all of them


@pytest.fixture
def determinism():
    """As it was, after a benchmark that asks for it as a run does."""
    before = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(before[0])
    torch.utils.deterministic.fill_uninitialized_memory = before[1]


@pytest.mark.usefixtures("determinism")
def test_step_splits_both_methods_seconds(read, in_root):
    rows = read("step", "--tasks", "arithmetic", "--steps", "2", "--repetitions", "1")
    parts = {row["part"]: row for row in rows}
    assert {"step", "rollout", "update", "teacher", "guards", "(the rest)"} <= set(parts)
    for method in ("grpo_s", "rlcsd_s"):
        split = [float(row[method]) for name, row in parts.items() if name != "step"]
        assert sum(split) == pytest.approx(float(parts["step"][method]))
        assert float(parts["rollout"][method]) > 0
    assert float(parts["teacher"]["grpo_s"]) == 0 < float(parts["teacher"]["rlcsd_s"])


def test_generate_compares_engines_that_draw_as_much(read, load, in_root, tmp_path):
    size = load("generate").Size("tiny", None, groups=2, tokens=5, repetitions=1)
    rows = read("generate", "--vllm-python", str(tmp_path / "none"), SIZES=(size,), CHECKED=4)
    assert [row["engine"] for row in rows] == ["own", "transformers", "transformers, ids only"]
    for row in rows:
        assert float(row["tokens_per_second"]) == pytest.approx(16 * 5 / float(row["seconds"]))
        assert row["engine"] == "transformers, ids only" or float(row["largest_difference"]) < 1e-5


def test_peers_take_turns_on_equal_work(load, in_root, monkeypatch):
    """The local trainer beside itself, in place of TRL, whose environment tests do not have."""
    peer = load("peer")
    monkeypatch.setattr(peer, "WORKERS", {"ours": "peer_ours.py", "trl": "peer_ours.py"})
    pythons = dict.fromkeys(peer.WORKERS, Path(sys.executable))
    rows = peer.compared("toy", peer.Size(2, 4, 10, 4, 400), "sdpo", 2, pythons)
    found = {row["part"]: row for row in rows}
    assert found["tokens"]["ours"] == found["tokens"]["trl"] > 0
    assert found["step"]["ours"] > found["rollout"]["ours"] > 0
    assert found["step"]["goal"] == 0.35


def test_a_peer_that_fails_says_why(load, monkeypatch, tmp_path):
    peer = load("peer")
    (tmp_path / "job.json").write_text("{}")
    with pytest.raises(RuntimeError, match=r"peer_ours.py ended before its step \(status 1\):(.|\n)*problems"):
        peer.in_turns(tmp_path / "job.json", 1, dict.fromkeys(peer.WORKERS, Path(sys.executable)), tmp_path)


def test_random_words_are_their_own_text(load, tmp_path):
    """A prompt as text gives its ids again, a response its own: both trainers read the same."""
    from selfdistill.models.loading import load_tokenizer

    shape = load("smollm2_shape")
    tokenizer = load_tokenizer(shape.random_smollm2(tmp_path, layers=1))
    drawn = [7, 40_000, 49_151]
    assert tokenizer(tokenizer.decode(drawn)).input_ids == drawn
    assert "w5" in load("peer").prompt_text(tokenizer, "w5 w7")


def test_claim_odds_has_the_published_numbers_for_truth(load, monkeypatch):
    script = load("claim_odds")
    monkeypatch.setattr(script, "MAIN", {"v1": ("base", "grpo", "rlcsd")})
    monkeypatch.setattr(script, "DRAWS", {"logic": 1})
    block = script.Block("v1", "qwen3_8b", "logic")
    whole = {variant: 100 * sum(cells.values()) / len(cells) for variant, cells in block.cells.items()}
    assert (whole["rlcsd"], whole["base"]) == (pytest.approx(74.0, abs=0.06), pytest.approx(59.6, abs=0.06))
    for (variant, name), chances in block.chances.items():
        assert chances.mean() == pytest.approx(block.cells[variant][name], abs=1e-3)
    measured = script.odds(1, (3,), ("qwen3_8b",))
    parts = measured.set_index(["claim", "part", "task"])
    assert parts.loc[("C2", "base", "logic"), "reproduced"] == 1  # 14.4 points
    assert "C4" not in measured["claim"].tolist()  # the paper has no number of its curves for this model
    assert "| C2 base, rlcsd | 100 |" in script.tables_of(measured)
