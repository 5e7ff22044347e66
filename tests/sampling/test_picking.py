import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill.sampling.interface import SamplingSettings
from selfdistill.sampling.picking import _descending, pick


def slow_kept(logits, settings):
    """[(token, probability)] that the filters leave, most likely first, with probabilities of the full distribution."""
    exps = [math.exp(x / (settings.temperature or 1.0)) for x in logits]
    ranked = sorted(((e / sum(exps), -i) for i, e in enumerate(exps)), reverse=True)
    ranked = [(-i, p) for p, i in ranked][: settings.top_k or None]
    total, kept, mass = sum(p for _, p in ranked), [], 0.0
    for token, p in ranked:
        if settings.top_p < 1 and kept and mass >= settings.top_p * total:
            break
        kept.append((token, p))
        mass += p
    return kept


def slow_pick(logits, uniform, settings):
    if settings.temperature == 0:
        return max(range(len(logits)), key=lambda i: (logits[i], -i))
    kept = slow_kept(logits, settings)
    left = uniform * sum(p for _, p in kept)
    for token, p in kept:
        left -= p
        if left < 0:
            return token
    return kept[-1][0]


def grid(count):
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


FILTERS = [(1.0, 0), (1.0, 3), (0.7, 0), (0.5, 0), (0.05, 0), (0.8, 4), (1.0, 99), (1.0, 1)]


@pytest.mark.parametrize(("top_p", "top_k"), FILTERS)
@pytest.mark.parametrize("temperature", [0.6, 1.0, 2.0])
def test_agrees_with_loops(temperature, top_p, top_k):
    sampling = SamplingSettings(1, temperature, top_p, top_k, support=3)
    for seed in range(6):
        logits = torch.randn(7, generator=torch.Generator().manual_seed(seed)) * 2
        tokens, logprobs, entropies, support = pick(logits.expand(200, 7), grid(200), sampling)
        assert tokens.tolist() == [slow_pick(logits.tolist(), u, sampling) for u in grid(200).tolist()]
        full = dict(slow_kept(logits.tolist(), SamplingSettings(1, temperature)))
        expected = [math.log(full[i]) for i in tokens.tolist()]
        torch.testing.assert_close(logprobs, torch.tensor(expected), rtol=1e-5, atol=1e-5)
        entropy = -sum(p * math.log(p) for p in full.values())
        torch.testing.assert_close(entropies, torch.full((200,), entropy), rtol=1e-5, atol=1e-5)
        assert support.tolist() == [sorted(range(7), key=lambda i: -logits[i])[:3]] * 200


@pytest.mark.parametrize(("top_p", "top_k"), FILTERS)
def test_frequencies_over_a_uniform_grid_are_the_probabilities(top_p, top_k):
    sampling = SamplingSettings(1, 1.0, top_p, top_k)
    logits = torch.randn(7, generator=torch.Generator().manual_seed(1))
    tokens, *_ = pick(logits.expand(5000, 7), grid(5000), sampling)
    kept = dict(slow_kept(logits.tolist(), sampling))
    counts = torch.bincount(tokens, minlength=7).tolist()
    for token in range(7):
        expected = 5000 * kept.get(token, 0.0) / sum(kept.values())
        assert counts[token] == pytest.approx(expected, abs=1.01)


@given(
    logits=st.lists(st.integers(-200, 200).map(lambda n: n / 8), min_size=1, max_size=9),
    uniform=st.floats(0, 1, exclude_max=True),
    top_p=st.floats(0.01, 1),
    top_k=st.integers(0, 10),
)
@settings(deadline=None, max_examples=200)
def test_a_draw_is_always_a_token_that_the_filters_leave(logits, uniform, top_p, top_k):
    row, uniforms = torch.tensor([logits]), torch.tensor([uniform], dtype=torch.float64)
    tokens, logprobs, *_ = pick(row, uniforms, SamplingSettings(1, 1.0, top_p, top_k))
    slack = SamplingSettings(1, 1.0, min(1.0, top_p + 1e-5), top_k)  # float32 may put a token on the other side
    assert int(tokens) in dict(slow_kept(logits, slack))
    assert float(logprobs) == pytest.approx(float(row.double().log_softmax(-1)[0, int(tokens)]), abs=1e-4)


def test_rows_are_drawn_independently():
    generator = torch.Generator().manual_seed(3)
    logits, uniforms = torch.randn(20, 6, generator=generator), torch.rand(20, generator=generator).double()
    sampling = SamplingSettings(1, 0.9, 0.9, 5)
    together = pick(logits, uniforms, sampling)
    for i in range(20):
        for all_rows, alone in zip(together, pick(logits[i : i + 1], uniforms[i : i + 1], sampling), strict=True):
            torch.testing.assert_close(all_rows[i : i + 1], alone)


def test_greedy_takes_the_likeliest_whatever_the_uniform_and_reports_at_temperature_one():
    logits = torch.tensor([[1.0, 3.0, 2.0], [0.5, -1.0, 0.5]])
    for uniform in (0.0, 0.999):
        tokens, logprobs, *_ = pick(logits, torch.full((2,), uniform).double(), SamplingSettings(1, 0.0))
        assert tokens.tolist() == [1, 0]
        torch.testing.assert_close(logprobs, logits.log_softmax(-1)[[0, 1], [1, 0]])


@pytest.mark.parametrize(("top_p", "kept"), [(0.25, 1), (0.5, 2), (0.501, 3), (0.75, 3), (0.99, 4), (1.0, 4)])
def test_top_p_keeps_the_smallest_set_with_at_least_that_mass(top_p, kept):
    """Four tokens of a quarter each: a set that has the mass exactly is enough."""
    tokens, *_ = pick(torch.zeros(400, 4), grid(400), SamplingSettings(1, 1.0, top_p))
    assert sorted(set(tokens.tolist())) == list(range(kept))


def test_the_likeliest_token_survives_any_filter():
    logits = torch.tensor([[0.0, 5.0, 1.0]]).expand(50, 3)
    for sampling in (SamplingSettings(1, 1.0, 1e-9), SamplingSettings(1, 1.0, 1.0, 1), SamplingSettings(1, 1e-4)):
        assert set(pick(logits, grid(50), sampling)[0].tolist()) == {1}


def test_tokens_without_probability_are_never_drawn():
    logits = torch.tensor([[-200.0, 0.0, -200.0, 0.0, -200.0]]).expand(3, 5)
    uniforms = torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64)
    assert pick(logits, uniforms, SamplingSettings(1))[0].tolist() == [1, 3, 3]


@given(seed=st.integers(0, 1000), top_k=st.integers(1, 12), levels=st.integers(1, 40))
@settings(deadline=None, max_examples=100)
def test_top_k_of_equal_tokens_takes_the_lower_ids_as_a_full_sort_would(seed, top_k, levels):
    probabilities = torch.randint(levels, (5, 11), generator=torch.Generator().manual_seed(seed)).float()
    values, ids = _descending(probabilities, top_k)
    expected, order = probabilities.sort(dim=-1, descending=True, stable=True)
    assert torch.equal(values, expected[:, :top_k])
    assert torch.equal(ids, order[:, :top_k])
