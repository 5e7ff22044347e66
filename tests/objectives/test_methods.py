import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill.errors import UserError
from selfdistill.objectives.aggregation import AGGREGATIONS, token_weights
from selfdistill.objectives.methods import METHODS, build_method, micro_batch_loss


def _flips(name):
    """A method's published settings, and each of its switches turned: later methods are covered as they come."""
    switches = [field for field in dataclasses.fields(METHODS[name]) if isinstance(field.default, bool)]
    return [(name, {})] + [(name, {field.name: not field.default}) for field in switches]


EVERY_METHOD = [case for name in sorted(METHODS) for case in _flips(name)]
KL = 0.1


def whole_loss(method, batch, logprobs, aggregation, parts, widths):
    """Loss and gradient summed over micro-batches, as a trainer goes about it."""
    leaf = logprobs.clone().requires_grad_()
    targets = method.targets(batch, aggregation)
    kl_weights = KL * token_weights(batch.token_mask, aggregation, batch.rollouts)
    total = 0.0
    for rows, width in zip(parts, widths, strict=True):
        index = torch.tensor(rows)
        part = batch.rows(index).narrowed(width), targets.rows(index).narrowed(width)
        loss = micro_batch_loss(method, leaf[index, :width], *part, kl_weights[index, :width])
        loss.backward()
        total += float(loss.detach())
    return total, leaf.grad


def at_once(method, batch, logprobs, aggregation):
    rows, width = batch.response_mask.shape
    return whole_loss(method, batch, logprobs, aggregation, [list(range(rows))], [width])


def close(found, expected):
    assert found[0] == pytest.approx(expected[0], rel=1e-9, abs=1e-9)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize(("name", "switches"), EVERY_METHOD)
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 9), cuts=st.sets(st.integers(1, 8)))
@settings(deadline=None, max_examples=25)
def test_the_loss_does_not_know_of_micro_batches(random_batch, name, switches, aggregation, seed, rows, cuts):
    method = build_method(name, switches)
    batch, logprobs = random_batch(seed, rows=rows)
    order = np.random.default_rng(seed).permutation(rows).tolist()
    edges = [0, *sorted(cut for cut in cuts if cut < rows), rows]
    parts = [order[begin:end] for begin, end in pairwise(edges)]
    lengths = batch.response_mask.sum(dim=1)
    widths = [int(lengths[torch.tensor(part)].max()) for part in parts]
    found = whole_loss(method, batch, logprobs, aggregation, parts, widths)
    close(found, at_once(method, batch, logprobs, aggregation))


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize(("name", "switches"), EVERY_METHOD)
@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=15)
def test_nor_of_the_order_of_rows(random_batch, name, switches, aggregation, seed):
    method = build_method(name, switches)
    batch, logprobs = random_batch(seed)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(logprobs)))
    loss, gradient = at_once(method, batch.rows(order), logprobs[order], aggregation)
    close((loss, gradient[order.argsort()]), at_once(method, batch, logprobs, aggregation))


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize(("name", "switches"), EVERY_METHOD)
@given(seed=st.integers(0, 10**6), extra=st.integers(1, 5))
@settings(deadline=None, max_examples=15)
def test_nor_of_padding_on_the_right(random_batch, name, switches, aggregation, seed, extra):
    method = build_method(name, switches)
    batch, logprobs = random_batch(seed)
    rows, width = logprobs.shape
    wider, _ = random_batch(seed + 1, rows=rows, width=width + extra)
    padded = {}
    for field in dataclasses.fields(batch):
        narrow, wide = getattr(batch, field.name), getattr(wider, field.name)
        if narrow.shape == wide.shape:
            padded[field.name] = narrow
        else:
            padded[field.name] = torch.cat([narrow, wide[..., width:].nan_to_num()], dim=-1)
    padded["response_mask"][:, width:] = False
    rubbish = torch.full((rows, extra), -3.0, dtype=torch.float64)
    loss, gradient = at_once(method, batch.extended(**padded), torch.cat([logprobs, rubbish], dim=1), aggregation)
    assert not gradient[:, width:].any()
    close((loss, gradient[:, :width]), at_once(method, batch, logprobs, aggregation))


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize(("name", "switches"), EVERY_METHOD)
def test_rows_that_left_count_in_no_denominator(random_batch, name, switches, aggregation):
    method = build_method(name, switches)
    for seed in range(8):
        batch, logprobs = random_batch(seed)
        kept = batch.kept.nonzero()[:, 0]
        loss, gradient = at_once(method, batch, logprobs, aggregation)
        assert not gradient[~batch.kept].any()
        close((loss, gradient[kept]), at_once(method, batch.rows(kept), logprobs[kept], aggregation))


@pytest.mark.parametrize(("name", "switches"), EVERY_METHOD)
def test_targets_carry_no_gradient_and_finite_metrics(random_batch, name, switches):
    batch, _ = random_batch(5)
    targets = build_method(name, switches).targets(batch, "tokens")
    assert not targets.advantages.requires_grad
    assert not targets.weights.requires_grad
    assert targets.advantages.shape == targets.weights.shape == batch.response_mask.shape
    assert all(np.isfinite(value) for value in targets.metrics.values())


@pytest.mark.parametrize("name", sorted(METHODS))
def test_importance_and_kl_enter_token_by_token(even_batch, name):
    """Sum of weight x importance x token loss, plus kl coefficient x mean k3, in loops; weights are powers of two."""
    method = build_method(name, {})
    batch, logprobs = even_batch(2)
    targets = method.targets(batch, "tokens")
    plain = method.token_loss(logprobs, batch, targets)
    expected = 0.0
    for i, t in batch.token_mask.nonzero().tolist():
        gap = float(batch.reference_logprobs[i, t] - logprobs[i, t])
        k3 = np.exp(gap) - gap - 1
        expected += float(targets.weights[i, t] * batch.importance[i, t] * plain[i, t]) + 2**-4 * k3 / 64
    kl_weights = 2**-4 * token_weights(batch.token_mask, "tokens", batch.rollouts)
    found = micro_batch_loss(method, logprobs, batch, targets, kl_weights)
    assert float(found) == pytest.approx(expected, rel=1e-9)
    bare = batch.extended(importance=None, reference_logprobs=None)
    assert float(micro_batch_loss(method, logprobs, bare, targets, kl_weights)) == pytest.approx(
        float((targets.weights * plain).sum()), rel=1e-9
    )


@pytest.mark.parametrize("name", sorted(METHODS))
def test_build_method_sets_what_it_is_given(name):
    field = next(f for f in dataclasses.fields(METHODS[name]) if isinstance(f.default, float))
    assert build_method(name, {}) == METHODS[name]()
    assert getattr(build_method(name, {field.name: 0.125}), field.name) == 0.125


def test_an_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"'grop'.*grpo.*rlcsd"):
        build_method("grop", {})


def test_unknown_settings_are_refused_with_the_known_ones():
    with pytest.raises(
        UserError, match=r"grpo has no setting lamda, tau: it takes epsilon_low, epsilon_high, dual_clip"
    ):
        build_method("grpo", {"tau": 1.0, "epsilon_low": 0.1, "lamda": 2.0})
