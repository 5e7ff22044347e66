"""Declares what a training step needs of a trainer: scores under some weights, and one step of the optimizer."""

from typing import Protocol

import torch
from torch import Tensor

from selfdistill.objectives.batch import Batch, Targets
from selfdistill.scoring.scores import Scorer, Sequences
from selfdistill.training.update import Sums

#: Whose scores can be asked for: the model in training, the method's teacher, the run's initial weights, and what the
#: teacher is compared with (`teacher.reference`).
WHO = ("student", "teacher", "initial", "reference")


class Engine(Protocol):
    """Weights in training and those that watch them, in this process or on a cluster."""

    @property
    def device(self) -> torch.device:
        """Returns where the tensors of a step are."""

    def scorer(self, who: str) -> Scorer:
        """Return the weights of one of WHO as they are now, at the rollout temperature."""

    def update(
        self, sequences: Sequences, batch: Batch, targets: Targets, kl_weights: Tensor, learning_rate: float
    ) -> tuple[Sums, float]:
        """Take one step of the optimizer, on rows of a global batch: those that carry any weight.

        Args:
            sequences, batch, targets: the rows.
            kl_weights: (B, T) as of objectives.methods.micro_batch_loss.
            learning_rate: of this step.

        Returns:
            Sums over all micro-batches, and the norm of the gradient before it was clipped. Where the norm is not
            finite no step was made: weights and the optimizer's state are as before.
        """

    def tick(self, clock: str) -> None:
        """Tell the teacher that the student has finished a step of the given clock (study.teacher_settings.CLOCKS)."""
