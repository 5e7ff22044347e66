"""Reads log-probs and distributions in verl's FSDP engine with our output head, never the logits of a batch."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from tensordict import TensorDict
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel
from verl.utils import tensordict_utils
from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

from selfdistill.errors import UserError
from selfdistill.models.finite import refuse_not_finite
from selfdistill.models.first_day import check_model, remark
from selfdistill.scoring.head import Read, read
from selfdistill.scoring.pictures import banned_ids, freeze_vision_tower, reads_pictures
from selfdistill.scoring.query import Query
from selfdistill.training.verl.picture_inputs import PICTURES, PictureInputs
from selfdistill.training.verl.shared_prompts import SHARED, autocast, prove_sharing, score_shared
from selfdistill.training.verl.wire import (
    ENTROPY,
    LOGPROBS,
    OTHER_STATES,
    READ_IDS,
    STATES,
    SUPPORT,
    SUPPORT_IDS,
    has_entropy_bonus,
    reads_full_vocabulary,
)

#: The name under which verl finds the engine.
VENDOR = "selfdistill"


@dataclass(frozen=True)
class _Request:
    """Holds what is to be read of one forward.

    Attributes:
        size: positions of the forward.
        positions: (M,) where it is read.
        labels: (M,) the tokens that follow there.
        query: what is read besides their log-probs; `ids` (M, k).
        states_only: whether the hidden states are wanted, and nothing that is made of them.
        others: (M, H) hidden states of another model, whose logits are mixed with this one's; None: nothing is mixed.
        settings: temperature, rows and banned of `head.read`.
    """

    size: int
    positions: Tensor
    labels: Tensor
    query: Query
    settings: dict[str, Any]
    states_only: bool = False
    others: Tensor | None = None


@dataclass(frozen=True)
class OutputLayer:
    """The output layer of a model, whole: weight (V, H), bias (V,) or None."""

    weight: Tensor
    bias: Tensor | None


class ResponseHead:
    """Stands in for the `forward` of a model's output layer: reads requested positions in place of making logits.

    The layer itself stays as it is, name and weights included. It runs inside the root module's forward, where FSDP has
    its weights in one piece; what it returns goes through the model as `logits`, untouched. (A model that computes
    with its logits, as by soft capping, fails on the tuple: its log-probs would be wrong ones.)
    """

    def __init__(self, layer: nn.Linear):
        self._layer = layer
        self._request: _Request | None = None
        #: The layer as the last forward for states alone had it; of FSDP, it is in one piece inside a forward only.
        self.whole: OutputLayer | None = None
        self._mixed: tuple[OutputLayer, float] | None = None

    def ask(self, request: _Request) -> None:
        """What the next forward is to read."""
        self._request = request

    def __call__(self, hidden: Tensor) -> Read:
        """`hidden` (rows, positions, H) of all positions of a forward."""
        request, self._request = self._request, None
        if request is None:
            raise RuntimeError("the model was called without a request of what to read")
        if isinstance(self._layer.weight, DTensor):
            raise UserError("the model's output layer is split over ranks: set every tensor parallel size of it to 1")
        states = hidden.reshape(-1, hidden.shape[-1])
        if len(states) != request.size:
            raise RuntimeError(f"the output layer was given {len(states)} positions, the forward has {request.size}")
        picked, layer = states[request.positions], OutputLayer(self._layer.weight, self._layer.bias)
        if request.states_only:
            if self.whole is None:
                self.whole = OutputLayer(*(None if each is None else each.detach().clone() for each in _parts(layer)))
            return Read(picked.new_zeros(len(picked)), support=picked)
        if request.others is not None:
            picked, layer = self._both(request.others.to(picked), picked, layer)
        return read(picked, layer.weight, request.labels, request.query, bias=layer.bias, **request.settings)

    @contextmanager
    def mixing(self, first: OutputLayer, share: float) -> Iterator[None]:
        """Inside the block, logits are (1 - share) of another model's, which has this layer, and share of this one's.

        Each request then has that model's states.
        """
        self._mixed = first, share
        try:
            yield
        finally:
            self._mixed = None

    def _both(self, others: Tensor, own: Tensor, layer: OutputLayer) -> tuple[Tensor, OutputLayer]:
        """Two heads as one: [(1 - share) h, share h'] [W, W']^T are the mixed logits, made chunk by chunk as any."""
        if self._mixed is None:
            raise RuntimeError("another model's states were given, but not its output layer")
        first, share = self._mixed
        states = torch.cat([others * (1 - share), own * share], dim=-1)
        bias = None if layer.bias is None else torch.lerp(first.bias, layer.bias, share)
        return states, OutputLayer(torch.cat([first.weight.to(layer.weight), layer.weight], dim=-1), bias)


class SelfDistillEngine(FSDPEngineWithLMHead):
    """Gives log_probs, and support, support_ids and entropy where asked, as nested tensors over the responses.

    What a TensorDict asks for, beside the fields of `wire`: temperature; read_top_k (support at so many ids that the
    model finds most likely, 0: the full vocabulary) and read_entropy, both optional; head_rows (at most so many rows of
    logits are held at once); use_remove_padding (packed or padded).

    A row that is longer than max_token_len_per_gpu has a micro-batch to itself, as in the local trainer.
    """

    #: Whether the vision tower of a model that reads pictures stays as it is; the worker says so before it makes one.
    freezes_vision_tower = False

    def __init__(self, model_config: Any, engine_config: Any, *args: Any, **kwargs: Any):
        _refuse_unsupported(model_config, engine_config)
        self._proved: set[str] = set()  # forms in which prompts have been shared without harm
        super().__init__(model_config, engine_config, *args, **kwargs)

    def _build_module(self) -> nn.Module:
        module = super()._build_module()
        _try(module, self.model_config.path)
        layer = module.get_output_embeddings()
        if not isinstance(layer, nn.Linear):
            raise UserError(f"{self.model_config.path}: no linear output layer found; expected a causal language model")
        self._head = ResponseHead(layer)
        layer.forward = self._head
        self._banned = banned_ids(module.config)
        #: Of a model that reads pictures, what it is given of them.
        self.pictures = PictureInputs(module, self.model_config.local_path) if reads_pictures(module.config) else None
        if self.freezes_vision_tower and not self.engine_config.forward_only:
            freeze_vision_tower(module)
        return module

    def forward_backward_batch(self, data: TensorDict, loss_function: Callable | None, forward_only: bool = False):
        if forward_only and SHARED in data and OTHER_STATES not in data and "read_states" not in data:
            form, group = (
                tensordict_utils.get_non_tensor_data(data, SHARED, default="none"),
                self.get_data_parallel_group(),
            )
            if form not in self._proved:
                prove_sharing(self, data, self._device, group)
                self._proved.add(form)
            return score_shared(self, data, _query(data, self._banned)[0], self._device, group)
        if tensordict_utils.get_non_tensor_data(data, "use_dynamic_bsz", default=True):
            longest = data["input_ids"].offsets().diff().max().to(self._device)
            torch.distributed.all_reduce(
                longest, op=torch.distributed.ReduceOp.MAX, group=self.get_data_parallel_group()
            )
            budget = tensordict_utils.get_non_tensor_data(data, "max_token_len_per_gpu", default=0)
            tensordict_utils.assign_non_tensor(data, max_token_len_per_gpu=max(budget, int(longest)))
        return super().forward_backward_batch(data, loss_function, forward_only=forward_only)

    def prepare_model_inputs(self, micro_batch: TensorDict):
        inputs, output_args = super().prepare_model_inputs(micro_batch)
        rows, width = inputs["input_ids"].shape  # one row where packed
        prompts, responses = micro_batch["prompts"], micro_batch["responses"]
        if tensordict_utils.get_non_tensor_data(micro_batch, "use_remove_padding", default=True):
            begins = micro_batch["input_ids"].offsets()[:-1]
        else:
            begins = torch.arange(rows, device=responses.device) * width
        offsets = responses.offsets()
        # A token is predicted one position before its own.
        firsts = begins + prompts.offsets().diff() - 1 - offsets[:-1]
        positions = torch.arange(int(offsets[-1]), device=offsets.device)
        positions = positions + firsts.repeat_interleave(offsets.diff())
        if self.pictures is not None:
            packed = tensordict_utils.get_non_tensor_data(micro_batch, "use_remove_padding", default=True)
            inputs |= self.pictures.ask(micro_batch, packed=packed)
        elif PICTURES in micro_batch:
            raise UserError(
                f"{self.model_config.path}: rows have pictures, but the model reads none; take a model that does"
            )
        others = micro_batch.get(OTHER_STATES, None)
        request = _Request(
            rows * width,
            positions,
            responses.values(),
            *_query(micro_batch, self._banned),
            states_only=tensordict_utils.get_non_tensor_data(micro_batch, "read_states", default=False),
            others=None if others is None else others.values(),
        )
        self._head.ask(request)
        return inputs, output_args

    def prepare_model_outputs(self, output: Any, output_args: Any, micro_batch: TensorDict, logits_processor_func: Any):
        read_tokens, offsets = output.logits, micro_batch["responses"].offsets()
        if tensordict_utils.get_non_tensor_data(micro_batch, "read_states", default=False):
            return {STATES: torch.nested.nested_tensor_from_jagged(read_tokens.support, offsets)}
        values = {LOGPROBS: read_tokens.logprobs, SUPPORT: read_tokens.support, ENTROPY: read_tokens.entropy}
        if READ_IDS not in micro_batch:
            values[SUPPORT_IDS] = read_tokens.ids  # whoever gave ids has them
        return {
            key: torch.nested.nested_tensor_from_jagged(value, offsets)
            for key, value in values.items()
            if value is not None
        }

    def read(self, inputs: dict[str, Any], picked: Tensor, labels: Tensor, query: Query, data: TensorDict) -> Read:
        """Put rows of one's own through the model, as `shared_prompts` does; its forwards are like verl's otherwise."""
        _, settings = _query(data, self._banned)
        if self.pictures is not None:
            inputs = self.pictures.with_pixels(inputs)
        self._head.ask(_Request(inputs["input_ids"].numel(), picked, labels, query, settings))
        with torch.no_grad(), autocast(self, self._device):
            return self.module(**inputs).logits

    @property
    def head(self) -> ResponseHead:
        """Returns what stands in for the output layer."""
        return self._head

    @property
    def _device(self) -> torch.device:
        return torch.device(self.device_mesh.device_type)


def _parts(layer: OutputLayer) -> tuple[Tensor, Tensor | None]:
    return layer.weight, layer.bias


@functools.cache
def register() -> None:
    """Make verl find the engine: VERL_ENGINE_VENDOR=selfdistill."""
    EngineRegistry.register("language_model", backend=["fsdp", "fsdp2"], device=["cuda", "cpu"], vendor=VENDOR)(
        SelfDistillEngine
    )


def _query(micro_batch: TensorDict, banned: Sequence[int]) -> tuple[Query, dict[str, Any]]:
    """Returns what a micro-batch asks for, and the settings of `head.read`; `banned` ids are in no distribution."""

    def given(key: str, default: Any) -> Any:
        return tensordict_utils.get_non_tensor_data(micro_batch, key, default=default)

    ids = micro_batch.get(READ_IDS, None)
    query = Query(
        top_k=0 if reads_full_vocabulary(micro_batch) else given("read_top_k", None),
        ids=None if ids is None else ids.values(),
        entropy=given("read_entropy", False) or has_entropy_bonus(micro_batch),
    )
    settings = {"temperature": given("temperature", 1.0), "rows": given("head_rows", None)}
    if banned:
        settings["banned"] = torch.tensor(banned, device=micro_batch["responses"].device)
    return query, settings


def _try(module: nn.Module, path: str) -> None:
    """Raises UserError where weights are not finite, or short rows say that the model cannot be batched as verl does.

    On ranks whose weights are still to come from the first one there is nothing to try.
    """
    if not isinstance(module, PreTrainedModel) or any(each.is_meta for each in module.parameters()):
        return
    refuse_not_finite(path, module.named_parameters(), "take weights that are finite, or fetch them again")
    config = module.config.get_text_config()
    attention = config._attn_implementation
    config._attn_implementation = "sdpa" if module._supports_sdpa else "eager"  # flash attention does no float32
    try:
        objection = remark(module, check_model(module))
    finally:
        config._attn_implementation = attention
    if objection is not None:
        raise UserError(
            f"{path}: {objection}; verl batches rows of all lengths: take another model, or the local trainer"
        )


def _refuse_unsupported(model: Any, engine: Any) -> None:
    """Raises UserError for settings of verl under which the head would not see what it must."""
    refused = {
        f"fsdp_config.strategy={engine.strategy}": engine.strategy != "fsdp2",
        "fsdp_config.ulysses_sequence_parallel_size > 1": engine.ulysses_sequence_parallel_size > 1,
        "fsdp_config.pad_to_length": engine.pad_to_length,
        "model.use_fused_kernels": model.use_fused_kernels,
        "model.lora_rank > 0": model.lora_rank > 0,
        "model.lora_adapter_path": bool(model.lora_adapter_path),
    }
    if present := [name for name, bad in refused.items() if bad]:
        raise UserError(
            f"verl config: {', '.join(present)} cannot be used with self-distillation's output head; "
            "remove it (strategy must be fsdp2)"
        )
