"""What is kept of a run's rollouts: which, with what numbers, and that training does not notice."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from registered_methods import REGISTRY, coin, registered

from selfdistill.errors import UserError
from selfdistill.objectives.methods import METHODS
from selfdistill.runs.lifecycle import write_run_files
from selfdistill.runs.metrics_log import MetricsLog
from selfdistill.runs.records import SCHEMA, StepRecords, read_records, write_records
from selfdistill.runs.state_folder import StateFolder
from selfdistill.scoring.scorer import ModelScorer
from selfdistill.scoring.scores import Sequences
from selfdistill.study.run_settings import RecordSettings
from selfdistill.training.recorder import chosen_rows
from selfdistill.training.step import TrainingStep

TAUGHT = [method for method, entry in REGISTRY.items() if METHODS[entry["implementation"]]().needs.correct_hint]
ONE_UPDATE = {"update": {"prompts_per_update": 4}, "rollout": {"group_size": 8}, "records": {"every": 2, "rollouts": 5}}


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def recorded(make, method, number=1, **changes):
    """The records of one step, the trainer after it, and the step's rollouts."""
    trainer = make(coin, **registered(method, **ONE_UPDATE | changes))
    caught = []
    run = TrainingStep.run

    def catch(self, step, rollouts, *more):
        caught.append(rollouts)
        return run(self, step, rollouts, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingStep, "run", catch)
        metrics = trainer.step(number)
    return trainer.recorded, caught[0], metrics


def test_which_steps_are_due():
    assert [step for step in range(1, 8) if RecordSettings(3, 2).due(step)] == [1, 3, 6]
    assert not any(RecordSettings(0, 2).due(step) for step in range(1, 8))


def test_the_choice_is_of_hinted_rows_and_a_function_of_seed_and_step():
    hinted = [i % 3 == 0 for i in range(60)]
    chosen = chosen_rows(hinted, 6, 0, 5)
    assert len(chosen) == 6
    assert chosen == sorted(set(chosen))
    assert all(hinted[i] for i in chosen)
    assert chosen == chosen_rows(hinted, 6, 0, 5)
    assert chosen != chosen_rows(hinted, 6, 1, 5)
    assert chosen != chosen_rows(hinted, 6, 0, 6)
    assert chosen_rows(hinted, 100, 0, 5) == [i for i in range(60) if hinted[i]]
    assert chosen_rows([False] * 4, 3, 0, 1) == []


def test_score_and_feedback_are_recorded_where_the_grader_has_them(make, tmp_path):
    def told(response, problem):
        graded = coin(response, problem)
        return dataclasses.replace(
            graded, score=0.75 if graded.correct else 0.25, feedback="" if graded.correct else "no"
        )

    trainer = make(told, **registered("rlcsd", **ONE_UPDATE))
    trainer.step(1)
    rows = trainer.recorded
    assert [(row["score"], row["feedback"]) for row in rows] == [
        (0.75, "") if row["correct"] else (0.25, "no") for row in rows
    ]
    records = StepRecords(tmp_path)
    records.write(1, rows)
    records.write(2, [{key: value for key, value in row.items() if key not in ("score", "feedback")} for row in rows])
    records.collect(tmp_path / "all.parquet", pytest.fail)
    table = read_records(tmp_path / "all.parquet")
    assert table["feedback"].to_pylist() == [row["feedback"] for row in rows] + [None] * len(rows)
    plain, _, _ = recorded(make, "rlcsd")
    write_records(tmp_path / "plain.parquet", plain)
    assert read_records(tmp_path / "plain.parquet").column_names == [*SCHEMA.names, "context"]


@pytest.mark.parametrize("method", TAUGHT)
def test_a_record_says_what_the_teacher_said_and_whose_it_is(make, method):
    rows, rollouts, _ = recorded(make, method)
    assert 1 <= len(rows) <= 5
    student = make().model  # of the same initial weights, which every teacher still has in step 1
    for row in rows:
        place = row["prompt"] * 8 + row["rollout"]
        response = rollouts.responses[place]
        assert row["token_ids"] == list(response)
        assert len(row["tokens"]) == len(response)
        assert "".join(row["tokens"]).startswith(rollouts.texts[place])
        assert row["problem"] == rollouts.problems[place].problem
        assert row["correct"] == rollouts.correct[place] == (row["reward"] > 0)
        assert row["correct_solution"] or row["correct_answer"]
        assert len(row["wrong_solutions"]) == len(row["wrong_answers"]) == len(row["wrong_logprobs"])
        assert bool(row["wrong_logprobs"]) == METHODS[REGISTRY[method]["implementation"]]().needs.wrong_hints
        for name in ("old_logprobs", "student_logprobs", "correct_logprobs", "weights"):
            assert len(row[name]) == len(response), name
        plain = ModelScorer(student, 10_000)(Sequences([rollouts.prompts[place]], [response]), len(response)).logprobs
        np.testing.assert_allclose(row["student_logprobs"], plain[0], atol=1e-4)
        np.testing.assert_allclose(row["old_logprobs"], plain[0], atol=1e-4)
        # The hints are in the record, so the gap is not that of the student to itself.
        assert np.abs(np.subtract(row["correct_logprobs"], plain[0])).max() > 1e-3
        distils = REGISTRY[method]["implementation"] in ("opsd", "sdpo", "sdpo_official", "srpo", "opsd_ectr")
        assert (row["advantages_after"] is None) == distils
        assert (row["divergences"] is None) == (not distils)


def slow_contrast(row, token):
    wrong = [math.exp(values[token]) for values in row["wrong_logprobs"]]
    return row["correct_logprobs"][token] - math.log(sum(wrong) / len(wrong))


def test_rlcsd_after_modulation(make):
    rows, *_ = recorded(make, "rlcsd")
    assert any(row["advantage"] for row in rows)
    selected = 0
    for row in rows:
        for token in range(len(row["tokens"])):
            shift = 0.5 * math.tanh(slow_contrast(row, token) / 0.02)
            after = row["advantage"]
            if abs(shift) > 0.02:
                after = max(0, after + shift) if after > 0 else min(0, after + shift) if after < 0 else 0
            assert row["advantages_after"][token] == pytest.approx(after, abs=2e-3)
            assert row["marked"][token] == (abs(shift) > 0.02)
            selected += row["marked"][token]
    assert selected


@pytest.mark.parametrize("method", ["rlsd", "rlsd_ectr"])
def test_rlsd_after_modulation(make, method):
    rows, *_ = recorded(make, method)
    clipped = 0
    for row in rows:
        for token in range(len(row["tokens"])):
            evidence = row["correct_logprobs"][token] - row["student_logprobs"][token]
            if method == "rlsd_ectr":
                evidence = slow_contrast(row, token)
            weight = math.exp(math.copysign(1, row["advantage"]) * evidence) if row["advantage"] else 1.0
            bounded = min(max(weight, 0.8), 1.2)
            after = row["advantage"] * (0.5 + 0.5 * bounded)
            assert row["advantages_after"][token] == pytest.approx(after, abs=1e-3)
            if abs(weight - 0.8) > 1e-3 and abs(weight - 1.2) > 1e-3:
                assert row["marked"][token] == (not 0.8 < weight < 1.2)
            clipped += row["marked"][token]
    assert clipped


def test_a_divergence_is_that_of_the_distributions(make):
    rows, _, metrics = recorded(make, "opsd", objective={"token_clip": None}, records={"every": 1, "rollouts": 1000})
    every = np.concatenate([row["divergences"] for row in rows])
    assert every.mean() == pytest.approx(metrics["signal/divergence_mean"], rel=1e-4)
    assert every.min() > -1e-6
    assert {True, False} >= {bool(mark) for row in rows for mark in row["marked"]} == {False}


def test_weights_are_relative_to_the_mean_of_those_that_carry_a_loss(make):
    rows, *_ = recorded(make, "srpo", records={"every": 1, "rollouts": 1000})
    every = np.concatenate([row["weights"] for row in rows])
    assert every.std() > 1e-3  # by the teacher's entropy
    assert every.mean() == pytest.approx(1, abs=1e-3)
    (row, *_), *_ = recorded(make, "rlsd")
    np.testing.assert_allclose(row["weights"], 1, rtol=1e-5)


@pytest.mark.parametrize("method", ["rlcsd", "rlsd", "opsd", "srpo"])
def test_training_does_not_notice(make, method):
    trainers = [make(coin, **registered(method, records={"every": every, "rollouts": 3})) for every in (1, 0)]
    for number in (1, 2):
        kept, bare = (trainer.step(number) for trainer in trainers)
        assert {k: v for k, v in kept.items() if not k.startswith("timing_s/")} == {
            k: v for k, v in bare.items() if not k.startswith("timing_s/")
        }
    assert torch.equal(*(weights(trainer) for trainer in trainers))
    assert trainers[0].recorded is not None
    assert trainers[1].recorded is None


def test_without_a_teacher_nothing_is_recorded(make):
    assert recorded(make, "grpo")[0] is None


def test_a_step_between_keeps_nothing_of_the_last_one(make):
    trainer = make(coin, **registered("rlcsd", records={"every": 2, "rollouts": 3}))
    found = []
    for number in (1, 2, 3):
        trainer.step(number)
        found.append(trainer.recorded and {row["step"] for row in trainer.recorded})
    assert found == [{1}, {2}, None]


def test_files_come_back_as_they_were_and_in_order(make, tmp_path):
    rows, *_ = recorded(make, "rlcsd")
    records = StepRecords(tmp_path)
    records.write(20, [{**row, "step": 20} for row in rows])
    records.write(3, rows)
    records.write(3, [{**row, "step": 3} for row in rows])  # again, after a kill
    records.collect(tmp_path / "all.parquet", print)
    table = read_records(tmp_path / "all.parquet")
    assert table.schema == pa.schema([*SCHEMA, pa.field("context", pa.string())])
    assert table["step"].to_pylist() == [3] * len(rows) + [20] * len(rows)
    back = table.to_pylist()[0]
    assert back["tokens"] == rows[0]["tokens"]
    np.testing.assert_array_equal(np.float32(back["wrong_logprobs"]), rows[0]["wrong_logprobs"])
    assert back["divergences"] is None
    records.drop()
    records.collect(tmp_path / "none.parquet", print)
    assert read_records(tmp_path / "none.parquet").num_rows == 0
    assert read_records(tmp_path / "all.parquet", ["step", "tokens"]).column_names == ["step", "tokens"]


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b"")], ids=["lost", "spoilt"])
def test_a_step_that_a_crash_lost_or_spoilt_is_named_and_left_out(make, tmp_path, damage):
    rows, _, metrics = recorded(make, "rlcsd")
    state, said = StateFolder(tmp_path / "state"), []
    records, log = StepRecords(state.path), MetricsLog(state.path)
    for step in (1, 2, 3):
        log.write(step, metrics if step != 2 else {})  # 2 was not recorded
        records.write(step, [{**row, "step": step} for row in rows if step != 2])
    (state.path / "records" / "step_000002.parquet").unlink()
    damage(state.path / "records" / "step_000003.parquet")
    write_run_files(tmp_path, {}, state, said.append)
    assert set(read_records(tmp_path / "records.parquet")["step"].to_pylist()) == {1}
    [line] = said
    assert "step_000003.parquet" in line


def test_what_is_no_file_of_records_is_named(tmp_path):
    pq.write_table(pa.table({"step": [1]}), tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("no parquet")
    for name in ("other.parquet", "text.parquet", "absent.parquet"):
        with pytest.raises(UserError, match=rf"{name}.*train this run again"):
            read_records(tmp_path / name)
    write_records(tmp_path / "empty.parquet", [])
    assert read_records(tmp_path / "empty.parquet").num_rows == 0
