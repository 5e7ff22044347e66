"""Padding, company and shapes of batches: what a model is asked, and what the scorer makes of the answer."""

import pytest
import torch
from families import FAMILIES
from transformers import AutoModelForCausalLM, LlamaConfig, Phi3Config

from selfdistill.errors import UserError
from selfdistill.sampling.decode import DecodeLoop
from selfdistill.sampling.interface import SamplingSettings
from selfdistill.sampling.transformers_generate import TransformersGenerate
from selfdistill.scoring.manner import apart, manner_of, plain_logprobs
from selfdistill.scoring.query import Query
from selfdistill.scoring.scorer import ModelScorer
from selfdistill.scoring.scores import Sequences
from selfdistill.signals.teachers import MixedLogits, frozen_copy

SHORT, LONG, BRIEF, WIDE = list(range(3, 13)), list(range(3, 25)), list(range(20, 26)), list(range(25, 41))
SIZES = {
    "vocab_size": 48,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "eos_token_id": 1,
}


def rotating(kind):
    if kind == "longrope":
        rope = {
            "rope_type": "longrope",
            "short_factor": [1.0] * 4,
            "long_factor": [4.0] * 4,
            "rope_theta": 1e4,
            "original_max_position_embeddings": 24,
        }
        config = Phi3Config(
            **SIZES,
            max_position_embeddings=64,
            original_max_position_embeddings=24,
            sliding_window=None,
            rope_parameters=rope,
        )
    else:
        rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
        config = LlamaConfig(**SIZES, max_position_embeddings=24, rope_parameters=rope)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def family(name, tokenizer):
    return next(each for each in FAMILIES if each.name == name).build(tokenizer)


def test_rows_with_longrope_are_scored_as_they_are_alone():
    model = rotating("longrope")
    scorer = ModelScorer(model, 10_000)
    together = scorer(Sequences([SHORT, LONG], [BRIEF, WIDE]), 16).logprobs
    for row, prompt, response in zip(together, (SHORT, LONG), (BRIEF, WIDE), strict=True):
        with torch.no_grad():
            plain = plain_logprobs(model, [*prompt, *response])[len(prompt) - 1 : -1]
        own = plain.gather(1, torch.tensor(response)[:, None])[:, 0]
        torch.testing.assert_close(row[: len(response)], own, rtol=0, atol=1e-5)


def test_rows_behind_dynamic_rotations_are_refused_and_shorter_ones_are_fine():
    """Their frequencies grow with whatever was longest so far."""
    scorer = ModelScorer(rotating("dynamic"), 10_000)
    assert scorer(Sequences([SHORT] * 2, [BRIEF] * 2), 6).logprobs.isfinite().all()
    with pytest.raises(UserError, match="behind 24 its rotary frequencies"):
        scorer(Sequences([SHORT, LONG], [BRIEF, WIDE]), 16)


@pytest.mark.parametrize("kind", ["longrope", "dynamic"])
@pytest.mark.parametrize("engine", [DecodeLoop, TransformersGenerate])
def test_draws_that_could_pass_the_fixed_rotations_are_refused(kind, engine):
    sampler = engine(rotating(kind), 0, [1])
    with pytest.raises(UserError, match="can reach 25 tokens, but behind 24"):
        sampler.sample([SHORT], SamplingSettings(15), [("k", 0)])
    assert len(sampler.sample([SHORT, SHORT[:4]], SamplingSettings(14), [("k", 0), ("k", 1)])) == 2


def test_states_mix_with_padding_of_a_row_alone_and_the_null_contrast_avoids_it(tokenizer):
    """In batches of two transformers masks it; the guard scores rows alone."""
    model = family("Granite 4.0", tokenizer)
    manner = manner_of(model)
    assert manner.together
    assert manner.column > 10 * manner.rounding
    sequences = Sequences([SHORT, LONG], [BRIEF, WIDE])
    scorer = ModelScorer(model, 10_000)
    torch.testing.assert_close(scorer(sequences, 16, alone=True).logprobs, scorer(sequences, 16).logprobs)
    ids = torch.arange(2 * 16 * 3).view(2, 16, 3) % 48
    alone, batched = (scorer(sequences, 16, Query(ids=ids, entropy=True), alone=each) for each in (True, False))
    torch.testing.assert_close(alone.support, batched.support, rtol=0, atol=1e-4)
    torch.testing.assert_close(alone.entropy, batched.entropy, rtol=0, atol=1e-4)


def test_a_mixture_of_two_models_is_batched_as_its_parts_are(tokenizer):
    one_by_one, usual = family("RecurrentGemma", tokenizer), family("Mamba", tokenizer)
    sequences = Sequences([SHORT, LONG], [BRIEF, WIDE])
    assert apart(MixedLogits(usual, one_by_one, 0.5), sequences)
    assert not apart(MixedLogits(usual, usual, 0.5), sequences)


def test_asking_leaves_no_trace_and_copies_know_the_answer(model):
    fresh = frozen_copy(model)
    vars(fresh).pop("_selfdistill_manner", None)
    fresh.train()
    before = torch.get_rng_state()
    answer = manner_of(fresh)
    assert torch.equal(torch.get_rng_state(), before)
    assert fresh.training
    assert answer.together
    assert manner_of(frozen_copy(fresh)) is not None
    assert vars(frozen_copy(fresh))["_selfdistill_manner"] == answer
    assert "_selfdistill_manner" not in fresh.config.to_dict()


def test_what_is_no_model_of_transformers_has_no_manner():
    assert manner_of(lambda **inputs: None) is None
