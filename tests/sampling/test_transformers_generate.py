import copy

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from selfdistill.errors import UserError
from selfdistill.sampling.decode import DecodeLoop
from selfdistill.sampling.interface import SamplingSettings
from selfdistill.sampling.transformers_generate import TransformersGenerate

LIMIT = 16
PROMPTS = [np.random.default_rng(i).integers(4, 73, size=size).tolist() for i, size in enumerate([5, 11, 3, 8, 8])]
KEYS = [("generate test", i) for i in range(len(PROMPTS))]


def draw(model, sampling, ends=(2,), **options):
    return TransformersGenerate(model, 0, ends, **options).sample(PROMPTS, sampling, KEYS)


def ids(rollouts):
    return [rollout.response_ids for rollout in rollouts]


@pytest.mark.parametrize(
    "sampling",
    [SamplingSettings(LIMIT), SamplingSettings(LIMIT, 0.6, 0.9, 20), SamplingSettings(LIMIT, 0.0)],
    ids=str,
)
def test_logprobs_and_entropies_are_of_the_full_distribution(model, plain_scores, sampling):
    for prompt, rollout in zip(PROMPTS, draw(model, sampling), strict=True):
        with torch.no_grad():
            logprobs, entropies = plain_scores(model, prompt, rollout.response_ids, sampling.temperature or 1.0)
        np.testing.assert_allclose(rollout.logprobs, logprobs, rtol=0, atol=1e-5)
        np.testing.assert_allclose(rollout.entropies, entropies, rtol=0, atol=1e-5)


def test_filters_hold(model):
    for sampling in (SamplingSettings(LIMIT, 1.0, 1.0, 1), SamplingSettings(LIMIT, 1.0, 1e-6)):
        assert ids(draw(model, sampling)) == ids(draw(model, SamplingSettings(LIMIT, 0.0)))
    assert ids(draw(model, SamplingSettings(LIMIT))) != ids(draw(model, SamplingSettings(LIMIT, 0.0)))


def test_same_keys_same_draws_and_the_global_generator_is_left_alone(model):
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first = ids(draw(model, SamplingSettings(LIMIT)))
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(6)
    assert ids(draw(model, SamplingSettings(LIMIT))) == first


@pytest.mark.parametrize("max_rows", [2, 64])
def test_end_tokens_end_rows(model, max_rows):
    free = ids(draw(model, SamplingSettings(LIMIT, 0.0), ends=[72]))
    ends = sorted({response[2 + 3 * i] for i, response in enumerate(free)})
    lengths = set()
    for before, rollout in zip(free, draw(model, SamplingSettings(LIMIT, 0.0), ends, max_rows=max_rows), strict=True):
        first = next((t for t, token in enumerate(before) if token in ends), None)
        length = LIMIT if first is None else first + 1
        assert rollout.response_ids == before[:length]
        assert rollout.finish_reason == ("length" if first is None else "stop")
        assert len(rollout.logprobs) == len(rollout.entropies) == length
        lengths.add(length)
    assert len(lengths) >= 3


def test_what_a_model_recommends_for_generation_changes_nothing(model, monkeypatch):
    """A generation_config.json may carry a repetition penalty, and filters of its own: the settings alone count."""
    greedy, sampled = draw(model, SamplingSettings(LIMIT, 0.0)), draw(model, SamplingSettings(LIMIT))
    odd = {"repetition_penalty": 5.0, "no_repeat_ngram_size": 2, "min_p": 0.3, "top_k": 2, "max_length": 3}
    monkeypatch.setattr(model, "generation_config", GenerationConfig(**odd, eos_token_id=[5, 6]))
    assert ids(draw(model, SamplingSettings(LIMIT, 0.0))) == ids(greedy)
    assert ids(draw(model, SamplingSettings(LIMIT))) == ids(sampled)
    assert model.generation_config.repetition_penalty == 5.0


def test_the_mode_of_the_model_is_left_as_found(model):
    for training in (True, False):
        model.train(training)
        draw(model, SamplingSettings(2))
        assert model.training is training


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("sampler", [TransformersGenerate, DecodeLoop])
def test_log_probs_that_are_not_finite_are_an_error_that_names_the_model(model, sampler, temperature, value):
    """Of a model with one bad weight, drawn greedily too; one that only bars tokens (-inf) is in order."""
    bad, barred = copy.deepcopy(model), copy.deepcopy(model)
    bad.name_or_path = "results/models/bad"
    with torch.no_grad():
        bad.get_input_embeddings().weight[PROMPTS[0][-1]] = value
    for prompts in (PROMPTS[:1], PROMPTS):  # alone, and among others
        with pytest.raises(UserError, match=r"^results/models/bad: the log-probs that the model gives are not finite"):
            sampler(bad, 0, [2]).sample(prompts, SamplingSettings(LIMIT, temperature), KEYS[: len(prompts)])
    forward = barred.lm_head.forward
    barred.lm_head.forward = lambda hidden: forward(hidden).index_fill(-1, torch.tensor([3]), float("-inf"))
    drawn = sampler(barred, 0, [2]).sample(PROMPTS, SamplingSettings(LIMIT, temperature), KEYS)
    assert all(np.isfinite(rollout.logprobs).all() and 3 not in rollout.response_ids for rollout in drawn)
