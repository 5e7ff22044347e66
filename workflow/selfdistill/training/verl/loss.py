"""Computes a method's loss as verl's engine calls it, micro-batch by micro-batch."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tensordict import TensorDict
from torch import Tensor

from selfdistill.objectives.batch import Student
from selfdistill.objectives.methods import Method, build_method
from selfdistill.training.update import micro_batch_update
from selfdistill.training.verl.wire import ENTROPY, LOGPROBS, SUMS, SUPPORT, padded, unpack_update


@dataclass(frozen=True)
class Loss:
    """The loss of a method; what is shipped to the workers are its name and settings.

    Attributes:
        implementation, objective: as of `objectives.methods.build_method`.
    """

    implementation: str
    objective: dict[str, Any]

    def __call__(
        self, model_output: dict[str, Tensor], data: TensorDict, dp_group: Any = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """The share of the global loss that these rows have, and sums for the log.

        The share is multiplied by the number of data-parallel ranks, over which FSDP takes the mean of gradients: the
        weights that came with the rows have the denominators of the global batch already.
        """
        batch, targets, kl_weights = unpack_update(data)
        more = [None if (value := model_output.get(key)) is None else padded(value) for key in (SUPPORT, ENTROPY)]
        student = Student(padded(model_output[LOGPROBS]), *more)
        loss, sums = micro_batch_update(self._method, student, batch, targets, kl_weights)
        return loss * data["dp_size"], {SUMS: sums}

    @cached_property
    def _method(self) -> Method:
        return build_method(self.implementation, self.objective)
