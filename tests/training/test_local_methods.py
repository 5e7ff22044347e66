"""Every method in the local trainer, with its registered teacher and hints: updates, signals, what is skipped."""

import copy
import math
import re
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from registered_methods import REGISTRY, coin, registered

from selfdistill.errors import UserError
from selfdistill.models.chat import encode_chat
from selfdistill.objectives.batch import Batch
from selfdistill.objectives.methods import METHODS
from selfdistill.runs.metrics import METRICS
from selfdistill.sampling.decode import DecodeLoop
from selfdistill.scoring.scorer import ModelScorer
from selfdistill.scoring.scores import Sequences
from selfdistill.signals.hints import Assignment
from selfdistill.signals.teacher_contexts import ContextBuilder, TeacherContexts
from selfdistill.tasks.boxed import last_boxed
from selfdistill.tasks.graders import Graded
from selfdistill.tasks.prompts import student_prompt
from selfdistill.training import step as step_module
from selfdistill.training import step_hints
from selfdistill.training.local import engine as engine_module
from selfdistill.training.step import TrainingStep

#: Of its signal, what docs/metrics.md says that it logs.
SIGNALS = {
    method: {m.name for m in METRICS if m.name.startswith("signal/") and method in re.findall(r"\w+", m.logged_by)}
    for method in METHODS
}
GUARDS = {
    "guard/null_contrast_abs_mean",
    "guard/null_contrast_abs_max",
    "guard/alignment_gain",
    "guard/teacher_over_uniform",
}


def never(response, problem):
    return Graded(last_boxed(response), False)


def never_on(*indices):
    return lambda response, problem: (never if problem.index in indices else coin)(response, problem)


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def gradient(trainer):
    return torch.cat([p.grad.flatten() for p in trainer.model.parameters()])


#: One update a step, whose gradient stays to be looked at.
STILL = {"optimizer": {"learning_rate": 1e-30, "max_grad_norm": 1e9}, "update": {"prompts_per_update": 4}}


def still(method, **changes):
    return registered(method, **{key: {**STILL.get(key, {}), **changes.get(key, {})} for key in {*STILL, *changes}})


# ------------------------------------------------------------------------------------------------------ every method


def test_the_registry_has_every_method():
    assert {entry["implementation"] for entry in REGISTRY.values()} == set(METHODS) == set(SIGNALS)


@pytest.mark.parametrize("method", REGISTRY)
def test_every_method_trains(make, method):
    trainer = make(coin, **registered(method, rollout={"group_size": 8}))
    before = weights(trainer)
    for number in (1, 2):
        metrics = trainer.step(number)
        assert not torch.equal(weights(trainer), before)
        before = weights(trainer)
        assert all(math.isfinite(value) for value in metrics.values())
        assert metrics["actor/skipped_updates"] == 0
        assert metrics["actor/grad_norm"] > 0
        assert {name for name in metrics if name.startswith("signal/")} == SIGNALS[method]
        needs = METHODS[method]().needs
        assert {name for name in metrics if name.startswith("guard/")} == (GUARDS if needs.teacher else set())
        assert any(name.startswith("hints/") for name in metrics) == needs.correct_hint
        if needs.teacher:
            assert not needs.correct_hint or metrics["hints/hinted_share"] > 0.2
            assert metrics["tokens/teacher_forwarded"] > 0
            assert metrics["guard/null_contrast_abs_max"] < 1e-4
            # The toy has met one template in its warm start, and not the other.
            least = 0.3 if method == "sdpo_official" else 1
            assert metrics["guard/alignment_gain"] > least
            assert metrics["guard/teacher_over_uniform"] > least
            vocabulary = trainer.model.config.vocab_size
            assert metrics["guard/teacher_over_uniform"] == pytest.approx(
                metrics["teacher/logprob_mean"] + math.log(vocabulary)
            )


#: What a step may do otherwise, by method; every method has itself.
SETTINGS = {
    **{method: still(method) for method in REGISTRY},
    "rlcsd-rollouts": still("rlcsd", update={"aggregation": "rollouts"}),
    **{
        f"{method}-full": still(method, objective={"top_k": 0})
        for method in ("opsd", "sdpo", "srpo", "opsd_ectr", "opd_divergence")
    },
    "rlcsd-one_sided": still("rlcsd", objective={"one_sided": True}),
    "opsd-sampled": still("opsd", objective={"full_distribution": False}),
    "sdpo-recomputed": still("sdpo", rollout={"old_logprobs": "recompute"}),
    "grpo-kl": still("grpo", update={"kl_coef": 0.5}),
}


@pytest.mark.parametrize("method", ["grpo", "rlcsd", "srpo"])
def test_rollouts_may_weigh_alike_whatever_their_length(make, method):
    """The mean over tokens and the mean over rollouts are two losses."""
    ways = (still(method), still(method, update={"aggregation": "rollouts"}))
    metrics = [make(coin, **changes).step(1) for changes in ways]
    assert metrics[0]["actor/loss"] != pytest.approx(metrics[1]["actor/loss"], rel=1e-3)


@pytest.mark.parametrize("case", SETTINGS)
def test_a_step_does_not_depend_on_micro_batching(make, case, monkeypatch):
    """One row a forward, a few, all, whole rows: of one update, the gradient and every metric but what it took.

    What hinted prompts have in common is computed once in each batch of prompts: the more of these, the more tokens.
    """
    found, forwarded = [], []
    for budget in (1, 100, 100_000, "whole rows"):
        if budget == "whole rows":  # updates that share no prompts
            monkeypatch.setattr(engine_module, "worthwhile_schedule", lambda *_, **options: None)
            budget = 100_000
        changes = SETTINGS[case] | {"update": SETTINGS[case]["update"] | {"micro_batch_tokens": budget}}
        trainer = make(coin, **changes)
        metrics = {name: value for name, value in trainer.step(1).items() if not name.startswith("timing_s/")}
        forwarded.append(metrics.pop("tokens/teacher_forwarded", 0))
        found.append((gradient(trainer), metrics))
    (reference, expected), *others = found
    assert reference.norm() > 1e-4
    for other, metrics in others:
        assert (other - reference).norm() < 1e-4 * reference.norm()
        assert metrics == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert forwarded == sorted(forwarded, reverse=True)


# ------------------------------------------------------------------------------- whose weights, read when, seen by whom


@dataclass
class Seen:
    """One optimizer step: what its signal was made of, and the student at that time."""

    sequences: Sequences
    contexts: TeacherContexts
    batch: Batch
    student: torch.nn.Module


@pytest.fixture
def seen(monkeypatch):
    every, original = [], TrainingStep._with_signal

    def watched(self, sequences, batch, contexts, *more):
        batch, metrics = original(self, sequences, batch, contexts, *more)
        every.append(Seen(sequences, contexts, batch, copy.deepcopy(self._engine.model)))
        return batch, metrics

    monkeypatch.setattr(TrainingStep, "_with_signal", watched)
    return every


@torch.no_grad()
def logits_of(model, context, response):
    """(T, V), by a forward of this row alone."""
    return model(input_ids=torch.tensor([[*context, *response]])).logits[0, len(context) - 1 : -1]


def mean_of(models, shares):
    mean = copy.deepcopy(models[0])
    with torch.no_grad():
        for parameters in zip(mean.parameters(), *(m.parameters() for m in models), strict=True):
            parameters[0].copy_(sum(s * p for s, p in zip(shares, parameters[1:], strict=True)))
    return mean


#: Teacher settings, and for each of four updates (two a training step) the shares of the students that it is made of.
TEACHERS = {
    "initial": ({"kind": "initial"}, [{0: 1}] * 4),
    "live": ({"kind": "live"}, [{0: 1}, {1: 1}, {2: 1}, {3: 1}]),
    "snapshot, training steps": ({"kind": "snapshot", "sync_interval": 1}, [{0: 1}, {0: 1}, {2: 1}, {2: 1}]),
    "snapshot, optimizer steps": (
        {"kind": "snapshot", "sync_interval": 1, "clock": "optimizer_steps"},
        [{0: 1}, {1: 1}, {2: 1}, {3: 1}],
    ),
    "snapshot, every third optimizer step": (
        {"kind": "snapshot", "sync_interval": 3, "clock": "optimizer_steps"},
        [{0: 1}, {0: 1}, {0: 1}, {3: 1}],
    ),
    "ema, training steps": (
        {"kind": "ema", "ema_decay": 0.75},
        [{0: 1}, {0: 1}, {0: 0.75, 2: 0.25}, {0: 0.75, 2: 0.25}],
    ),
    "ema, optimizer steps": (
        {"kind": "ema", "ema_decay": 0.5, "clock": "optimizer_steps"},
        [{0: 1}, {0: 0.5, 1: 0.5}, {0: 0.25, 1: 0.25, 2: 0.5}, {0: 0.125, 1: 0.125, 2: 0.25, 3: 0.5}],
    ),
}


@pytest.mark.parametrize("case", TEACHERS)
def test_each_optimizer_step_asks_the_teacher_of_its_time(make, seen, case):
    settings, shares = TEACHERS[case]
    trainer = make(coin, **registered("opsd", teacher=settings))
    trainer.step(1)
    trainer.step(2)
    students = [each.student for each in seen]
    assert len(students) == 4
    for each, of in zip(seen, shares, strict=True):
        teacher = mean_of([students[i] for i in of], list(of.values()))
        assert_scored_by(lambda *row, teacher=teacher: logits_of(teacher, *row), each)
    for before, after in pairwise(seen):  # were it another's weights, the comparison would see it
        row = after.contexts.correct[0], after.sequences.responses[0]
        assert (logits_of(before.student, *row) - logits_of(after.student, *row)).abs().max() > 1e-2


def assert_scored_by(logits, each):
    for i, response in enumerate(each.sequences.responses):
        expected = logits(each.contexts.correct[i], response).double().log_softmax(dim=-1)
        expected = expected.gather(-1, torch.tensor(response)[:, None])[:, 0]
        assert_near(each.batch.correct_logprobs[i, : len(response)], expected)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_trust_region_mixes_the_initial_and_the_student_of_the_time(make, seen, share):
    trainer = make(coin, **registered("opsd", teacher={"kind": "trust_region", "student_share": share}))
    trainer.step(1)
    trainer.step(2)
    for each in seen:
        assert_scored_by(
            lambda *row, each=each: (
                (1 - share) * logits_of(seen[0].student, *row) + share * logits_of(each.student, *row)
            ),
            each,
        )


@pytest.mark.parametrize("method", ["opsd", "sdpo", "srpo", "rlcsd", "opsd_ectr"])
@pytest.mark.parametrize("temperature", [0.6, 1.0])
def test_a_batch_holds_what_the_teacher_says(make, seen, method, temperature):
    """Under the correct and the wrong hints, at the temperature of the rollouts, and no more than the method wants."""
    free = {"token_clip": None} if method == "opsd" else {}
    trainer = make(coin, **still(method, rollout={"temperature": temperature}, hints={"k_max": 2}, objective=free))
    metrics, needs = trainer.step(1), METHODS[method]().needs
    ((each, batch),) = [(each, each.batch) for each in seen]
    assert (batch.support_ids is not None) == (needs.support is not None)
    assert (batch.teacher_entropy is not None) == needs.teacher_entropy
    gaps, hinted = [], 0
    for i, response in enumerate(each.sequences.responses):
        if each.contexts.correct[i] is None:
            continue
        tokens, length = torch.tensor(response)[:, None], len(response)
        hinted += length

        def says(context, response=response):
            return (logits_of(each.student, context, response).double() / temperature).log_softmax(dim=-1)

        right = says(each.contexts.correct[i])
        assert_near(batch.correct_logprobs[i, :length], right.gather(-1, tokens)[:, 0])
        gaps.append(right.gather(-1, tokens)[:, 0] - batch.old_logprobs[i, :length])
        own = says(each.sequences.prompts[i])
        assert_near(batch.old_logprobs[i, :length], own.gather(-1, tokens)[:, 0])
        for k, context in enumerate(each.contexts.wrong[i]):
            assert_near(batch.wrong_logprobs[i, k, :length], says(context).gather(-1, tokens)[:, 0])
        if needs.support is not None:
            ids = batch.support_ids[i, :length]
            chooser = right if needs.support.chooser == "teacher" else own
            assert_near(chooser.gather(-1, ids), chooser.topk(8).values)
            assert_near(batch.correct_support[i, :length], right.gather(-1, ids))
            if needs.wrong_hints:
                wrong = says(each.contexts.wrong[i][0])
                assert_near(batch.wrong_support[i, :length], wrong.gather(-1, ids))
                assert (wrong.gather(-1, ids) - right.gather(-1, ids)).abs().max() > 0.1
        if needs.teacher_entropy:
            assert_near(batch.teacher_entropy[i, :length], -(right.exp() * right).sum(dim=-1))
    assert hinted > 0
    assert metrics["teacher/gap_abs_mean"] == pytest.approx(float(torch.cat(gaps).abs().mean()), abs=1e-4)
    assert metrics["guard/null_contrast_abs_max"] < 1e-4
    assert metrics["actor/approx_kl"] == pytest.approx(0.0, abs=1e-4)
    if method == "opsd":  # every token of every row weighs the same
        assert metrics["actor/loss"] == pytest.approx(metrics["signal/divergence_mean"], rel=1e-4)


def assert_near(found, expected):
    torch.testing.assert_close(found.double(), expected.double(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("method", ["sdpo_official", "srpo"])
def test_the_student_chooses_its_ids_right_before_its_update(make, seen, method):
    """From its own prompt, as it is then; the teacher is read at the same ids."""
    trainer = make(coin, **registered(method, update={"micro_batch_tokens": 100}))
    trainer.step(1)
    assert len(seen) == 2
    for each in seen:
        assert each.batch.hinted.any()
        for i in each.batch.hinted.nonzero()[:, 0].tolist():
            response = each.sequences.responses[i]
            ids = each.batch.support_ids[i, : len(response)]
            student = logits_of(each.student, each.sequences.prompts[i], response).log_softmax(dim=-1)
            assert_near(student.gather(-1, ids), student.topk(8).values)
            teacher = logits_of(seen[0].student, each.contexts.correct[i], response).log_softmax(dim=-1)
            assert_near(each.batch.correct_support[i, : len(response)], teacher.gather(-1, ids))


def test_a_one_sided_contrast_is_relative_to_the_student_right_before_its_update(make, seen):
    make(coin, **registered("rlcsd", objective={"one_sided": True})).step(1)
    assert len(seen) == 2
    moved = []
    for each in seen:
        for i in each.batch.hinted.nonzero()[:, 0].tolist():
            response = each.sequences.responses[i]
            student = logits_of(each.student, each.sequences.prompts[i], response).log_softmax(dim=-1)
            expected = student.gather(-1, torch.tensor(response)[:, None])[:, 0]
            assert_near(each.batch.current_logprobs[i, : len(response)], expected)
            moved.append(float((expected - each.batch.old_logprobs[i, : len(response)]).abs().max()))
    assert max(moved) > 1e-3


@pytest.mark.parametrize(("method", "objective"), [("srpo", {}), ("sdpo", {}), ("rlcsd", {"one_sided": True})])
def test_the_student_is_asked_about_hinted_rollouts_only(make, seen, monkeypatch, method, objective):
    trainer = make(coin, **still(method, objective=objective, records={"every": 0}))  # records ask once more
    asked, original = [], ModelScorer.__call__

    def watched(self, rows, *arguments, **options):
        if self.model is trainer.model:
            asked.append(rows)
        return original(self, rows, *arguments, **options)

    rollouts = replace(trainer.roll_out(1), support_ids=None)
    monkeypatch.setattr(ModelScorer, "__call__", watched)
    trainer.learn(1, rollouts)
    ((each, (rows,)),) = [(each, asked) for each in seen]
    hinted = each.batch.hinted.nonzero()[:, 0].tolist()
    assert rows.responses == [each.sequences.responses[i] for i in hinted]
    assert rows.prompts == [each.sequences.prompts[i] for i in hinted]
    assert (len(hinted) == 16) == (method == "sdpo")


@pytest.mark.parametrize("method", ["sdpo", "sdpo_official"])
def test_the_only_update_of_a_step_takes_the_ids_that_came_with_its_rollouts(make, method):
    """They are those that the student would choose; nobody asks it."""
    trainers = [make(coin, **still(method)) for _ in range(2)]
    rollouts = trainers[0].roll_out(1)
    given, surveyed = (
        trainer.learn(1, each)
        for trainer, each in zip(trainers, [rollouts, replace(rollouts, support_ids=None)], strict=True)
    )
    assert surveyed.keys() - given.keys() == {"timing_s/survey"}
    torch.testing.assert_close(*map(gradient, trainers), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("sdpo", {"update": {"prompts_per_update": 2}}),
        ("sdpo", {"objective": {"top_k": 0}}),
        ("sdpo", {"rollout": {"engine": "transformers"}}),
        ("opsd", {}),
        ("grpo", {}),
    ],
)
def test_no_ids_come_with_rollouts_where_they_are_not_known_or_not_the_update_s(make, method, changes):
    assert make(coin, **still(method, **changes)).roll_out(1).support_ids is None


class OwnPrompts(ContextBuilder):
    """Shows every teacher what its student sees."""

    def build(self, problems, assignments, response_lengths):
        asked = (student_prompt(problem.problem, training=True) for problem in problems)
        prompts = [encode_chat(self._tokenizer, text) for text in asked]
        return TeacherContexts(prompts, [[]] * len(prompts), 0.0)


@pytest.mark.parametrize("method", ["opsd", "sdpo"])
def test_a_live_teacher_without_privilege_teaches_nothing(make, monkeypatch, method):
    """Distributions of student and teacher at every token agree, in each update of a step; with a hint they do not."""
    hinted = make(coin, **registered(method, teacher={"kind": "live"})).step(1)
    monkeypatch.setattr(step_module, "ContextBuilder", OwnPrompts)
    equal = make(coin, **registered(method, teacher={"kind": "live"})).step(1)
    for name, least in (("actor/loss", 1e-3), ("signal/divergence_mean", 1e-3), ("signal/teacher_gap_abs_mean", 0.1)):
        assert abs(equal[name]) < 1e-5
        assert abs(hinted[name]) > least
    assert equal["actor/grad_norm"] < 1e-3 * hinted["actor/grad_norm"]


# --------------------------------------------------------------------------------------------------- rows without hints


def test_without_any_hint_opsd_leaves_weights_and_optimizer_alone(make):
    """No weight decay, no momentum, no KL: the update does not take place. The training clock runs all the same."""
    graders = [coin, never]
    teacher = {"kind": "ema", "ema_decay": 0.5, "clock": "optimizer_steps"}
    changes = {"hints": {"source": "self_rollout"}, "optimizer": {"weight_decay": 0.5}, "update": {"kl_coef": 0.1}}
    trainer = make(lambda *row: graders[0](*row), **registered("opsd", teacher=teacher, **changes))
    assert trainer.step(1)["actor/skipped_updates"] == 0
    before = copy.deepcopy(trainer.state_dict())
    del graders[0]
    metrics = trainer.step(2)
    assert metrics["actor/skipped_updates"] == 2
    assert metrics["hints/all_wrong_share"] == 1
    assert not any(name.startswith(("signal/", "actor/loss", "teacher/", "guard/")) for name in metrics)
    after = trainer.state_dict()
    assert int(before["teacher"]["ticks"]) == 2
    for part in ("weights", "optimizer", "teacher"):
        assert set(before[part]) == set(after[part])
        for name, value in before[part].items():
            assert torch.equal(value, after[part][name]), name


def test_where_every_rollout_left_the_batch_nothing_is_scored(make, seen):
    trainer = make(never, **registered("rlcsd"))
    before = weights(trainer)
    metrics = trainer.step(1)
    assert metrics["hints/dropped_share"] == 1
    assert metrics["actor/skipped_updates"] == 2
    assert not seen
    assert torch.equal(weights(trainer), before)


def test_the_mean_importance_is_that_of_the_rollouts_left(make, monkeypatch):
    """The sampler understates the first group, which leaves the batch for its single outcome."""
    sample = DecodeLoop.sample

    def understated(self, *arguments):
        rollouts = sample(self, *arguments)
        first = [replace(rollout, logprobs=rollout.logprobs - np.float32(0.5)) for rollout in rollouts[:4]]
        return first + rollouts[4:]

    trainer = make(never_on(0), **still("rlcsd", rollout={"old_logprobs": "recompute"}))
    monkeypatch.setattr(DecodeLoop, "sample", understated)  # a trainer refuses a sampler that lies from the start
    metrics = trainer.step(1)
    assert 0 < metrics["hints/dropped_share"] < 1
    assert metrics["actor/importance_mean"] == pytest.approx(1.0, abs=1e-4)


def test_a_gradient_that_is_not_finite_leaves_weights_and_optimizer_alone(make, monkeypatch):
    trainer = make(coin, **registered("opsd", teacher={"kind": "ema", "clock": "optimizer_steps"}))
    trainer.step(1)
    before = copy.deepcopy(trainer.state_dict())
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(math.nan))
    metrics = trainer.step(2)
    assert metrics["actor/skipped_updates"] == 2
    after = trainer.state_dict()
    for part in ("weights", "optimizer", "teacher"):
        for name, value in before[part].items():
            assert torch.equal(value, after[part][name]), name


def test_srpo_learns_from_rows_without_hints_by_grpo(make, monkeypatch):
    monkeypatch.setattr(step_hints, "assign_hints", lambda group, *_: [Assignment()] * len(group))
    srpo, grpo = make(coin, **still("srpo")), make(coin, **still("grpo", update={"kl_coef": 0.0}))
    metrics, plain = srpo.step(1), grpo.step(1)
    assert metrics["signal/distilled_share"] == 0
    assert metrics["actor/loss"] == plain["actor/loss"] != 0
    assert torch.equal(gradient(srpo), gradient(grpo))
    assert not any(name.startswith(("guard/", "teacher/logprob", "teacher/gap")) for name in metrics)
    assert plain["actor/grad_norm"] > 0


@pytest.mark.parametrize("routing", ["verifier", "advantage_sign"])
def test_srpo_with_hints_from_siblings_distils_wrong_rows_that_have_one(make, seen, routing):
    """A group without any correct rollout has no hints, nor has a lone one, nor one that goes to grpo."""
    changes = still("srpo", hints={"source": "self_rollout"}, objective={"routing": routing})
    trainer = make(never_on(0, 1), **changes)
    metrics = trainer.step(1)
    (each,) = seen
    counts = [0, 0]
    for prompt in range(4):
        rows = range(4 * prompt, 4 * prompt + 4)
        texts = [trainer.tokenizer.decode(each.sequences.responses[i], skip_special_tokens=True) for i in rows]
        right = [i for i, text in zip(rows, texts, strict=True) if coin(text, None).correct]
        right = [] if prompt in (0, 1) else right
        assert [bool(each.batch.correct[i]) for i in rows] == [i in right for i in rows]
        for i in rows:
            to_grpo = i in right and (routing == "verifier" or len(right) < 4)
            hinted = len([j for j in right if j != i]) > 0 and not to_grpo
            assert bool(each.batch.hinted[i]) == hinted
            counts[hinted] += len(each.sequences.responses[i])
    assert min(counts) > 0
    assert metrics["signal/distilled_share"] == pytest.approx(counts[1] / sum(counts))


@pytest.mark.parametrize("kl_coef", [0.0, 0.1])
def test_lone_targets_of_a_distilled_contrast(make, seen, kl_coef):
    """Nothing is distilled from them, kept or dropped; kept ones take part in the KL term, if there is one."""
    changes = {"update": {"kl_coef": kl_coef}}
    keep, drop = (
        make(coin, **still("opsd_ectr", hints={"lone_targets": each}, **changes)) for each in ("keep", "drop")
    )
    kept, dropped = keep.step(1), drop.step(1)
    lone = sum(kept[f"hints/{reason}_share"] for reason in ("lone_correct", "lone_wrong", "no_usable_wrong"))
    assert lone > 0
    assert dropped["hints/dropped_share"] == pytest.approx(kept["hints/dropped_share"] + lone)
    lengths = [len(response) for response in seen[0].sequences.responses]
    hinted = sum(length for length, has in zip(lengths, seen[0].contexts.hinted, strict=True) if has)
    there = sum(length for length, has in zip(lengths, seen[0].batch.kept.tolist(), strict=True) if has)
    assert there > hinted
    assert dropped["tokens/updated"] == hinted
    assert kept["tokens/updated"] == (there if kl_coef else hinted)
    if kl_coef:
        assert not torch.equal(gradient(keep), gradient(drop))
    else:
        torch.testing.assert_close(gradient(keep), gradient(drop), rtol=1e-5, atol=1e-8)


def test_an_update_without_hints_has_no_part_in_the_mean_of_the_signal(make):
    """The first of two updates has no hint, so its weights are 1 and its evidence is none."""
    trainer = make(never_on(0, 1), **registered("rlsd", hints={"source": "self_rollout"}))
    metrics = trainer.step(1)
    assert metrics["actor/skipped_updates"] == 0
    assert 0.8 <= metrics["signal/weight_mean"] <= 1.2


# ------------------------------------------------------------------------------------------------------------ schedules


def test_rlsd_after_its_decay_is_plain_policy_gradient(make):
    """Grpo without dual clip; before the end of the decay it is not."""
    changes = {"rollout": {"old_logprobs": "recompute"}}
    plain = make(coin, **still("grpo", objective={"dual_clip": 1e9}, update={"kl_coef": 0.0}, **changes))
    rlsd = make(coin, **still("rlsd", objective={"lam_decay_steps": 2}, **changes))
    for number, lam in ((1, 0.5), (2, 0.25), (3, 0.0), (4, 0.0)):
        plain.step(number)
        metrics = rlsd.step(number)
        assert metrics["signal/lam"] == lam
        assert ("teacher/logprob_mean" in metrics) == (lam > 0)
        assert (metrics["tokens/teacher_forwarded"] > 0) == (lam > 0)
        assert metrics["tokens/teacher_plain"] > 0
        assert (metrics["hints/hinted_share"] > 0) == (lam > 0)
        apart = (gradient(rlsd) - gradient(plain)).norm() / gradient(plain).norm()
        assert apart < 1e-5 if lam == 0 else apart > 1e-3


# ------------------------------------------------------------------------------------------------------- guards, limits


def test_guards_can_be_switched_off(make):
    on, off = (make(coin, **still("opsd"), guards={"null_contrast_rollouts": n}) for n in (2, 0))
    measured, plain = on.step(1), off.step(1)
    assert set(measured) - set(plain) == GUARDS - {"guard/teacher_over_uniform"}
    assert torch.equal(gradient(on), gradient(off))
    assert measured["tokens/teacher_forwarded"] == plain["tokens/teacher_forwarded"]


@pytest.mark.parametrize("rollouts", [1, 3])
def test_so_many_rollouts_an_optimizer_step_are_scored_once_more(make, monkeypatch, rollouts):
    scored, original = [], ModelScorer.__call__

    def watched(self, rows, *arguments, alone=False, **options):
        if alone:
            scored.append(len(rows.responses))
        return original(self, rows, *arguments, alone=alone, **options)

    monkeypatch.setattr(ModelScorer, "__call__", watched)
    make(coin, **registered("opsd"), guards={"null_contrast_rollouts": rollouts}).step(1)
    assert scored == [rollouts] * 2


def test_a_misaligned_teacher_shows_in_the_guards(make, monkeypatch):
    """Scores that slipped by one token on their way to the update."""
    original = step_module.score_contexts

    def slipped(*arguments, **options):
        scores = original(*arguments, **options)
        return replace(scores, correct_logprobs=scores.correct_logprobs.roll(1, dims=1))

    monkeypatch.setattr(step_module, "score_contexts", slipped)
    assert make(coin, **still("opsd")).step(1)["guard/null_contrast_abs_mean"] > 0.3


def test_a_support_larger_than_the_vocabulary_is_refused(make):
    size = make().model.config.vocab_size
    for method in ("opsd", "sdpo", "srpo", "opsd_ectr"):
        assert make(coin, **registered(method, objective={"top_k": size})).step(1)["actor/grad_norm"] > 0
        with pytest.raises(UserError, match=rf"top_k is {size + 1}.*{size} tokens"):
            make(**registered(method, objective={"top_k": size + 1}))


def test_truncation_from_the_left_keeps_to_the_sum_of_the_limits(make, seen):
    """Of prompt, hint and response, whatever the teacher's template takes."""
    limits = {"rollout": {"max_prompt_tokens": 20, "max_response_tokens": 12}}
    hints = {"truncation": "left", "max_tokens": 2}
    metrics = make(coin, **still("opsd", hints=hints, **limits)).step(1)
    longest = [
        len(context) + len(response)
        for context, response in zip(seen[0].contexts.correct, seen[0].sequences.responses, strict=True)
    ]
    assert metrics["hints/truncated_share"] == 1
    assert set(longest) == {20 + 12 + 2}
