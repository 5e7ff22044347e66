"""Inside one step: micro-batching, warm-up, importance weights, controls, validation."""

import copy

import pytest
import torch

from selfdistill.sampling.models import load_model
from selfdistill.tasks.graders import grade_response
from selfdistill.tasks.schema import read_problems
from selfdistill.training.local.settings import LocalSettings
from selfdistill.training.local.trainer import LocalTrainer


@pytest.fixture
def make(small_run, config):
    """A trainer for the config with some sections changed."""

    def build(**changes):
        changed = copy.deepcopy(config)
        for key, value in changes.items():
            changed[key] = {**changed[key], **value} if isinstance(value, dict) else value
        model, tokenizer = load_model(small_run["base_model"], torch.device("cpu"))
        validation = {"chain-1": [p for p in read_problems(small_run["val_file"]) if p.data_source == "chain-1"]}
        return LocalTrainer(
            LocalSettings.from_config(changed),
            model,
            tokenizer,
            read_problems(small_run["train_file"]),
            validation,
            lambda response, problem: grade_response(response, problem, "maths"),
        )

    return build


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


METHODS = {
    "rlcsd": {},
    "rlcsd-rollouts": {"update": {"aggregation": "rollouts"}},
    "rlcsd-one_sided": {"objective": {"one_sided": True}},
    "grpo": {"implementation": "grpo", "update": {"kl_coef": 0.1}},
}


@pytest.mark.parametrize("method", METHODS)
def test_a_step_does_not_depend_on_micro_batching(make, method):
    trainers = [make(**_with_budget(METHODS[method], budget)) for budget in (32, 100_000)]
    initial = weights(trainers[0])
    metrics = [trainer.step(1) for trainer in trainers]
    assert not torch.equal(weights(trainers[0]), initial)
    torch.testing.assert_close(weights(trainers[0]), weights(trainers[1]), rtol=0, atol=1e-4)
    for name in ("actor/loss", "actor/grad_norm", "reward/mean"):
        assert metrics[0][name] == pytest.approx(metrics[1][name], rel=1e-3, abs=1e-6), name


def _with_budget(changes, budget):
    return {**changes, "update": {**changes.get("update", {}), "micro_batch_tokens": budget}}


def test_warm_up_then_constant(make):
    trainer = make(optimizer={"warmup_steps": 2, "learning_rate": 1e-3})
    rates = [trainer.step(number)["actor/learning_rate"] for number in (1, 2, 3)]
    assert rates == pytest.approx([5e-4, 1e-3, 1e-3])


def test_recomputed_old_logprobs_equal_the_samplers(make):
    sampled, recomputed = make(), make(rollout={"old_logprobs": "recompute"})
    assert "actor/importance_mean" not in sampled.step(1)
    assert recomputed.step(1)["actor/importance_mean"] == pytest.approx(1.0, abs=1e-4)
    torch.testing.assert_close(weights(sampled), weights(recomputed), rtol=0, atol=1e-4)


def test_shuffled_rewards_are_the_same_rewards_in_another_order(make):
    plain, control = make(), make(reward={"shuffle": True})
    assert plain.step(1)["reward/mean"] == control.step(1)["reward/mean"]
    assert not torch.equal(weights(plain), weights(control))


def test_transformers_generate_serves_as_engine(make):
    trainer = make(rollout={"engine": "transformers"})
    metrics = trainer.step(1)
    assert metrics["tokens/generated"] > 0
    assert metrics["actor/grad_norm"] > 0


def test_hints_and_teacher_are_in_the_metrics(make):
    metrics = make().step(1)
    shares = [
        metrics[f"hints/{r}_share"]
        for r in ("all_correct", "all_wrong", "no_usable_wrong", "lone_correct", "lone_wrong")
    ]
    assert metrics["hints/hinted_share"] + sum(shares) == pytest.approx(1.0)
    assert 0 < metrics["hints/hinted_share"] < 1
    assert metrics["tokens/teacher_forwarded"] > 0
    assert metrics["signal/selected_share"] > 0


def test_dropping_lone_targets_changes_the_update(make):
    keep, drop = make(), make(hints={"lone_targets": "drop"})
    kept, dropped = keep.step(1), drop.step(1)
    assert kept["hints/lone_correct_share"] + kept["hints/lone_wrong_share"] > 0
    assert dropped["hints/dropped_share"] > kept["hints/dropped_share"]
    assert not torch.equal(weights(keep), weights(drop))


def test_a_step_in_which_nothing_can_be_learned_changes_nothing(make):
    trainer = make(rollout={"temperature": 0.0})  # greedy: every group has one outcome
    before = weights(trainer)
    metrics = trainer.step(1)
    assert metrics["actor/skipped_updates"] == 2
    assert torch.equal(weights(trainer), before)


def test_validation_repeats_itself(make):
    trainer = make()
    assert trainer.validate()["val/chain-1/mean@2"] == trainer.validate()["val/chain-1/mean@2"]


def test_the_kl_term_holds_the_policy_back(make):
    free, held = make(implementation="grpo"), make(implementation="grpo", update={"kl_coef": 50.0})
    initial = weights(free)
    for number in range(1, 5):
        free.step(number)
        held.step(number)
    kl_free, kl_held = (float((weights(t) - initial).norm()) for t in (free, held))
    assert kl_held < kl_free
