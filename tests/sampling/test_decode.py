import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    Gemma2Config,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    MptConfig,
)

from selfdistill.errors import UserError
from selfdistill.sampling.decode import DecodeLoop
from selfdistill.sampling.interface import SamplingSettings
from selfdistill.sampling.transformers_generate import TransformersGenerate
from selfdistill.scoring.scorer import read_responses
from selfdistill.scoring.scores import Sequences

LIMIT = 24
PROMPTS = [np.random.default_rng(i).integers(4, 73, size=size).tolist() for i, size in enumerate([5, 11, 3, 8])]
PROMPTS = [prompt for prompt in PROMPTS for _ in range(3)]  # groups of three share a prompt
KEYS = [("decode test", i) for i in range(len(PROMPTS))]
SETTINGS = [
    SamplingSettings(LIMIT),
    SamplingSettings(LIMIT, temperature=0.6, top_p=0.9),
    SamplingSettings(LIMIT, temperature=1.3, top_k=5),
    SamplingSettings(LIMIT, temperature=0.0),
]


def draw(model, sampling, ends=(2,), prompts=PROMPTS, keys=KEYS, **options):
    return DecodeLoop(model, 0, ends, **options).sample(prompts, sampling, keys)


def ids(rollouts):
    return [rollout.response_ids for rollout in rollouts]


@pytest.fixture(scope="module")
def endless(model):
    """Draws that nothing ends, so that a test can choose where responses end."""
    return draw(model, SamplingSettings(LIMIT), ends=())


@pytest.mark.parametrize("sampling", SETTINGS, ids=str)
def test_logprobs_and_entropies_are_those_of_a_plain_forward(model, plain_scores, sampling):
    for prompt, rollout in zip(PROMPTS, draw(model, sampling), strict=True):
        with torch.no_grad():
            logprobs, entropies = plain_scores(model, prompt, rollout.response_ids, sampling.temperature or 1.0)
        np.testing.assert_allclose(rollout.logprobs, logprobs, rtol=0, atol=1e-5)
        np.testing.assert_allclose(rollout.entropies, entropies, rtol=0, atol=1e-5)
        assert rollout.logprobs.dtype == rollout.entropies.dtype == np.float32
        assert len(rollout.response_ids) == len(rollout.logprobs) == len(rollout.entropies)


def test_the_most_likely_ids_come_with_each_token_where_they_are_asked_for(model):
    """Of responses that end early, too; those that scoring finds, but for equally likely ones."""
    rollouts = draw(model, SamplingSettings(LIMIT, 0.7, top_k=2, support=5), ends=range(2, 20))
    assert len({len(rollout.response_ids) for rollout in rollouts}) > 2
    for prompt, rollout in zip(PROMPTS, rollouts, strict=True):
        assert rollout.support_ids.shape == (len(rollout.response_ids), 5)
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *rollout.response_ids]])).logits[0, len(prompt) - 1 : -1]
        found = logits.gather(-1, torch.from_numpy(rollout.support_ids))
        torch.testing.assert_close(found, logits.topk(5).values, rtol=0, atol=1e-5)
    assert draw(model, SamplingSettings(2))[0].support_ids is None


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_logprobs_are_what_scoring_finds(model, temperature):
    """The sampler's log-probs may stand in for the trainer's old ones."""
    rollouts = draw(model, SamplingSettings(LIMIT, temperature))
    with torch.no_grad():
        scored = read_responses(model, Sequences(PROMPTS, ids(rollouts)), range(len(PROMPTS)), temperature)
    for row, rollout in zip(scored.logprobs, rollouts, strict=True):
        np.testing.assert_allclose(rollout.logprobs, row[: len(rollout.logprobs)], rtol=0, atol=1e-5)


@pytest.mark.parametrize("sampling", SETTINGS, ids=str)
def test_draws_do_not_depend_on_company(model, sampling):
    together = ids(draw(model, sampling))
    assert len(set(map(tuple, together))) >= 4  # not one answer to everything
    for i in range(len(PROMPTS)):
        assert ids(draw(model, sampling, prompts=PROMPTS[i : i + 1], keys=KEYS[i : i + 1])) == together[i : i + 1]
    for max_rows in (1, 2, 5, 12, 100):
        assert ids(draw(model, sampling, max_rows=max_rows)) == together
    order = np.random.default_rng(0).permutation(len(PROMPTS)).tolist()
    shuffled = draw(model, sampling, prompts=[PROMPTS[i] for i in order], keys=[KEYS[i] for i in order])
    assert ids(shuffled) == [together[i] for i in order]


def test_keys_decide_the_draws(model):
    again = draw(model, SETTINGS[0])
    assert ids(draw(model, SETTINGS[0])) == ids(again)
    other = draw(model, SETTINGS[0], keys=[("another", i) for i in range(len(PROMPTS))])
    assert all(a != b for a, b in zip(ids(again), ids(other), strict=True))


def test_a_lower_limit_cuts_the_same_draws(model):
    long, short = draw(model, SamplingSettings(LIMIT)), draw(model, SamplingSettings(7))
    assert ids(short) == [response[:7] for response in ids(long)]


@pytest.mark.parametrize("max_rows", [256, 5])
def test_an_end_token_ends_its_row_and_no_other(model, endless, max_rows):
    """Rows end here and there, so that finished ones are dropped from the batch on the way."""
    ends = {rollout.response_ids[3 + i] for i, rollout in enumerate(endless)}
    stopped = draw(model, SamplingSettings(LIMIT), ends=sorted(ends), max_rows=max_rows)
    lengths = []
    for free, rollout in zip(endless, stopped, strict=True):
        first = next((t for t, token in enumerate(free.response_ids) if token in ends), None)
        lengths.append(LIMIT if first is None else first + 1)
        assert rollout.response_ids == free.response_ids[: lengths[-1]]
        assert rollout.finish_reason == ("length" if first is None else "stop")
        np.testing.assert_allclose(rollout.logprobs, free.logprobs[: lengths[-1]], rtol=0, atol=1e-5)
    assert len(set(lengths)) >= 4


def test_an_end_token_at_the_limit_is_a_stop(model, endless):
    end = endless[0].response_ids[5]
    first = endless[0].response_ids.index(end)
    for limit, reason in ((first + 1, "stop"), (first, "length")):
        rollout = draw(model, SamplingSettings(limit), ends=[end], prompts=PROMPTS[:1], keys=KEYS[:1])[0]
        assert rollout.response_ids == endless[0].response_ids[:limit]
        assert rollout.finish_reason == reason


def test_without_an_end_every_response_is_truncated_at_the_limit(endless):
    assert {(len(r.response_ids), r.finish_reason) for r in endless} == {(LIMIT, "length")}


def test_a_pad_token_may_be_drawn_like_any_other(model, plain_scores):
    pad = draw(model, SamplingSettings(LIMIT))[0].response_ids[1]
    rollout = DecodeLoop(model, pad, [2]).sample(PROMPTS, SamplingSettings(LIMIT), KEYS)[0]
    assert pad in rollout.response_ids[:-1]
    with torch.no_grad():
        logprobs, _ = plain_scores(model, PROMPTS[0], rollout.response_ids)
    np.testing.assert_allclose(rollout.logprobs, logprobs, rtol=0, atol=1e-5)


def test_greedy_equals_transformers_greedy(model):
    sampling = SamplingSettings(LIMIT, temperature=0.0)
    theirs = TransformersGenerate(model, 0, [2]).sample(PROMPTS, sampling, KEYS)
    for own, other in zip(draw(model, sampling), theirs, strict=True):
        assert own.response_ids == other.response_ids
        assert own.finish_reason == other.finish_reason
        np.testing.assert_allclose(own.logprobs, other.logprobs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("prompts", [[[7], [9], [7]], [[7], [8, 9, 10, 11], [5]]], ids=["alone", "among longer ones"])
def test_prompts_of_one_token(model, plain_scores, prompts):
    for prompt, rollout in zip(prompts, draw(model, SamplingSettings(6), prompts=prompts, keys=KEYS[:3]), strict=True):
        with torch.no_grad():
            logprobs, _ = plain_scores(model, prompt, rollout.response_ids)
        np.testing.assert_allclose(rollout.logprobs, logprobs, rtol=0, atol=1e-5)


def test_nothing_unwritten_is_read(model, endless, monkeypatch):
    """Torch fills new memory with NaN here: columns of the cache before they are written, and what is left of rows."""
    ends = sorted({rollout.response_ids[3 + i] for i, rollout in enumerate(endless)})
    expected = draw(model, SETTINGS[1], ends=ends)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(9).isnan().all()
        found = draw(model, SETTINGS[1], ends=ends)
    finally:
        torch.use_deterministic_algorithms(before)
    assert ids(found) == ids(expected)
    assert all(np.isfinite(rollout.logprobs).all() for rollout in found)


def test_no_prompts_no_rollouts(model):
    assert draw(model, SamplingSettings(LIMIT), prompts=[], keys=[]) == []


def test_the_mode_of_the_model_is_left_as_found(model):
    for training in (True, False):
        model.train(training)
        draw(model, SamplingSettings(3))
        assert model.training is training


SIZES = {
    "vocab_size": 73,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GPT2 = GPT2Config(
    vocab_size=73,
    n_embd=32,
    n_layer=2,
    n_head=4,
    n_positions=128,
    initializer_range=0.3,
    bos_token_id=2,
    eos_token_id=2,
)
ARCHITECTURES = {
    "llama": LlamaConfig(**SIZES),
    "scaled logits": GraniteConfig(**SIZES, logits_scaling=8.0),
    "capped logits": Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=1.0, layer_types=["full_attention"] * 2),
    "learned positions": GPT2,
}


def random_model(config, **options):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, **options).eval()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("config", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_other_architectures_draw_from_their_own_distribution(plain_scores, config, attention):
    model = random_model(config, attn_implementation=attention)
    for prompt, rollout in zip(PROMPTS, draw(model, SamplingSettings(8)), strict=True):
        with torch.no_grad():
            logprobs, _ = plain_scores(model, prompt, rollout.response_ids)
        np.testing.assert_allclose(rollout.logprobs, logprobs, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    "config",
    [
        MistralConfig(**SIZES, sliding_window=4),
        Gemma2Config(**SIZES, head_dim=8, sliding_window=4),
        MptConfig(d_model=32, n_layers=2, n_heads=4, vocab_size=60, expansion_ratio=2),
        FalconConfig(**SIZES, alibi=True),
    ],
    ids=["every layer", "every other layer", "alibi", "alibi by a switch"],
)
def test_what_cannot_see_its_whole_past_is_refused(config):
    """The loop shows every row its whole past, wherever its keys lie: drawing would be silently wrong."""
    with pytest.raises(UserError, match=r"sliding.*transformers"):
        DecodeLoop(random_model(config), 0, [2])
