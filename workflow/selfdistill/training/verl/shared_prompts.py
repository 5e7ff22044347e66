"""Scores rows whose prompts are computed once each, in verl's engine, by forwards of our own.

verl's engine makes one forward of whole rows of each micro-batch; keys and values that outlive a forward have no place
in it. Here prompts are put through the model first, and then responses behind them, as the local trainer does it
(scoring.shared_prefixes). FSDP gathers weights in each forward, so all ranks make equally many: a rank that is done
early goes on with a token that nobody reads.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
import torch.distributed
from tensordict import TensorDict
from torch import Tensor
from transformers import PreTrainedModel
from verl.utils import tensordict_utils

from selfdistill.errors import UserError
from selfdistill.scoring.attention import attending_as, sees_its_whole_past
from selfdistill.scoring.head import Read
from selfdistill.scoring.lengths import layer_count
from selfdistill.scoring.manner import rounding_in
from selfdistill.scoring.prefix_forms import Form, Packed, Padded, Rows
from selfdistill.scoring.prefix_schedule import schedule_prefixes
from selfdistill.scoring.query import LOGPROBS_ONLY, Query
from selfdistill.scoring.scores import Sequences
from selfdistill.scoring.shared_prefixes import score_with_prefixes
from selfdistill.scoring.sharing import short_rows
from selfdistill.training.verl.picture_inputs import PictureInputs
from selfdistill.training.verl.wire import ENTROPY, LOGPROBS, SUPPORT, SUPPORT_IDS, pack_scores_request, padded

#: Key of a request: "padded" or "packed" (study.run_settings), with at most so many tokens a forward.
SHARED, SHARED_TOKENS = "shared_prompts", "shared_prompts_tokens"

#: Of the rows that are tried.
_TRIAL_TOKENS = 1000


class ReadingEngine(Protocol):
    """Holds what is asked of verl's engine.

    Attributes:
        module: the model, sharded or not.
        pictures: of a model that reads pictures, what it is given of them.
    """

    module: PreTrainedModel
    pictures: PictureInputs | None

    def read(self, inputs: dict[str, Any], picked: Tensor, labels: Tensor, query: Query, data: TensorDict) -> Read:
        """Put rows through the model and read it; `data` has temperature and head_rows."""

    def forward_backward_batch(self, data: TensorDict, loss_function: None, forward_only: bool) -> dict:
        """Score whole rows, as verl does."""


@dataclass(frozen=True)
class EngineForwards:
    """The model of verl's engine; implements scoring.shared_prefixes.Forwards.

    Attributes:
        engine: its engine.
        data: the request.
        device: of its inputs.
        packed: whether rows are packed one after another.
    """

    engine: ReadingEngine
    data: TensorDict
    device: torch.device
    packed: bool

    @cached_property
    def form(self) -> Form:
        """Return how rows are laid out: packed one after another, or padded for PyTorch's own attention."""
        layers, config = layer_count(self.engine.module), self.engine.module.config
        if self.packed:
            return Packed(self.device, layers, config)
        return Padded(self.device, layers, attention="sdpa", config=config)

    def attending(self) -> AbstractContextManager[None]:
        """Return the context in which the module's attention reads rows of this form."""
        return attending_as(self.engine.module, self.form.attention)

    def fill(self, inputs: dict[str, Any]) -> None:
        """Put rows through the whole module for their keys and values (FSDP gathers weights for it); read nothing."""
        nothing = torch.zeros(0, dtype=torch.int64, device=self.device)
        self.read(inputs, nothing, nothing, LOGPROBS_ONLY)

    def read(self, inputs: dict[str, Any], picked: Tensor, labels: Tensor, query: Query) -> Read:
        """Put rows through verl's engine, and read (M,) labels at the M picked positions, in nats."""
        return self.engine.read(inputs, picked, labels, query, self.data)


def score_shared(engine: ReadingEngine, data: TensorDict, query: Query, device: torch.device, group: Any) -> dict:
    """Score this rank's rows, their prompts computed once each; to be called by all ranks of the group.

    Args:
        engine: whose model it is.
        data: a request of `wire.pack_scores_request` with SHARED and SHARED_TOKENS.
        query: of the request; its ids (tokens, k) flat.
        device: of the model's inputs.
        group: the data-parallel ranks.

    Returns:
        What verl's engines return: nested tensors over the responses under "model_output".
    """
    sequences = sequences_of(data)
    if engine.pictures is not None:
        sequences = Sequences(engine.pictures.prompts(data), sequences.responses)
    budget = tensordict_utils.get_non_tensor_data(data, SHARED_TOKENS, default=0)
    form = tensordict_utils.get_non_tensor_data(data, SHARED, default="none")
    lengths = torch.tensor([len(each) for each in sequences.responses], device=device)
    width = int(lengths.max())
    inside = torch.arange(width, device=device) < lengths[:, None]
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    if query.ids is not None:
        query = query.at(padded(torch.nested.nested_tensor_from_jagged(query.ids.to(device), offsets)))
    forwards = EngineForwards(engine, data, device, packed=form == "packed")
    schedule = schedule_prefixes(sequences, budget)
    own = torch.tensor(schedule.forwards(sequences, budget), device=device)
    most = own.clone()
    torch.distributed.all_reduce(most, op=torch.distributed.ReduceOp.MAX, group=group)
    scores = score_with_prefixes(forwards, sequences, schedule, width, budget, query)
    with forwards.attending():
        for _ in range(int(most - own)):
            forwards.fill(forwards.form.ask(Rows([[0]])).inputs)
    names = {LOGPROBS: scores.logprobs, SUPPORT: scores.support, ENTROPY: scores.entropy}
    if query.ids is None:
        names[SUPPORT_IDS] = scores.ids
    outputs = {
        name: torch.nested.nested_tensor_from_jagged(value[inside], offsets)
        for name, value in names.items()
        if value is not None
    }
    return {"model_output": outputs, "loss": [0.0], "metrics": {}}


def sequences_of(data: TensorDict) -> Sequences:
    """Return the prompts and responses of a request."""
    return Sequences(*([row.tolist() for row in data[name].unbind()] for name in ("prompts", "responses")))


def prove_sharing(engine: ReadingEngine, data: TensorDict, device: torch.device, group: Any) -> None:
    """Score some short rows plainly and with shared prompts, under the weights, precision and kernels of a request.

    To be called by all ranks of the group, whose rows are the same.

    Raises:
        UserError: where the scores differ by more than rounding, or the model cannot be given keys and values so.
    """
    module, form = engine.module, tensordict_utils.get_non_tensor_data(data, SHARED, default="none")
    rows = short_rows(module)
    width = max(map(len, rows.responses))
    options = {name: data[name] for name in ("temperature", "head_rows", "use_remove_padding") if name in data}
    options |= {"use_dynamic_bsz": True, "max_token_len_per_gpu": _TRIAL_TOKENS, "compute_loss": False}

    def logprobs(reply: dict) -> Tensor:
        return padded(reply["model_output"][LOGPROBS], width)

    why = "a model with full attention is needed"
    # Of models that read pictures it is known; verl's forward of them does not name the positions that it takes.
    if engine.pictures is not None or sees_its_whole_past(module):
        asked = tensordict_utils.assign_non_tensor(pack_scores_request(rows), **options)
        plain = logprobs(engine.forward_backward_batch(asked, None, forward_only=True))
        shared = tensordict_utils.assign_non_tensor(
            pack_scores_request(rows), **options, **{SHARED: form, SHARED_TOKENS: _TRIAL_TOKENS}
        )
        found = logprobs(score_shared(engine, shared, LOGPROBS_ONLY, device, group))
        apart = float((found - plain).abs().max())
        dtype = getattr(engine, "_autocast_dtype", torch.bfloat16)
        if apart <= rounding_in(dtype):
            return
        why = f"its log-probs are {apart:.2g} nats off in a trial of short rows"
    raise UserError(f"verl.shared_prompts: {form}: {module.config.get_text_config().model_type}: {why}; set it to none")


def autocast(engine: Any, device: torch.device) -> AbstractContextManager:
    """Return the context in which verl's engine runs its model: its mixed precision."""
    dtype = getattr(engine, "_autocast_dtype", torch.bfloat16)
    return nullcontext() if dtype == torch.float32 else torch.autocast(device_type=device.type, dtype=dtype)
