"""Implements the engine of the local trainer: model, teacher and initial weights in this process."""

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import PreTrainedModel

from selfdistill.objectives.batch import Batch, Student, Targets
from selfdistill.objectives.methods import Method
from selfdistill.scoring.pictures import freeze_vision_tower
from selfdistill.scoring.scorer import ModelScorer, micro_batches, read_responses, token_budget, worthwhile_schedule
from selfdistill.scoring.scores import Scores, Sequences
from selfdistill.scoring.shared_prefixes import ModelForwards, backward_with_prefixes
from selfdistill.signals.teachers import Teacher, frozen_copy
from selfdistill.study.run_settings import OptimizerSettings
from selfdistill.study.teacher_settings import TeacherSettings
from selfdistill.training.update import Sums, added, micro_batch_update, read_by_loss


class LocalEngine:
    """Implements training.engine.Engine. Its state belongs into checkpoints."""

    def __init__(
        self,
        model: PreTrainedModel,
        method: Method,
        teacher: TeacherSettings,
        optimizer: OptimizerSettings,
        *,
        micro_batch_tokens: int,
        temperature: float,
        keep_initial: bool,
        external: Mapping[str, PreTrainedModel] | None = None,
    ):
        """Make an engine of a model that holds the initial weights now.

        Args:
            model: what is trained.
            method: whose loss it is.
            teacher, optimizer: their settings.
            micro_batch_tokens, temperature: as of `scoring.scorer.ModelScorer`.
            keep_initial: whether anyone will ask for scores of the initial weights.
            external: "teacher" and "reference" -> another model, as `teacher.models` names them; in no state.
        """
        external = dict(external or {})
        self.model, self._method = model, method
        if optimizer.freeze_vision_tower:
            freeze_vision_tower(model)
        self._budget, self._temperature, self._max_grad_norm = micro_batch_tokens, temperature, optimizer.max_grad_norm
        self._teacher = Teacher(teacher, model, model.dtype, external.get("teacher"))
        self._initial = frozen_copy(model, model.dtype) if keep_initial else None
        self._reference = external.get("reference", self._initial)
        self._optimizer = torch.optim.AdamW(
            [each for each in model.parameters() if each.requires_grad],
            lr=optimizer.learning_rate,
            weight_decay=optimizer.weight_decay,
            betas=(0.9, 0.999),
        )

    @property
    def device(self) -> torch.device:
        """Returns where the model and the tensors of a step are."""
        return self.model.device

    def scorer(self, who: str) -> ModelScorer:
        """Return a scorer over the weights of one of `training.engine.WHO` as they are now."""
        models = {
            "student": self.model,
            "teacher": self._teacher.model,
            "initial": self._initial,
            "reference": self._reference,
        }
        return ModelScorer(models[who], self._budget, self._temperature)

    def update(
        self, sequences: Sequences, batch: Batch, targets: Targets, kl_weights: Tensor, learning_rate: float
    ) -> tuple[Sums, float]:
        """Take one AdamW step on the rows given, its gradient clipped; returns the sums and the unclipped norm."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.zero_grad(set_to_none=True)
        sums = self.backward(sequences, batch, targets, kl_weights)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._max_grad_norm)
        if torch.isfinite(norm):
            self._optimizer.step()
        return sums, float(norm)

    def backward(self, sequences: Sequences, batch: Batch, targets: Targets, kl_weights: Tensor) -> Sums:
        """Add the gradient of the loss of all rows to the parameters', micro-batch by micro-batch."""
        query, parts = read_by_loss(self._method, batch), []

        def loss(rows: list[int], read: Scores) -> Tensor:
            index, width = torch.tensor(rows, device=batch.advantages.device), read.logprobs.shape[1]
            part, part_targets = batch.rows(index).narrowed(width), targets.rows(index).narrowed(width)
            student = Student(read.logprobs, read.support, read.entropy)
            value, sums = micro_batch_update(self._method, student, part, part_targets, kl_weights[index, :width])
            parts.append(sums)
            return value

        schedule = worthwhile_schedule(self.model, sequences, self._budget, fronts=False)
        if schedule is not None:
            forwards = ModelForwards(self.model, self._temperature)
            backward_with_prefixes(forwards, sequences, schedule, self._budget, loss, query)
            return added(parts)
        for rows in micro_batches(sequences, token_budget(self.model, sequences, self._budget)):
            read = read_responses(self.model, sequences, rows, self._temperature, query.part(rows))
            loss(rows, read).backward()
        return added(parts)

    def tick(self, clock: str) -> None:
        """Count a finished step of a clock; the teacher's schedule says whether its weights move."""
        self._teacher.tick(clock)

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Weights, optimizer and teacher, as named tensors."""
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        optimizer = {
            f"{names[parameter]}.{key}": torch.as_tensor(value)
            for parameter, state in self._optimizer.state.items()
            for key, value in state.items()
        }
        weights = {name: parameter.detach() for name, parameter in self.model.named_parameters()}
        return {"weights": weights, "optimizer": optimizer, "teacher": self._teacher.state_dict()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Restore what state_dict() gave, to the last bit; tensors that a state lacks stay as they are."""
        for name, parameter in self.model.named_parameters():
            parameter.copy_(state["weights"][name])
            prefix = f"{name}."
            entries = {key.removeprefix(prefix): v for key, v in state["optimizer"].items() if key.startswith(prefix)}
            if entries:
                self._optimizer.state[parameter] = {
                    key: value.clone() if key == "step" else value.to(parameter.device).clone()
                    for key, value in entries.items()
                }
        self._teacher.load_state_dict(state["teacher"])
