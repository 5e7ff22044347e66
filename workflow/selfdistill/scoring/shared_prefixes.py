"""Scores many responses under fewer prompts: every distinct prompt is computed once, by a schedule.

A prompt's keys and values serve all responses that are scored under it, and what neighbouring prompts have in common at
the front (chat header, problem, framing) serves all of these. A plain forward reads a prompt once a response: a hinted
prompt, which holds a whole rollout, costs it half of its tokens.

A prompt's last token is read at the head of each response, since it predicts the response's first token; a response's
own last token predicts nothing that is asked for, and is not read. So a response takes as many tokens as it has.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from selfdistill.scoring.attention import attending_as
from selfdistill.scoring.head import Read
from selfdistill.scoring.lengths import layer_count
from selfdistill.scoring.pictures import forward
from selfdistill.scoring.prefix_forms import Asked, Filled, Form, Packed, Padded, Past, Rows, without_gradient
from selfdistill.scoring.prefix_schedule import Body, PrefixSchedule, Wave
from selfdistill.scoring.query import LOGPROBS_ONLY, Query
from selfdistill.scoring.reading import read_forward
from selfdistill.scoring.scores import Scores, Sequences

#: Columns of padding that a forward more must save. In steps of the demo 64 to 1,024 take equally long, and without it
#: half as long again.
WORTH_A_FORWARD = 256


class Forwards(Protocol):
    """A model as it is called here, one forward at a time.

    Attributes:
        form: how rows are laid out.
        device: where its inputs are.
    """

    form: Form
    device: torch.device

    def attending(self) -> AbstractContextManager[None]:
        """Return a context in which the model attends as the form needs it."""

    def fill(self, inputs: dict[str, Any]) -> None:
        """Put rows through the layers, whose keys and values are all that is wanted."""

    def read(self, inputs: dict[str, Any], picked: Tensor, labels: Tensor, query: Query) -> Read:
        """Put rows through the model and read it; arguments as of `scoring.reading.read_forward`."""


@dataclass(frozen=True)
class ModelForwards:
    """A whole model in this process; implements Forwards.

    Attributes:
        model: one that `scoring.sharing.can_share`.
        temperature: divides the logits.
        packed: whether rows are packed one after another, in place of padded.
        worth: as of `PrefixSchedule.response_batches`, of padded rows.
    """

    model: PreTrainedModel
    temperature: float = 1.0
    packed: bool = False
    worth: int | None = WORTH_A_FORWARD

    @property
    def form(self) -> Form:
        """How rows are laid out: packed where the kernels can, else padded, with a mask that eager attention adds."""
        if self.packed:
            return Packed(self.device, layer_count(self.model), self.model.config)
        eager = self.model.config.get_text_config()._attn_implementation == "eager"
        mask = self.model.dtype if eager else None
        layers, config = layer_count(self.model), self.model.config
        return Padded(self.device, layers, added_mask=mask, config=config, worth=self.worth)

    @property
    def device(self) -> torch.device:
        """Returns where the model is."""
        return self.model.device

    def attending(self) -> AbstractContextManager[None]:
        """Return the context in which the model's attention reads rows of this form."""
        return attending_as(self.model, self.form.attention)

    def fill(self, inputs: dict[str, Any]) -> None:
        """Put rows through the layers for their keys and values; what the last layer makes of them is not computed."""
        inputs["past_key_values"].layers[-1].ends = True
        with suppress(Filled):
            forward(self.model, inputs, self.model.base_model)

    def read(self, inputs: dict[str, Any], picked: Tensor, labels: Tensor, query: Query) -> Read:
        """Put rows through the model, and read (M,) labels at the M picked positions, in nats."""
        return read_forward(self.model, inputs, picked, labels, query, temperature=self.temperature)


@torch.no_grad()
def score_with_prefixes(
    forwards: Forwards,
    sequences: Sequences,
    schedule: PrefixSchedule,
    width: int,
    max_tokens: int,
    query: Query = LOGPROBS_ONLY,
) -> Scores:
    """Score responses whose prompts are computed once each.

    Equivalent, but for the tokens that it forwards, to::

        score(model, sequences, width, max_tokens, temperature, query)  # scoring.scorer: each prompt once a response

    Args:
        forwards: of a model that `scoring.sharing.can_share`.
        sequences: N prompts with their responses.
        schedule: of these sequences.
        width: T of the scores, at least the longest response.
        max_tokens: as of `PrefixSchedule.response_batches`. Keys and values of one wave's prompts are held meanwhile.
        query: what is read besides the log-probs; `ids` (N, width, k).

    Returns:
        Scores (N, width), zero behind each response.
    """
    count, device = len(sequences.responses), forwards.device
    whole: dict[str, Tensor] = {"logprobs": torch.zeros(count, width, device=device)}
    with forwards.attending():
        for wave in schedule.waves:
            past = _read_prompts(forwards, schedule, wave)
            for part in _parts(forwards.form, sequences, schedule, wave, past, max_tokens):
                where = torch.tensor(part.rows, device=device)[part.inside.nonzero()[:, 0]], part.inside.nonzero()[:, 1]
                read = forwards.read(part.asked.inputs, part.asked.picked, part.labels, query.part(where))
                for name, value in read._asdict().items():
                    if value is not None:
                        if name not in whole:
                            whole[name] = value.new_zeros(count, width, *value.shape[1:])
                        whole[name][where] = value
    return Scores(**whole, forwarded=schedule.tokens)


def backward_with_prefixes(
    forwards: Forwards,
    sequences: Sequences,
    schedule: PrefixSchedule,
    max_tokens: int,
    loss: Callable[[list[int], Scores], Tensor],
    query: Query = LOGPROBS_ONLY,
) -> None:
    """Add the gradient of a sum of losses to that of the model's parameters, micro-batch by micro-batch; exact.

    What micro-batches give to a prompt's keys and values is added up, and taken back through the prompt once.
    Equivalent to::

        for rows in micro_batches(sequences, max_tokens):
            loss(rows, read_responses(model, sequences, rows, temperature, query.part(rows))).backward()

    Args:
        forwards, sequences, max_tokens, query: as of `score_with_prefixes`.
        schedule: of these sequences, without fronts.
        loss: of some rows, a scalar, from their Scores (rows, T), T their longest response, with gradient.
    """
    with forwards.attending():
        for wave in schedule.waves:
            _backward_wave(forwards, sequences, schedule, wave, max_tokens, loss, query)


def _backward_wave(
    forwards: Forwards,
    sequences: Sequences,
    schedule: PrefixSchedule,
    wave: Wave,
    max_tokens: int,
    loss: Callable[[list[int], Scores], Tensor],
    query: Query,
) -> None:
    """Add one wave's gradient: a call of its own, so that keys and values are gone before the next wave's are made."""
    past = _read_prompts(forwards, schedule, wave)
    apart = without_gradient(past)
    for part in _parts(forwards.form, sequences, schedule, wave, apart, max_tokens):
        of_part = query.part(part.rows).part((slice(None), slice(part.inside.shape[1])))
        read = forwards.read(part.asked.inputs, part.asked.picked, part.labels, of_part.part(part.inside))
        values = {name: part.spread(value) for name, value in read._asdict().items() if value is not None}
        loss(part.rows, Scores(**values)).backward()
    flat = [pair for layers in zip(past.layers, apart.layers, strict=True) for pair in zip(*layers, strict=True)]
    used = [(states, leaf.grad) for states, leaf in flat if leaf.grad is not None and states.requires_grad]
    if used:
        torch.autograd.backward(*zip(*used, strict=True))


@dataclass(frozen=True)
class _Part:
    """Responses of one forward: rows of the sequences, the forward, (N, T) bool real tokens and their ids."""

    rows: list[int]
    asked: Asked
    inside: Tensor
    labels: Tensor

    def spread(self, values: Tensor) -> Tensor:
        """Return the values of the real tokens as (N, T, ...), zero behind each response; keeps gradients."""
        at, rest = self.inside.flatten().nonzero()[:, 0], values.shape[1:]
        return values.new_zeros(self.inside.numel(), *rest).index_copy(0, at, values).view(*self.inside.shape, *rest)


def _parts(
    form: Form, sequences: Sequences, schedule: PrefixSchedule, wave: Wave, past: Past, max_tokens: int
) -> Iterator[_Part]:
    """The responses under a wave's prompts, micro-batch by micro-batch."""
    responses, device = sequences.responses, past.lengths.device
    for batch in schedule.response_batches(wave, sequences, max_tokens, form.worth):
        rows = [row for row, _ in batch]
        read = [(sequences.prompts[row][-1], *responses[row][:-1]) for row in rows]
        asked = form.ask(Rows(read, past, torch.tensor([place for _, place in batch], device=device)))
        inside = torch.arange(max(map(len, read)), device=device) < asked.lengths[:, None]
        labels = torch.tensor([token for row in rows for token in responses[row]], device=device)
        yield _Part(rows, asked, inside, labels)


def _read_prompts(forwards: Forwards, schedule: PrefixSchedule, wave: Wave) -> Past:
    """Keys and values of a wave's prompts, in its order."""
    past = index = None
    if any(wave.fronts):
        past = _extended(forwards, schedule, wave.fronts, None, None)
        index = torch.tensor(wave.front_of, device=forwards.device)
    return _extended(forwards, schedule, wave.rests(schedule.bodies), past, index)


def _extended(
    forwards: Forwards, schedule: PrefixSchedule, rows: Sequence[Body], past: Past | None, index: Tensor | None
) -> Past:
    """Keys and values of rows behind the prefixes `index` of `past`."""
    behind = Rows(rows, past, index, keep=True, pictures=schedule.pictures)
    asked = forwards.form.ask(behind)
    forwards.fill(asked.inputs)
    return forwards.form.past(asked, behind)
