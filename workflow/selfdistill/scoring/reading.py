"""Reads a causal language model at some positions of a forward, without the logits of the others."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from selfdistill.errors import UserError
from selfdistill.scoring.head import Read, read, read_logits, without
from selfdistill.scoring.pictures import banned_columns, banned_ids, forward
from selfdistill.scoring.query import LOGPROBS_ONLY, Query

#: Model -> whether its logits are what its output layer returns; asked once.
_PLAIN: "weakref.WeakKeyDictionary[nn.Module, bool]" = weakref.WeakKeyDictionary()


def read_forward(
    model: PreTrainedModel,
    inputs: dict[str, Any],
    picked: Tensor,
    labels: Tensor,
    query: Query = LOGPROBS_ONLY,
    *,
    temperature: float = 1.0,
) -> Read:
    """Read log-probs of given tokens, and distributions around them, at M positions of one forward.

    Equivalent to::

        logits = model(**inputs).logits.flatten(0, 1)[picked]
        read_logits(logits, labels, query, temperature=temperature)

    The model's own forward runs, with all that it does to its hidden states before they reach the output layer; the
    layer is given none of them, and they are read in chunks instead. A model whose logits are not what its layer
    returns, but scaled, capped or otherwise changed behind it (as by Gemma 2, Granite and Cohere), keeps its layer
    and makes the (M, V) logits of the picked positions by itself. So does one whose layer is more than a linear one.
    The model is asked which it is once, by a forward of four tokens without gradient that leaves its random state
    and its mode as they are; where the weights are spread over ranks, all ranks must come here together.

    With gradient unless called under no_grad.

    Args:
        model: a causal language model with one output layer; or anything that is called as one and no module itself,
            which makes the logits of all columns that are read of any row.
        inputs: keyword arguments of its forward: input_ids (N, L), attention_mask, position_ids, past_key_values ...
        picked: (M,) int64 flat positions, row * L + column, whose next token is the label; any order, may repeat.
        labels: (M,) int64.
        query: what is read besides; `ids` (M, k).
        temperature: divides the logits.

    Returns:
        What was asked for, at each of the M positions; see `head.Read`. Ids of pictures are in no distribution
        (`pictures.banned_ids`).

    Raises:
        UserError: where the model does not call its output layer as a layer, and for labels that are ids of pictures.
    """
    banned = banned_columns(model.config, labels.device)
    if banned is not None and bool(torch.isin(labels, banned).any()):
        raise UserError(
            "a response has tokens that stand for pictures, or begin and end them, and no pixels for it: no sampler "
            "draws them, so it is not one of this model's; drop it"
        )
    if not isinstance(model, nn.Module):
        length = inputs["input_ids"].shape[1]
        columns, place = (picked % length).unique(return_inverse=True)
        logits = model(**inputs, logits_to_keep=columns).logits
        return read_logits(logits[picked // length, place], labels, query, temperature=temperature, banned=banned)
    layer, seen = model.get_output_embeddings(), []
    if not _is_plain(model):
        with _layer_input_through(layer, lambda hidden: hidden.flatten(0, -2)[picked][None]):
            logits = forward(model, inputs).logits[0]
        return read_logits(logits, labels, query, temperature=temperature, banned=banned)

    def take(hidden: Tensor) -> Tensor:
        seen.append(hidden.flatten(0, -2)[picked])
        return hidden[:, :0]

    with _layer_input_through(layer, take):
        forward(model, inputs)
    return read(seen[0], layer.weight, labels, query, bias=layer.bias, temperature=temperature, banned=banned)


class PartsReader:
    """Whole distributions at some positions of a forward that has been made, as many at a time as are asked for."""

    def __init__(
        self,
        temperature: float,
        logits: Tensor | None,
        hidden: Tensor | None,
        layer: nn.Module | None,
        banned: Tensor | None = None,
    ):
        """logits: (M, V) where the model made them; else hidden states (M, H) and the linear layer that makes them.

        banned: ids that no distribution has.
        """
        self._temperature, self._logits, self._hidden, self._banned = temperature, logits, hidden, banned
        self._weight = None if layer is None else layer.weight.detach().float()
        self._bias = None if layer is None or layer.bias is None else layer.bias.detach().float()

    @property
    def vocabulary(self) -> int:
        """V, rows of the output layer."""
        return self._weight.shape[0] if self._logits is None else self._logits.shape[1]

    def logprobs(self, part: slice) -> Tensor:
        """(n, V) float32 nats at some of the M positions."""
        if self._logits is not None:
            logits = self._logits[part].float()
        else:
            logits = nn.functional.linear(self._hidden[part].float(), self._weight, self._bias)
        return torch.log_softmax(without(logits / self._temperature, self._banned), dim=-1)


@torch.no_grad()
def read_in_parts(
    model: PreTrainedModel, inputs: dict[str, Any], picked: Tensor, temperature: float = 1.0
) -> PartsReader:
    """Make one forward, and return a reader of whole distributions at M of its positions.

    Args:
        model, inputs, picked: as of `read_forward`.
        temperature: divides the logits.
    """
    layer, seen, banned = model.get_output_embeddings(), [], banned_columns(model.config, picked.device)
    if not _is_plain(model):
        with _layer_input_through(layer, lambda hidden: hidden.flatten(0, -2)[picked][None]):
            return PartsReader(temperature, forward(model, inputs).logits[0], None, None, banned)

    def take(hidden: Tensor) -> Tensor:
        seen.append(hidden.flatten(0, -2)[picked])
        return hidden[:, :0]

    with _layer_input_through(layer, take):
        forward(model, inputs)
    return PartsReader(temperature, None, seen[0], layer, banned)


@contextmanager
def _layer_input_through(layer: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    hook = layer.register_forward_pre_hook(lambda _, arguments: (change(arguments[0]), *arguments[1:]))
    try:
        yield
    finally:
        hook.remove()


def _is_plain(model: PreTrainedModel) -> bool:
    if model not in _PLAIN:
        _PLAIN[model] = _ask(model)
    return _PLAIN[model]


@torch.no_grad()
def _ask(model: PreTrainedModel) -> bool:
    """Returns whether the model hands on, untouched, what a linear layer makes of its hidden states.

    That it is the same tensor, never written to, is asked for: small logits come through a soft cap all but unchanged.
    """
    layer, calls = model.get_output_embeddings(), []
    if type(layer) is not nn.Linear or isinstance(layer.weight, DTensor):
        return False

    def remember(_: nn.Module, arguments: tuple[Tensor], output: Tensor) -> None:
        calls.append((arguments[0], output, output._version))

    hook = layer.register_forward_hook(remember)
    words = [i for i in range(len(layer.weight)) if i not in banned_ids(model.config)]
    tokens = torch.tensor([words[:4]], device=model.device)  # one may be padding, all zeros
    try:
        with torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
            logits = model(input_ids=tokens, use_cache=False).logits
    finally:
        hook.remove()
    if not calls:
        raise UserError(
            f"{type(model).__name__}: its output layer is not called as a layer, so it cannot be read in parts"
        )
    hidden, output, version = calls[0]
    own = nn.functional.linear(hidden, layer.weight, layer.bias)  # not so where others hooked the layer
    return len(calls) == 1 and logits is output and output._version == version and torch.allclose(output, own)
