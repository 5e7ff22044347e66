"""Inside one step: micro-batching, warm-up, importance weights, controls, what a step reports, validation."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_run import trained_weights

from selfdistill.errors import UserError
from selfdistill.models.chat import encode_chat
from selfdistill.sampling.decode import DecodeLoop
from selfdistill.tasks.schema import Problem
from selfdistill.training.local import engine as engine_module
from selfdistill.training.step import _combined

METHODS = {
    "rlcsd": {},
    "rlcsd-rollouts": {"update": {"aggregation": "rollouts"}},
    "rlcsd-one_sided": {"objective": {"one_sided": True}},
    "grpo": {"implementation": "grpo", "update": {"kl_coef": 0.1}},
}


@pytest.mark.parametrize("method", METHODS)
def test_a_step_does_not_depend_on_micro_batching(make, method):
    """Of one update: its gradient. Weights would tell less: AdamW takes the sign of a gradient that is noise."""
    trainers = [make(**_one_update(METHODS[method], budget)) for budget in (32, 100_000)]
    initial = trained_weights(trainers[0])
    metrics = [trainer.step(1) for trainer in trainers]
    assert not torch.equal(trained_weights(trainers[0]), initial)
    gradients = [_gradient(trainer) for trainer in trainers]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5 * float(gradients[0].abs().max()))
    for name in ("actor/loss", "actor/grad_norm", "reward/mean"):
        assert metrics[0][name] == pytest.approx(metrics[1][name], rel=1e-3, abs=1e-6), name


def _one_update(changes, budget):
    update = {**changes.get("update", {}), "micro_batch_tokens": budget, "prompts_per_update": 4}
    return {**changes, "update": update}


def _gradient(trainer):
    return torch.cat([p.grad.flatten() for p in trainer.model.parameters()])


def test_warm_up_then_constant(make):
    trainer = make(optimizer={"warmup_steps": 2, "learning_rate": 1e-3})
    rates = [trainer.step(number)["actor/learning_rate"] for number in (1, 2, 3)]
    assert rates == pytest.approx([5e-4, 1e-3, 1e-3])


def test_the_gradient_is_clipped_to_its_limit(make):
    for limit, expected in ((1e-3, 1e-3), (1e9, None)):
        trainer = make(implementation="grpo", optimizer={"max_grad_norm": limit}, update={"prompts_per_update": 4})
        norm = trainer.step(1)["actor/grad_norm"]
        left = _gradient(trainer).norm()
        assert float(left) == pytest.approx(expected or norm, rel=1e-3)
        assert norm > 1e-2


def test_weight_decay_is_decoupled(make):
    """On top of a step without it, weights shrink by rate times decay."""
    options = {"warmup_steps": 1, "learning_rate": 1e-3}
    trainers = [
        make(implementation="grpo", optimizer=options | {"weight_decay": decay}, update={"prompts_per_update": 4})
        for decay in (0.0, 0.5)
    ]
    initial = trained_weights(trainers[0])
    for trainer in trainers:
        trainer.step(1)
    torch.testing.assert_close(
        trained_weights(trainers[0]) - trained_weights(trainers[1]), 5e-4 * initial, rtol=0, atol=1e-6
    )


def test_recomputed_old_logprobs_equal_the_samplers(make):
    sampled, recomputed = make(), make(rollout={"old_logprobs": "recompute"})
    assert "actor/importance_mean" not in sampled.step(1)
    assert recomputed.step(1)["actor/importance_mean"] == pytest.approx(1.0, abs=1e-4)
    torch.testing.assert_close(trained_weights(sampled), trained_weights(recomputed), rtol=0, atol=1e-4)


@pytest.mark.parametrize("old_logprobs", ["sampler", "recompute"])
@pytest.mark.parametrize("fault", ["none", "fewer", "nan", "inf"])
def test_a_sampler_without_logprobs_is_refused(make, monkeypatch, old_logprobs, fault):
    """Importance correction must not be silently off, nor the ratio silently one."""
    sample = DecodeLoop.sample

    def spoilt(self, *arguments):
        rollouts = sample(self, *arguments)
        logprobs = rollouts[5].logprobs
        values = {
            "none": logprobs[:0],
            "fewer": logprobs[1:],
            "nan": np.append(logprobs[1:], np.float32(np.nan)),
            "inf": np.append(logprobs[1:], np.float32(-np.inf)),
        }
        rollouts[5] = replace(rollouts[5], logprobs=values[fault])
        return rollouts

    trainer = make(rollout={"old_logprobs": old_logprobs})
    monkeypatch.setattr(DecodeLoop, "sample", spoilt)
    said = "not finite" if fault in ("nan", "inf") else "importance_threshold"
    with pytest.raises(UserError, match=f"log-probs.*{said}"):
        trainer.step(1)


def test_the_threshold_bounds_the_importance_trained_weights(make, monkeypatch):
    """A sampler that states half the probability: weights are 2, or the threshold; without them the ratio is."""
    sample = DecodeLoop.sample

    def halved(self, *arguments):
        return [replace(r, logprobs=r.logprobs - np.float32(np.log(2))) for r in sample(self, *arguments)]

    recomputed = [
        make(implementation="grpo", rollout={"old_logprobs": "recompute", "importance_threshold": threshold})
        for threshold in (3.0, 1.5, None)
    ]
    at_once = make(implementation="grpo", update={"prompts_per_update": 4})
    monkeypatch.setattr(DecodeLoop, "sample", halved)  # now: a new trainer would find it
    for trainer, mean in zip(recomputed, (2.0, 1.5), strict=False):
        assert trainer.step(1)["actor/importance_mean"] == pytest.approx(mean, abs=1e-3)
    assert "actor/importance_mean" not in recomputed[2].step(1)
    uncorrected = at_once.step(1)
    assert uncorrected["actor/approx_kl"] == pytest.approx(-np.log(2), abs=1e-3)
    assert uncorrected["actor/ratio_outside_0.2"] == 1


def test_shuffled_rewards_are_the_same_rewards_in_another_order(make):
    plain, control = make(), make(reward={"shuffle": True})
    assert plain.step(1)["reward/mean"] == control.step(1)["reward/mean"]
    assert not torch.equal(trained_weights(plain), trained_weights(control))


def test_prompts_are_in_the_words_of_the_runs_own_template(make):
    trainer, template = make(chat={"template": "modulo {problem} 10"}), "modulo {} 10"
    problem = Problem("q/0", "q", "Start with 2", "2", "", "math", 0, "train")
    for training in (True, False):
        expected = encode_chat(trainer.tokenizer, template.format(problem.problem), trainer.settings.chat)
        assert trainer._encode(problem, training=training) == expected


def test_advantages_are_divided_by_the_deviation_that_the_run_names(make):
    """The first update's ratios are 1, so its loss is minus the mean advantage: deviations differ by a factor."""
    together = {"implementation": "grpo", "update": {"prompts_per_update": 4}}
    losses = [make(**together, reward={"deviation": each}).step(1)["actor/loss"] for each in ("sample", "population")]
    size = make().settings.rollout.group_size
    assert abs(losses[0]) > 1e-3
    assert losses[0] / losses[1] == pytest.approx(np.sqrt((size - 1) / size), rel=1e-4)


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
    assert not torch.equal(trained_weights(keep), trained_weights(drop))


def test_a_step_in_which_nothing_can_be_learned_changes_nothing(make):
    trainer = make(rollout={"top_k": 1})  # greedy: every group has one outcome
    before = trained_weights(trainer)
    metrics = trainer.step(1)
    assert metrics["actor/skipped_updates"] == 2
    assert torch.equal(trained_weights(trainer), before)


def test_metrics_of_optimizer_steps_become_those_of_the_step():
    """Tokens add up, maxima stay maxima, all else is the mean over the optimizer steps that have it."""
    records = [
        {
            "tokens/updated": 3,
            "guard/null_contrast_abs_max": 0.5,
            "guard/null_contrast_abs_mean": 0.5,
            "actor/loss": 1.0,
        },
        {"tokens/updated": 4, "actor/loss": -2.0, "signal/entropy_weight_max": 4.0, "tokens/teacher_forwarded": 7},
        {
            "tokens/updated": 5,
            "guard/null_contrast_abs_max": 0.1,
            "guard/null_contrast_abs_mean": 0.1,
            "actor/loss": 4.0,
        },
        {"tokens/updated": 0, "signal/entropy_weight_max": 1.0, "actor/loss": 1.0},
    ]
    assert _combined(records) == pytest.approx(
        {
            "tokens/updated": 12,
            "tokens/teacher_forwarded": 7,
            "guard/null_contrast_abs_max": 0.5,
            "guard/null_contrast_abs_mean": 0.3,
            "signal/entropy_weight_max": 4.0,
            "actor/loss": 1.0,
        }
    )
    assert _combined([]) == {}


def test_a_model_in_bfloat16_has_a_teacher_and_a_reference_in_bfloat16(make, monkeypatch):
    """As on a GPU with master_dtype bfloat16: weights, AdamW's state and every copy."""
    copies, copied = [], engine_module.frozen_copy

    def reference(*arguments):
        copies.append(copied(*arguments))
        return copies[-1]

    monkeypatch.setattr(engine_module, "frozen_copy", reference)
    for kind in ("snapshot", "ema"):
        trainer = make(dtype=torch.bfloat16, teacher={"kind": kind}, update={"kl_coef": 0.1})
        before = trained_weights(trainer)
        metrics = trainer.step(1)
        assert np.isfinite(list(metrics.values())).all()
        assert not torch.equal(trained_weights(trainer), before)
        state = trainer.state_dict()
        assert {value.dtype for value in state["weights"].values()} == {torch.bfloat16}
        kept = [value.dtype for name, value in state["teacher"].items() if name.startswith("weights.")]
        assert set(kept) == {torch.bfloat16}
        moments = {value.dtype for name, value in state["optimizer"].items() if "exp_avg" in name}
        assert moments == {torch.bfloat16}
        assert {parameter.dtype for parameter in copies[-1].parameters()} == {torch.bfloat16}


def test_validation_repeats_itself(make):
    trainer = make()
    assert trainer.validate()["val/chain-1/mean@2"] == trainer.validate()["val/chain-1/mean@2"]


def test_the_kl_term_holds_the_policy_back(make):
    free, held = make(implementation="grpo"), make(implementation="grpo", update={"kl_coef": 50.0})
    initial = trained_weights(free)
    for number in range(1, 5):
        free.step(number)
        held.step(number)
    kl_free, kl_held = (float((trained_weights(t) - initial).norm()) for t in (free, held))
    assert kl_held < kl_free
