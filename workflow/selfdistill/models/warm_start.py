"""Trains a base model on demonstrations (supervised), as for the checkpoints under resources/."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from selfdistill.models.chat import DEFAULT, ChatSettings, encode_chat, encode_messages
from selfdistill.models.pictures import PictureReader
from selfdistill.models.tokenizer_check import token_ids
from selfdistill.randomness import generator
from selfdistill.scoring.lengths import layer_count, vocabulary_size
from selfdistill.scoring.manner import manner_of, turned_by_company
from selfdistill.scoring.pictures import forward, sequence_inputs
from selfdistill.scoring.reading import read_forward
from selfdistill.tasks.contexts import Message
from selfdistill.tasks.demonstrations import Demonstration
from selfdistill.tasks.pictures import Picture

_IGNORED = -100
_CHUNK = 16  # demonstrations a forward; lengths differ tenfold, so small sorted chunks save most of the padding
#: Fewer where tokens x layers x hidden size, to which the memory of a forward is about proportional, are more than
#: this: than 970 tokens of a model of 135 million weights. The toy's stay below.
_STATES = 2**24
#: Logits of a forward that are made whole, prompts' and padding's with the rest, as when the shipped weights were made:
#: summed in another order they would be rounded in another way, and the toy's recipes would not give the same bits.
_LOGITS = 2**24
_Row = tuple[Sequence[int], list[int]]  # token ids of a prompt, with its pictures, and of its response
_PROGRESS_STEPS, _PROGRESS_SECONDS = 25, 20


@dataclass(frozen=True)
class Recipe:
    """Steps, batch and learning rate of a warm start: linear warm-up, then a cosine down to a tenth."""

    steps: int
    batch_size: int = 64
    learning_rate: float = 3e-3
    warmup_steps: int = 50
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    seed: int = 0


def warm_start(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    demonstrate: Callable[[np.random.Generator], Demonstration],
    recipe: Recipe,
    report: Callable[[str], None] = print,
    chat: ChatSettings = DEFAULT,
    reader: PictureReader | None = None,
) -> None:
    """Train `model` in place by next-token cross entropy on the responses (prompts are read, not learned).

    Args:
        model: what is trained, on its own device.
        tokenizer: its tokenizer.
        demonstrate: makes a demonstration of a random stream.
        recipe: steps, batch and learning rate.
        report: takes one line of progress.
        chat: how prompts are rendered: as in training and evaluation.
        reader: of the pictures of demonstrations that have any.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, recipe))
    model.train()
    began = said = time.monotonic()
    for step in range(recipe.steps):
        demonstrations = [
            demonstrate(generator(recipe.seed, "demonstration", step, row)) for row in range(recipe.batch_size)
        ]
        optimizer.zero_grad(set_to_none=True)
        loss = accumulate_gradients(model, tokenizer, demonstrations, chat, reader)
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
        optimizer.step()
        schedule.step()
        now = time.monotonic()
        due = (step + 1) % _PROGRESS_STEPS == 0 or now - said >= _PROGRESS_SECONDS
        if due or step + 1 == recipe.steps:
            said, seconds = now, now - began
            left = seconds / (step + 1) * (recipe.steps - step - 1)
            report(f"warm start step {step + 1}/{recipe.steps}  loss {loss:.4f}  {left:.0f} s left")
    model.eval()


def accumulate_gradients(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    demonstrations: Sequence[Demonstration],
    chat: ChatSettings = DEFAULT,
    reader: PictureReader | None = None,
) -> float:
    """Mean next-token cross entropy (nats) over all response tokens, and its gradient, in chunks of similar length."""
    rows = sorted(
        (encode(tokenizer, d, chat, reader) for d in demonstrations), key=lambda row: len(row[0]) + len(row[1])
    )
    tokens = sum(len(response) for _, response in rows)
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    total = 0.0
    for chunk in _chunks(rows, _most_tokens(model, rows)):
        input_ids, labels, attention_mask = collate(chunk, pad)
        inputs = {"input_ids": input_ids.to(model.device), "attention_mask": attention_mask.to(model.device)}
        pictured = sequence_inputs(model, *zip(*chunk, strict=True), input_ids.shape[1], [0] * len(chunk))
        loss = _summed_loss(model, inputs | pictured | {"use_cache": False}, labels[:, 1:].to(model.device))
        (loss / tokens).backward()
        total += loss.item() / tokens
    return total


def _most_tokens(model: PreTrainedModel, rows: Sequence[_Row]) -> int:
    """Returns the most tokens of a forward, padding counted: none where each row must have its own."""
    manner, longest = manner_of(model), max(len(prompt) + len(response) for prompt, response in rows)
    if manner.right > manner.rounding or turned_by_company(model.config, longest):
        return 0
    return _STATES // (layer_count(model) * model.config.get_text_config().hidden_size)


def _chunks(rows: Sequence[_Row], most: int) -> Iterator[list[_Row]]:
    """Neighbours together, shortest first: at most _CHUNK, and `most` tokens with padding, but at least one."""
    chunk: list[_Row] = []
    for row in rows:
        if len(chunk) == _CHUNK or (chunk and (len(chunk) + 1) * (len(row[0]) + len(row[1])) > most):
            yield chunk
            chunk = []
        chunk.append(row)
    if chunk:
        yield chunk


def _summed_loss(model: PreTrainedModel, inputs: dict[str, Any], labels: torch.Tensor) -> torch.Tensor:
    """Cross entropy (nats) of all responses' tokens together; labels (B, T - 1) of all positions but the last."""
    if inputs["input_ids"].numel() * vocabulary_size(model.config) <= _LOGITS:
        logits = forward(model, inputs).logits[:, :-1].flatten(0, 1)
        return cross_entropy(logits, labels.flatten(), ignore_index=_IGNORED, reduction="sum")
    rows, columns = (labels != _IGNORED).nonzero(as_tuple=True)
    picked = rows * inputs["input_ids"].shape[1] + columns
    return -read_forward(model, inputs, picked, labels[rows, columns]).logprobs.sum()


def encode(
    tokenizer: PreTrainedTokenizerBase,
    demonstration: Demonstration,
    chat: ChatSettings = DEFAULT,
    reader: PictureReader | None = None,
) -> _Row:
    """Token ids of the chat prompt and of the response, which ends with the end-of-sequence token."""
    prompt: Sequence[int]
    if reader is None:
        prompt = encode_chat(tokenizer, demonstration.prompt, chat)
    else:
        pictures = reader.of([Picture.of(each) for each in demonstration.pictures])
        prompt = encode_messages(tokenizer, [Message("user", demonstration.prompt)], chat, pictures)
    return prompt, [*token_ids(tokenizer, demonstration.response), tokenizer.eos_token_id]


def collate(rows: Sequence[_Row], pad_id: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """input_ids, labels and attention_mask, all (B, T), right-padded; labels are -100 off the responses."""
    width = max(len(prompt) + len(response) for prompt, response in rows)
    input_ids = torch.full((len(rows), width), pad_id)
    labels = torch.full((len(rows), width), _IGNORED)
    attention_mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, (prompt, response) in enumerate(rows):
        end = len(prompt) + len(response)
        input_ids[i, :end] = torch.tensor([*prompt, *response])
        labels[i, len(prompt) : end] = torch.tensor(response)
        attention_mask[i, :end] = 1
    return input_ids, labels, attention_mask


def _rate(step: int, recipe: Recipe) -> float:
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * progress))
