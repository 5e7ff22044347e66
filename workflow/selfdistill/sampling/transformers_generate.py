"""Samples with transformers' generate, for any model that it can run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel

from selfdistill.models.finite import why_not_finite
from selfdistill.randomness import Key, seed_of
from selfdistill.sampling.interface import Rollout, SamplingSettings, not_finite
from selfdistill.scoring.head import without
from selfdistill.scoring.manner import check_rotation, manner_of
from selfdistill.scoring.pictures import (
    banned_columns,
    banned_ids,
    check_rows,
    features_given,
    pictures_in,
)
from selfdistill.scoring.prompts import keyed, pictures_of


class TransformersGenerate:
    """Sampler over PreTrainedModel.generate. Draws come from torch's global generator, seeded by the batch's first key.

    they are reproducible, but unlike the own loop's they depend on which prompts share a batch.
    """

    def __init__(self, model: PreTrainedModel, pad_id: int, end_ids: Sequence[int], max_rows: int = 64):
        self._model, self._pad_id, self._end_ids, self._max_rows = model, pad_id, sorted(end_ids), max_rows

    @torch.no_grad()
    def sample(
        self, prompts: Sequence[Sequence[int]], settings: SamplingSettings, keys: Sequence[tuple[Key, ...]]
    ) -> list[Rollout]:
        """Draw a response to every prompt by transformers' `generate`; a batch's random numbers are its first key's."""
        check_rotation(self._model.config, max(map(len, prompts), default=0) + settings.max_response_tokens)
        was_training = self._model.training
        self._model.eval()
        devices = [self._model.device] if self._model.device.type == "cuda" else []
        # generate takes what a config leaves unset from the model's own: a repetition penalty would enter unseen.
        recommended, self._model.generation_config = self._model.generation_config, GenerationConfig()
        try:
            rollouts: dict[int, Rollout] = {}
            with torch.random.fork_rng(devices):
                for rows in self._batches(prompts):
                    torch.manual_seed(seed_of(*keys[rows[0]]))
                    drawn = self._sample_batch([prompts[row] for row in rows], settings)
                    rollouts |= zip(rows, drawn, strict=True)
            return [rollouts[row] for row in range(len(prompts))]
        finally:
            self._model.generation_config = recommended
            self._model.train(was_training)

    def _batches(self, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        """Rows of each batch, in order; of a model that padding disturbs, prompts of one length only."""
        groups: dict[int, list[int]] = {}
        together = manner_of(self._model).together
        for row, prompt in enumerate(prompts):
            groups.setdefault(0 if together else len(prompt), []).append(row)
        return [
            rows[begin : begin + self._max_rows]
            for rows in groups.values()
            for begin in range(0, len(rows), self._max_rows)
        ]

    def _sample_batch(self, prompts, settings: SamplingSettings) -> list[Rollout]:
        width = max(map(len, prompts))
        input_ids = torch.full((len(prompts), width), self._pad_id)
        attention_mask = torch.zeros((len(prompts), width), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            input_ids[row, width - len(prompt) :] = torch.tensor(prompt)
            attention_mask[row, width - len(prompt) :] = 1
        with self._pictures(prompts, input_ids) as told:
            output = self._model.generate(
                input_ids=input_ids.to(self._model.device),
                attention_mask=attention_mask.to(self._model.device),
                generation_config=self._generation_config(settings),
                logits_processor=LogitsProcessorList([_Finite(self._model)]),
                **told,
            )
        banned = banned_columns(self._model.config, self._model.device)
        tokens = output.sequences[:, width:]
        rollouts = []
        for row in range(len(prompts)):
            ids = tokens[row].tolist()
            end = next((i + 1 for i, token in enumerate(ids) if token in self._end_ids), None)
            ids = ids[: end or settings.max_response_tokens]
            logits = torch.stack([step[row] for step in output.logits[: len(ids)]]).float()
            logprobs = torch.log_softmax(without(logits / (settings.temperature or 1.0), banned), dim=-1)
            entropies = -(logprobs.exp() * logprobs).sum(dim=-1)
            drawn = logprobs.gather(-1, torch.tensor(ids, device=logprobs.device)[:, None])[:, 0]
            rollouts.append(Rollout(ids, _float32(drawn), _float32(entropies), "stop" if end else "length"))
        return rollouts

    @contextmanager
    def _pictures(self, prompts, input_ids: torch.Tensor) -> Iterator[dict[str, torch.Tensor]]:
        """Returns what generate is told of the prompts' pictures, whose features it has inside the block."""
        check_rows(self._model.config, [keyed(prompt) for prompt in prompts], pictures_in(prompts))
        pictures = [picture for prompt in prompts for picture in pictures_of(prompt)]
        if not pictures:
            yield {}
            return
        device = self._model.device
        with features_given(self._model, pictures):
            yield {
                "pixel_values": torch.empty(0, device=device),
                "image_grid_thw": torch.tensor([picture.grid for picture in pictures], device=device),
                "mm_token_type_ids": (input_ids == self._model.config.image_token_id).int().to(device),
            }

    def _generation_config(self, settings: SamplingSettings) -> GenerationConfig:
        filters = {"temperature": settings.temperature, "top_p": settings.top_p, "top_k": settings.top_k}
        return GenerationConfig(
            do_sample=settings.temperature > 0,
            max_new_tokens=settings.max_response_tokens,
            pad_token_id=self._pad_id,
            eos_token_id=self._end_ids,
            return_dict_in_generate=True,
            output_logits=True,
            **({"suppress_tokens": list(banned)} if (banned := banned_ids(self._model.config)) else {}),
            **(filters if settings.temperature > 0 else {}),
        )


class _Finite(LogitsProcessor):
    """Stops at logits that nothing can be drawn from; generate would fail in its own words, or give token 0."""

    def __init__(self, model: PreTrainedModel):
        self._model = model

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if not torch.isfinite(scores.amax(dim=-1)).all():
            raise not_finite(self._model.name_or_path or type(self._model).__name__, why_not_finite(self._model))
        return scores


def _float32(values: torch.Tensor) -> np.ndarray:
    return values.cpu().numpy().astype(np.float32)
