"""What travels comes back as it went, row by row, however it is taken apart on the way."""

from dataclasses import fields, replace

import pytest
import torch

verl = pytest.importorskip("verl")
from tensordict import TensorDict
from transfer_queue.utils.serial_utils import decode, encode
from verl.utils import tensordict_utils

from selfdistill.objectives.batch import Batch, Targets
from selfdistill.scoring.scores import Sequences
from selfdistill.training.verl.wire import (
    pack_scores_request,
    pack_update,
    padded,
    ragged,
    reads_full_vocabulary,
    sums_of,
    unpack_scores,
    unpack_update,
)

pytestmark = pytest.mark.verl

PROMPTS, RESPONSES = [3, 1, 5, 2], [4, 1, 6, 3]
LENGTHS, WIDTH, K, TOP = torch.tensor(RESPONSES), 8, 3, 5
INSIDE = torch.arange(WIDTH) < LENGTHS[:, None]


def numbered(*lengths):
    """Rows of ids, a pad id first in each."""
    return [[0, *range(10 * row, 10 * row + length - 1)] for row, length in enumerate(lengths, start=1)]


SEQUENCES = Sequences(numbered(*PROMPTS), numbered(*RESPONSES))


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.fixture
def update():
    """Every field of a batch wider than its responses, with rubbish behind them; NaN under masked hints."""
    wrong = noise(4, K, WIDTH)
    mask = torch.arange(K) < torch.tensor([3, 0, 1, 2])[:, None]
    wrong[~mask] = torch.nan
    batch = Batch(
        response_mask=INSIDE.clone(),
        advantages=noise(4),
        old_logprobs=noise(4, WIDTH),
        step=17,
        correct=torch.tensor([True, False, True, False]),
        importance=noise(4, WIDTH) + 1,
        reference_logprobs=noise(4, WIDTH) + 2,
        current_logprobs=noise(4, WIDTH) + 3,
        teacher_reference_logprobs=noise(4, WIDTH) + 3.5,
        correct_logprobs=noise(4, WIDTH) + 4,
        wrong_logprobs=wrong,
        wrong_mask=mask,
        support_ids=torch.arange(4 * WIDTH * TOP).reshape(4, WIDTH, TOP),
        correct_support=noise(4, WIDTH, TOP),
        wrong_support=noise(4, WIDTH, TOP) + 1,
        teacher_entropy=noise(4, WIDTH) + 5,
        entropy_weights=noise(4, WIDTH) + 5.5,
        hinted=torch.tensor([True, False, True, True]),
        kept=torch.tensor([True, True, False, True]),
    )
    assert not [each.name for each in fields(Batch) if getattr(batch, each.name) is None]
    return batch, Targets(noise(4, WIDTH) + 6, noise(4, WIDTH) + 7, {"a": 1.0}), noise(4, WIDTH) + 8


def cut(value, name, width):
    """A field's first columns, with zeros behind each response."""
    if name in ("advantages", "correct", "wrong_mask", "hinted", "kept"):
        return value
    inside = INSIDE[: len(value), :width]
    if name == "wrong_logprobs":
        return torch.where(inside[:, None], value[..., :width], 0)
    value = value[:, :width]
    return torch.where(inside.reshape(*inside.shape, *[1] * (value.dim() - 2)), value, value.new_zeros(()))


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def test_an_update_comes_back_with_every_field(update):
    batch, targets, kl_weights = update
    found, found_targets, found_kl = unpack_update(pack_update(SEQUENCES, *update))
    assert found.step == 17
    for each in fields(Batch):
        if each.name != "step":
            same(getattr(found, each.name), cut(getattr(batch, each.name), each.name, 6))
    same(found_targets.advantages, cut(targets.advantages, "", 6))
    same(found_targets.weights, cut(targets.weights, "", 6))
    same(found_kl, cut(kl_weights, "", 6))


def test_what_a_batch_has_not_does_not_travel(update):
    batch = Batch(update[0].response_mask, update[0].advantages, update[0].old_logprobs)
    found, *_ = unpack_update(pack_update(SEQUENCES, batch, *update[1:]))
    missing = [each.name for each in fields(Batch) if getattr(found, each.name) is None]
    assert missing == [each.name for each in fields(Batch) if getattr(batch, each.name) is None]


def through_a_queue(data):
    """As TransferQueue sends rows and returns them: a scalar a row stacked, anything with an axis jagged."""
    fields = {}
    for key, value in decode(encode(data)).items():
        rows = list(value.unbind())
        stack = rows[0].dim() == 0
        fields[key] = torch.stack(rows) if stack else torch.nested.as_nested_tensor(rows, layout=torch.jagged)
    return TensorDict(fields, batch_size=len(data))


@pytest.mark.parametrize("rows", [[2, 0], [1], [3, 1, 0]])
def test_rows_may_be_taken_apart_and_go_through_a_queue(update, rows):
    data = tensordict_utils.index_select_tensor_dict(through_a_queue(pack_update(SEQUENCES, *update)), rows)
    tensordict_utils.assign_non_tensor(data, temperature=1.0)
    batch, targets, kl_weights = unpack_update(data.to("cpu"))
    whole = unpack_update(pack_update(SEQUENCES, *update))
    width = max(RESPONSES[row] for row in rows)
    index = torch.tensor(rows)
    expected = whole[0].rows(index).narrowed(width)
    for each in fields(Batch):
        if each.name != "step":
            same(getattr(batch, each.name), getattr(expected, each.name))
    same(targets.weights, whole[1].weights[index, :width])
    same(kl_weights, whole[2][index, :width])
    assert [row.tolist() for row in data["responses"].unbind()] == [SEQUENCES.responses[row] for row in rows]


def test_ranks_share_rows_alike(update):
    parts = tensordict_utils.chunk_tensordict(pack_update(SEQUENCES, *update), 2)
    whole = unpack_update(pack_update(SEQUENCES, *update))[0]
    for number, part in enumerate(parts):
        batch = unpack_update(part)[0]
        width = batch.response_mask.shape[1]
        same(batch.correct_support, whole.correct_support[2 * number : 2 * number + 2, :width])
        same(batch.advantages, whole.advantages[2 * number : 2 * number + 2])


def test_a_batch_without_any_wrong_hint_has_a_masked_one(update):
    batch = update[0].extended(wrong_logprobs=noise(4, 0, WIDTH), wrong_mask=torch.zeros(4, 0, dtype=torch.bool))
    found, *_ = unpack_update(through_a_queue(pack_update(SEQUENCES, batch, *update[1:])))
    assert found.wrong_logprobs.shape == (4, 1, 6)
    assert not found.wrong_logprobs.any()
    assert not found.wrong_mask.any()


def test_ids_are_read_where_the_batch_has_them(update):
    batch = update[0]
    data = pack_update(SEQUENCES, *update)
    same(padded(data["read_ids"]), cut(batch.support_ids, "", 6))
    assert not reads_full_vocabulary(data)
    assert reads_full_vocabulary(pack_update(SEQUENCES, replace(batch, support_ids=None), *update[1:]))
    without = replace(batch, support_ids=None, correct_support=None, wrong_support=None)
    assert not reads_full_vocabulary(pack_update(SEQUENCES, without, *update[1:]))


@pytest.mark.parametrize("kind", ["scores", "update"])
def test_sequences_travel_under_verls_names(update, kind):
    data = pack_scores_request(SEQUENCES) if kind == "scores" else pack_update(SEQUENCES, *update)
    rows = list(zip(SEQUENCES.prompts, SEQUENCES.responses, strict=True))
    assert [row.tolist() for row in data["prompts"].unbind()] == SEQUENCES.prompts
    assert [row.tolist() for row in data["input_ids"].unbind()] == [[*p, *r] for p, r in rows]
    assert [row.tolist() for row in data["position_ids"].unbind()] == [list(range(len(p) + len(r))) for p, r in rows]
    assert [row.shape[0] for row in data["response_mask"].unbind()] == RESPONSES
    assert int(data["loss_mask"].sum()) == sum(RESPONSES)  # verl counts tokens so


def test_ids_to_read_at_travel_with_a_request():
    ids = torch.arange(4 * WIDTH * TOP).reshape(4, WIDTH, TOP)
    same(padded(pack_scores_request(SEQUENCES, ids)["read_ids"]), cut(ids, "", 6))
    assert "read_ids" not in pack_scores_request(SEQUENCES)


def test_scores_come_back_padded_to_a_width():
    values = {"log_probs": noise(4, WIDTH), "support": noise(4, WIDTH, TOP), "entropy": noise(4, WIDTH) + 1}
    values["support_ids"] = torch.arange(4 * WIDTH * TOP).reshape(4, WIDTH, TOP)
    reply = TensorDict({name: ragged(value, LENGTHS) for name, value in values.items()}, batch_size=4)
    scores = unpack_scores(reply, 7)
    for name, key in (
        ("logprobs", "log_probs"),
        ("support", "support"),
        ("ids", "support_ids"),
        ("entropy", "entropy"),
    ):
        same(getattr(scores, name), cut(values[key], "", 7))
    alone = unpack_scores(reply.select("log_probs"), 6)
    assert alone.ids is alone.support is alone.entropy is None


def test_padding_keeps_gradients():
    flat = noise(sum(RESPONSES), 2).requires_grad_()
    nested = torch.nested.nested_tensor_from_jagged(flat, torch.tensor([0, *RESPONSES]).cumsum(0))
    slopes = noise(4, 6, 2)
    (padded(nested) * slopes).sum().backward()
    same(flat.grad, slopes[INSIDE[:, :6]])


@pytest.mark.parametrize("rows", [Sequences([[]], [[1]]), Sequences([[1]], [[]])])
def test_rows_without_a_token_are_refused(rows):
    with pytest.raises(ValueError, match=r"rows \[0\]: prompt and response must have at least one token"):
        pack_scores_request(rows)


def test_sums_are_added_over_ranks_and_micro_batches():
    metrics = {"sums": [[{"a": (1.0, 2)}, {"a": (0.5, 1), "b": (3.0, 4)}], [{"b": (1.0, 1)}]], "grad_norm": 2.5}
    assert sums_of(metrics) == ({"a": (1.5, 3), "b": (4.0, 5)}, 2.5)
