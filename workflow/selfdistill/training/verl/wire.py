"""Packs what travels between the driver and its workers: rows of sequences and of per-token tensors.

A row is one (prompt, response). What there is per token is a jagged nested tensor over the row's response, further axes
behind: a queue, a data-parallel split and a micro-batch can take rows apart and put them together again without knowing
how long the others are. Lengths are those of the token ids; nothing is inferred from pad ids.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from selfdistill.objectives.batch import ROWWISE, Batch, Targets
from selfdistill.scoring.scores import Scores, Sequences
from selfdistill.training.update import Sums, added
from selfdistill.training.verl.picture_inputs import PICTURES, packed_references

#: Keys of what a worker returns of a request for scores.
LOGPROBS, SUPPORT, SUPPORT_IDS, ENTROPY = "log_probs", "support", "support_ids", "entropy"
#: Of two models whose logits are mixed: the first one's hidden states, as it returns them, and as the second is told.
STATES, OTHER_STATES = "states", "other_states"
#: Key of the ids at which the head is to be read, in either kind of request.
READ_IDS = "read_ids"
#: Key under which a loss reports its sums.
SUMS = "sums"

_OF_BATCH = "batch_"
_OTHERWISE_NAMED = {"response_mask": "response_mask", "support_ids": READ_IDS}
_STEP = "batch_step"
_ADVANTAGES, _WEIGHTS, _KL_WEIGHTS = "target_advantages", "target_weights", "kl_weights"


def pack_scores_request(sequences: Sequences, ids: Tensor | None = None) -> TensorDict:
    """Return rows to be scored; `ids` (B, T or more, k) int64, where the support is to be read at given ids."""
    lengths = _lengths(sequences.responses)
    packed = _packed_sequences(sequences)
    mask = torch.ones(len(lengths), int(lengths.max()), dtype=torch.bool)
    packed |= {"response_mask": ragged(mask, lengths), "loss_mask": ragged(mask, lengths)}
    if ids is not None:
        packed[READ_IDS] = ragged(ids, lengths)
    return TensorDict(packed, batch_size=len(lengths))


def unpack_scores(reply: TensorDict, width: int, device: torch.device | str = "cpu") -> Scores:
    """Return the scores of a worker's reply, padded to (B, width) with zeros behind a response.

    Ids are there where the model chose them; those that were given with a request do not travel back.
    """
    tensors = {
        name: padded(reply[key].to(device), width)
        for name, key in {"logprobs": LOGPROBS, "ids": SUPPORT_IDS, "support": SUPPORT, "entropy": ENTROPY}.items()
        if key in reply
    }
    return Scores(**tensors)


def pack_update(sequences: Sequences, batch: Batch, targets: Targets, kl_weights: Tensor) -> TensorDict:
    """Return rows to learn from, with every tensor that the batch has.

    A batch whose rows have no wrong hint at all travels with one slot that is masked out: queues take no empty axis.
    """
    lengths = _lengths(sequences.responses)
    packed = _packed_sequences(sequences)
    present = {each.name: getattr(batch, each.name) for each in fields(batch)}
    for name, value in present.items():
        if not isinstance(value, Tensor):
            continue
        if name in ("wrong_logprobs", "wrong_mask") and value.shape[1] == 0:
            value = value.new_zeros(value.shape[0], 1, *value.shape[2:])
        if name == "wrong_logprobs":
            value = value.transpose(1, 2)
        packed[_key(name)] = value.cpu() if name in ROWWISE else ragged(value, lengths)
    packed["loss_mask"] = ragged(batch.response_mask, lengths)
    packed[_STEP] = torch.full((len(lengths),), batch.step)
    for key, value in ((_ADVANTAGES, targets.advantages), (_WEIGHTS, targets.weights), (_KL_WEIGHTS, kl_weights)):
        packed[key] = ragged(value, lengths)
    return TensorDict(packed, batch_size=len(lengths))


def unpack_update(data: TensorDict) -> tuple[Batch, Targets, Tensor]:
    """Batch, targets (without metrics) and KL weights of these rows, padded to their longest response."""
    present = {}
    for each in fields(Batch):
        if each.name == "step" or _key(each.name) not in data:
            continue
        # A queue returns any row with an axis as a ragged one.
        value = data[_key(each.name)]
        value = padded(value) if value.is_nested else value
        present[each.name] = value.transpose(1, 2) if each.name == "wrong_logprobs" else value
    batch = Batch(step=int(data[_STEP][0]), **present)
    return batch, Targets(padded(data[_ADVANTAGES]), padded(data[_WEIGHTS]), {}), padded(data[_KL_WEIGHTS])


def reads_full_vocabulary(data: TensorDict) -> bool:
    """Returns whether an update compares distributions over the whole vocabulary: a teacher's, without ids."""
    return _key("correct_support") in data and READ_IDS not in data


def has_entropy_bonus(data: TensorDict) -> bool:
    """Returns whether an update's loss reads the student's entropies."""
    return _key("entropy_weights") in data


def sums_of(metrics: dict[str, Any]) -> tuple[Sums, float]:
    """Sums over all ranks and micro-batches, and the gradient's norm, of a worker's metrics of an update."""
    return added(_leaves(metrics[SUMS])), float(metrics["grad_norm"])


def ragged(values: Tensor, lengths: Tensor) -> Tensor:
    """Return (B, T or more, ...) as a jagged nested tensor on the CPU whose row i has the first lengths[i] entries."""
    values = values.detach().cpu()
    inside = torch.arange(values.shape[1]) < lengths[:, None]
    return torch.nested.nested_tensor_from_jagged(values[inside], _offsets(lengths))


def padded(values: Tensor, width: int | None = None) -> Tensor:
    """The inverse: (B, width, ...) with zeros behind each row, by default as wide as the longest; keeps gradients."""
    lengths = values.offsets().diff()
    width = int(lengths.max()) if width is None else width
    inside = torch.arange(width, device=lengths.device) < lengths[:, None]
    flat = values.values()
    return flat.new_zeros(*inside.shape, *flat.shape[1:]).masked_scatter(
        inside.reshape(*inside.shape, *[1] * (flat.dim() - 1)), flat
    )


def _key(name: str) -> str:
    return _OTHERWISE_NAMED.get(name, _OF_BATCH + name)


def _packed_sequences(sequences: Sequences) -> dict[str, Tensor]:
    """Token ids and positions under the names that verl's engines know, and references to pictures.

    Positions are those of text; of a model that reads pictures our engine makes its own. (A jagged tensor of (4, L)
    rows is cut otherwise by torch where all of them have one length, as a row alone.)
    """
    rows = list(zip(sequences.prompts, sequences.responses, strict=True))
    empty = [i for i, (prompt, response) in enumerate(rows) if not len(prompt) or not len(response)]
    if empty:
        raise ValueError(f"rows {empty}: prompt and response must have at least one token each")
    references = packed_references(sequences.prompts)
    return ({} if references is None else {PICTURES: _nested(references)}) | {
        "prompts": _nested(sequences.prompts),
        "responses": _nested(sequences.responses),
        "input_ids": _nested([[*prompt, *response] for prompt, response in rows]),
        "position_ids": _nested([range(length) for length in sequences.lengths]),
    }


def _nested(rows: Sequence[Sequence[int]]) -> Tensor:
    flat = torch.tensor([token for row in rows for token in row], dtype=torch.int64)
    return torch.nested.nested_tensor_from_jagged(flat, _offsets(_lengths(rows)))


def _lengths(rows: Sequence[Sequence[int]]) -> Tensor:
    return torch.tensor([len(row) for row in rows])


def _offsets(lengths: Tensor) -> Tensor:
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def _leaves(parts: Sums | Iterable) -> Iterator[Sums]:
    """The sums in lists of lists: verl lists micro-batches, and ranks around these."""
    if isinstance(parts, dict):
        yield parts
    else:
        for part in parts:
            yield from _leaves(part)
