"""The chunked head against the materialised one, its gradients included."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from selfdistill.objectives.divergences import distributions, divergence
from selfdistill.scoring import head as head_module
from selfdistill.scoring.head import Read, read, read_logits
from selfdistill.scoring.query import LOGPROBS_ONLY, Query

N, H, V, K = 23, 8, 61, 5
ROWS = [1, 7, 1000]
#: What a caller may ask for.
ASKED = {
    "nothing": {},
    "entropy": {"entropy": True},
    "ids": {"ids": "given"},
    "top_k": {"top_k": K},
    "full": {"top_k": 0},
    "all": {"ids": "given", "entropy": True},
}


@pytest.fixture
def case():
    """Hidden states, weights, bias, labels, ids (some of them twice, some the label itself), random output slopes."""
    made = torch.Generator().manual_seed(0)

    def normal(*size):
        return torch.randn(*size, generator=made)

    labels = torch.randint(V, (N,), generator=made)
    ids = torch.randint(V, (N, K), generator=made)
    ids[:, 1], ids[::2, 2] = ids[:, 0], labels[::2]
    slopes = {"logprobs": normal(N), "support": normal(N, V), "entropy": normal(N)}
    return normal(N, H), 0.5 * normal(V, H), normal(V), labels, ids, slopes


def asked_at(asked, ids):
    return Query(**{key: ids if value == "given" else value for key, value in ASKED[asked].items()})


def materialised(hidden, weight, bias, labels, temperature, query=LOGPROBS_ONLY):
    ids, top_k = query.ids, query.top_k
    logits = hidden @ weight.t() if bias is None else hidden @ weight.t() + bias
    logprobs = torch.log_softmax(logits / temperature, dim=-1)
    if ids is None and top_k:
        ids = logprobs.detach().topk(top_k, dim=-1).indices
    support = logprobs if top_k == 0 else None if ids is None else logprobs.gather(-1, ids)
    entropies = -(logprobs.exp() * logprobs).sum(dim=-1) if query.entropy else None
    return Read(logprobs.gather(-1, labels[:, None])[:, 0], ids, support, entropies)


def loss_of(found, slopes):
    """A sum to which every output contributes with slopes of its own."""
    loss = (found.logprobs * slopes["logprobs"]).sum()
    if found.support is not None:
        loss = loss + (found.support * slopes["support"][:, : found.support.shape[1]]).sum()
    return loss if found.entropy is None else loss + (found.entropy * slopes["entropy"]).sum()


def with_gradients(function, tensors, slopes):
    leaves = [x.clone().requires_grad_() for x in tensors]
    found = function(*leaves)
    return found, torch.autograd.grad(loss_of(found, slopes), leaves)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("temperature", [0.6, 1.0])
def test_numbers_and_gradients_are_those_of_the_materialised_head(case, asked, rows, temperature):
    *tensors, labels, ids, slopes = case
    query = asked_at(asked, ids)
    found, gradients = with_gradients(
        lambda h, w, b: read(h, w, labels, query, bias=b, temperature=temperature, rows=rows), tensors, slopes
    )
    expected, wanted = with_gradients(
        lambda h, w, b: materialised(h, w, b, labels, temperature, query), tensors, slopes
    )
    for name, value in expected._asdict().items():
        if value is None or name == "ids":
            assert value is getattr(found, name) is None or torch.equal(value, found.ids)
        else:
            torch.testing.assert_close(getattr(found, name), value, rtol=1e-6, atol=1e-6)
    for gradient, right in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, right, rtol=1e-5, atol=1e-5)


def test_gradients_in_double_precision_are_the_numerical_ones(case):
    hidden, weight, bias, labels, ids, _ = case
    leaves = [x.double().requires_grad_() for x in (hidden[:3, :4], weight[:6, :4], bias[:6])]
    label, at = labels[:3] % 6, ids[:3] % 6

    def outputs(h, w, b):
        found = read(h, w, label, Query(ids=at, entropy=True), bias=b, temperature=0.7, rows=2)
        return found.logprobs, found.support, found.entropy

    assert torch.autograd.gradcheck(outputs, leaves)


@pytest.mark.parametrize("used", ["logprobs", "support", "entropy"])
def test_outputs_that_no_loss_uses_cost_no_gradient(case, used):
    hidden, weight, _, labels, ids, _ = case
    leaf = hidden.clone().requires_grad_()
    getattr(read(leaf, weight, labels, Query(ids=ids, entropy=True)), used).sum().backward()
    right = hidden.clone().requires_grad_()
    getattr(materialised(right, weight, None, labels, 1.0, Query(ids=ids, entropy=True)), used).sum().backward()
    torch.testing.assert_close(leaf.grad, right.grad, rtol=1e-5, atol=1e-5)


class Widest(TorchDispatchMode):
    """Elements of the largest tensor with an axis as long as the vocabulary that any operation returns."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, torch.Tensor) and V in value.shape:
                self.elements = max(self.elements, value.numel())
        return out


@pytest.mark.parametrize("asked", ["nothing", "entropy", "ids", "top_k"])
def test_never_more_than_so_many_rows_of_logits_are_held_forwards_and_backwards(case, asked):
    hidden, weight, _, labels, ids, slopes = case
    query = asked_at(asked, ids)
    rows = H + 1  # so that the weights, (V, H), are narrower than a chunk
    with Widest() as widest:
        with_gradients(lambda h, w: read(h, w, labels, query, rows=rows), [hidden, weight], slopes)
    assert widest.elements == rows * V
    with Widest() as widest:
        with_gradients(lambda h, w: materialised(h, w, None, labels, 1.0, query), [hidden, weight], slopes)
    assert widest.elements == N * V, "the measure must see what it is to forbid"


@pytest.mark.parametrize("asked", ["nothing", "entropy", "ids", "top_k"])
def test_a_large_vocabulary_has_fewer_rows_at_once_than_asked_for(case, asked, monkeypatch):
    hidden, weight, _, labels, ids, slopes = case
    query = asked_at(asked, ids)
    monkeypatch.setattr(head_module, "_ELEMENTS", (H + 2) * V - 1)
    for rows, held in ((None, H + 1), (1000, H + 1)):
        with Widest() as widest:
            with_gradients(lambda h, w, r=rows: read(h, w, labels, query, rows=r), [hidden, weight], slopes)
        assert widest.elements == held * V
    monkeypatch.setattr(head_module, "_ELEMENTS", 1)
    found = read(hidden, weight, labels, query)
    torch.testing.assert_close(found.logprobs, materialised(hidden, weight, None, labels, 1.0).logprobs)


class Products(TorchDispatchMode):
    """How many (n, V) products are made."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        self.count += function.overloadpacket is torch.ops.aten.mm and out.shape[-1] == V
        return out


@pytest.mark.parametrize(
    ("rows", "asked", "products"), [(N, "ids", 1), (N, "full", 1), (N - 1, "ids", 4), (N - 1, "full", 2)]
)
def test_log_probs_that_are_held_anyway_are_made_once(case, rows, asked, products):
    *tensors, labels, ids, slopes = case
    query = asked_at(asked, ids)
    with Products() as made:
        with_gradients(lambda h, w, b: read(h, w, labels, query, bias=b, rows=rows), tensors, slopes)
    assert made.count == products


@pytest.mark.parametrize("rows", [5, N])
@pytest.mark.parametrize("asked", ["all", "full"])
def test_a_second_backward_pass_finds_the_same(case, asked, rows):
    *tensors, labels, ids, slopes = case
    query = asked_at(asked, ids)
    leaves = [x.clone().requires_grad_() for x in tensors]
    loss = loss_of(read(*leaves[:2], labels, query, bias=leaves[2], rows=rows), slopes)
    first, second = (torch.autograd.grad(loss, leaves, retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("rows", [7, N])
@pytest.mark.parametrize("mix", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("support", ["ids and tail", "full vocabulary"])
def test_divergences_and_their_gradients_are_those_of_the_materialised_head(case, support, mix, rows):
    """Summed with random weights of the rows; the teacher reads the student's most likely ids, and so does the student.

    In double precision the two agree to its last digits: what float32 adds is rounding alone.
    """
    *tensors, labels, _, slopes = case
    made = torch.Generator().manual_seed(1)
    teacher = [x + 0.3 * torch.randn(x.shape, generator=made) for x in tensors]
    size = K if support == "ids and tail" else 0

    def loss(reading, dtype):
        def of(*student):
            query = Query(ids=reading(*[x.detach() for x in student], Query(size)).ids) if size else Query(top_k=0)
            with torch.no_grad():
                right = reading(*[x.to(dtype) for x in teacher], query).support
            both = [distributions(x, size, tail=True) for x in (reading(*student, query).support, right)]
            return (divergence(*both, mix) * slopes["logprobs"]).sum()

        return of

    def chunked(h, w, b, query):
        return read(h, w, labels, query, bias=b, temperature=0.8, rows=rows)

    def plain(h, w, b, query):
        return materialised(h, w, b, labels, 0.8, query)

    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-12)):
        values = []
        for reading in (chunked, plain):
            leaves = [x.to(dtype).requires_grad_() for x in tensors]
            found = loss(reading, dtype)(*leaves)
            values.append([found.detach(), *torch.autograd.grad(found, leaves)])
        for mine, expected in zip(*values, strict=True):
            torch.testing.assert_close(mine, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


@pytest.mark.parametrize("asked", ASKED)
def test_logits_that_are_there_already_say_the_same(case, asked):
    hidden, weight, bias, labels, ids, slopes = case
    query = asked_at(asked, ids)
    found, (gradient,) = with_gradients(
        lambda x: read_logits(x, labels, query, temperature=0.7), [hidden @ weight.t() + bias], slopes
    )
    expected, (wanted,) = with_gradients(
        lambda x: materialised(x, torch.eye(V), None, labels, 0.7, query), [hidden @ weight.t() + bias], slopes
    )
    for name, value in expected._asdict().items():
        assert (value is None and getattr(found, name) is None) or torch.equal(value, getattr(found, name))
    torch.testing.assert_close(gradient, wanted)


def test_without_gradient_nothing_is_kept(case):
    hidden, weight, _, labels, _, _ = case
    with torch.no_grad():
        found = read(hidden.requires_grad_(), weight, labels, Query(3, entropy=True))
    assert not any(x.requires_grad for x in found)


def test_tied_weights_get_both_gradients(case):
    _, weight, _, labels, _, _ = case
    inputs = torch.arange(N) % V

    def gradient(function):
        tied = weight.clone().requires_grad_()
        function(torch.tanh(tied[inputs]), tied).sum().backward()
        return tied.grad

    found = gradient(lambda h, w: read(h, w, labels, rows=4).logprobs)
    wanted = gradient(lambda h, w: materialised(h, w, None, labels, 1.0).logprobs)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16_states_are_read_to_float32_accuracy(case, autocast):
    """Rounded logits would be off by hundredths; only the inputs, and gradients on their way out, are rounded."""
    *tensors, labels, ids, slopes = case
    halves = [x.bfloat16() for x in tensors]

    def chunked(h, w, b):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            return read(h, w, labels, Query(ids=ids, entropy=True), bias=b, rows=5)

    found, gradients = with_gradients(chunked, halves, slopes)
    floats = [x.float() for x in halves]
    expected, wanted = with_gradients(
        lambda h, w, b: materialised(h, w, b, labels, 1.0, Query(ids=ids, entropy=True)), floats, slopes
    )
    for name in ("logprobs", "support", "entropy"):
        assert getattr(found, name).dtype == torch.float32
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-5, atol=1e-5)
    for gradient, right in zip(gradients, wanted, strict=True):
        assert gradient.dtype == torch.bfloat16
        assert (gradient.float() - right).abs().max() < 2**-7 * right.abs().max()


def test_autocast_rounds_nothing_of_float32_states(case):
    hidden, weight, _, labels, _, _ = case
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = read(hidden, weight, labels).logprobs
    assert torch.equal(found, read(hidden, weight, labels).logprobs)


def test_inside_a_checkpointed_block_it_reads_and_learns_the_same(case):
    hidden, weight, _, labels, ids, slopes = case

    def gradients(run):
        leaves = [hidden.clone().requires_grad_(), weight.clone().requires_grad_()]
        return torch.autograd.grad(loss_of(run(*leaves), slopes), leaves)

    def block(h, w):
        return read(torch.tanh(h), w, labels, Query(ids=ids, entropy=True), rows=4)

    for plain, checkpointed in zip(
        gradients(block), gradients(lambda h, w: checkpoint(block, h, w, use_reentrant=False)), strict=True
    ):
        assert torch.equal(plain, checkpointed)


def test_a_frozen_head_still_passes_the_gradient_on(case):
    hidden, weight, _, labels, _, _ = case
    leaf = hidden.clone().requires_grad_()
    head = nn.Linear(H, V, bias=False)
    head.weight = nn.Parameter(weight, requires_grad=False)
    read(leaf, head.weight, labels).logprobs.sum().backward()
    assert head.weight.grad is None
    assert leaf.grad.abs().sum() > 0


def test_no_rows_are_no_problem(case):
    _, weight, _, labels, _, _ = case
    leaf = weight.clone().requires_grad_()
    found = read(torch.zeros(0, H), leaf, labels[:0], Query(2, entropy=True))
    assert [tuple(x.shape) for x in found] == [(0,), (0, 2), (0, 2), (0,)]
    found.logprobs.sum().backward()
    assert not leaf.grad.any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_bfloat16_products_are_summed_and_kept_in_float32(case):
    *tensors, labels, ids, slopes = [x.cuda() if torch.is_tensor(x) else x for x in case]
    halves, slopes = [x.bfloat16() for x in tensors], {name: x.cuda() for name, x in slopes.items()}
    found, gradients = with_gradients(
        lambda h, w, b: read(h, w, labels, Query(ids=ids, entropy=True), bias=b, rows=5), halves, slopes
    )
    expected, wanted = with_gradients(
        lambda h, w, b: materialised(h, w, b, labels, 1.0, Query(ids=ids, entropy=True)),
        [x.float() for x in halves],
        slopes,
    )
    torch.testing.assert_close(found.logprobs, expected.logprobs, rtol=1e-5, atol=1e-5)
    for gradient, right in zip(gradients, wanted, strict=True):
        assert (gradient.float() - right).abs().max() < 2**-7 * right.abs().max()
