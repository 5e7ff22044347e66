"""Keeps a teacher's weights next to a model in training: copies of this rank's share of each parameter."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from selfdistill.errors import UserError
from selfdistill.files import atomic_path


class TeacherWeights:
    """Weights of a snapshot or of a moving average, for a module that is whole or sharded by FSDP2.

    They are where the parameters were when they were made: on the CPU where parameters are offloaded between steps.
    Their precision is that of the parameters (optimizer.master_dtype, docs/departures.md D5); averages are in float32.
    """

    def __init__(self, module: nn.Module):
        """`module` holds the teacher's first weights now, and is the live source of later blends."""
        self._module = module
        self._own = {name: local.clone() for name, local in self._locals().items()}

    @torch.no_grad()
    def blend(self, decay: float) -> None:
        """own <- decay * own + (1 - decay) * the module's; a plain copy at 0."""
        for name, live in self._locals().items():
            own = self._own[name]
            # The student's share is no larger than the move: bfloat16 would round it away before it is added.
            own.copy_(own.float() * decay + live.float() * (1 - decay) if decay else live)

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """The module has the teacher's weights inside the block, and its own again behind it, bit for bit.

        Parameters may be moved to another device and back meanwhile. The block must not train the module.
        """
        kept = {name: local.clone() for name, local in self._locals().items()}
        self._write(self._own)
        try:
            yield
        finally:
            self._write(kept)

    def save(self, folder: Path, rank: int, world: int) -> None:
        """Write this rank's weights as a file of their own into a checkpoint's folder."""
        with atomic_path(_file(folder, rank, world)) as temporary:
            save_file({name: own.contiguous() for name, own in self._own.items()}, temporary)

    def load(self, folder: Path, rank: int, world: int) -> None:
        """The inverse of save().

        Raises UserError where the checkpoint has no such file, was written by another number of ranks, or belongs to
        another model.
        """
        path = _file(folder, rank, world)
        if not path.is_file():
            others = sorted(each.name for each in Path(folder).glob("teacher_rank_*_of_*.safetensors"))
            found = f"it has {', '.join(others[:3])}" if others else "it has no teacher's weights at all"
            raise UserError(
                f"{path}: expected the teacher's weights of rank {rank} of {world}, but {found}; resume on as many "
                "GPUs as wrote the checkpoint and with the same teacher.kind, or begin the run anew"
            )
        stored = load_file(path)
        shapes = {name: tuple(own.shape) for name, own in self._own.items()}
        if {name: tuple(value.shape) for name, value in stored.items()} != shapes:
            raise UserError(f"{path}: its tensors are not those of the model in training; resume with the same model")
        for name, own in self._own.items():
            own.copy_(stored[name])

    @torch.no_grad()
    def _write(self, weights: dict[str, Tensor]) -> None:
        for name, local in self._locals().items():
            local.copy_(weights[name])

    @torch.no_grad()
    def _locals(self) -> dict[str, Tensor]:
        """This rank's part of each parameter, sharing its memory as long as nobody moves the module."""
        for each in self._module.modules():
            if isinstance(each, FSDPModule):
                each.reshard()  # whole parameters, if a forward left any, would be taken for parts, and used again
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # verl moves offloaded parameters to the CPU without waiting for them
        return {
            name: parameter.to_local() if isinstance(parameter, DTensor) else parameter.detach()
            for name, parameter in self._module.named_parameters()
        }


def _file(folder: Path, rank: int, world: int) -> Path:
    return Path(folder) / f"teacher_rank_{rank}_of_{world}.safetensors"
