"""Supervised warm start of a toy base model on demonstrations; the recipe of the checkpoints under resources/."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from selfdistill.randomness import generator
from selfdistill.tasks.demonstrations import Demonstration

_IGNORED = -100
_CHUNK = 16  # demonstrations a forward; lengths differ tenfold, so small sorted chunks save most of the padding


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
) -> None:
    """Train `model` in place by next-token cross entropy on the responses (prompts are read, not learned)."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, recipe))
    model.train()
    began = time.monotonic()
    for step in range(recipe.steps):
        demonstrations = [
            demonstrate(generator(recipe.seed, "demonstration", step, row)) for row in range(recipe.batch_size)
        ]
        optimizer.zero_grad(set_to_none=True)
        loss = accumulate_gradients(model, tokenizer, demonstrations)
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
        optimizer.step()
        schedule.step()
        if (step + 1) % 25 == 0 or step + 1 == recipe.steps:
            seconds = time.monotonic() - began
            left = seconds / (step + 1) * (recipe.steps - step - 1)
            report(f"warm start step {step + 1}/{recipe.steps}  loss {loss:.4f}  {left:.0f} s left")
    model.eval()


def accumulate_gradients(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, demonstrations: Sequence[Demonstration]
) -> float:
    """Mean next-token cross entropy (nats) over all response tokens, and its gradient, in chunks of similar length."""
    rows = sorted((encode(tokenizer, d) for d in demonstrations), key=lambda row: len(row[0]) + len(row[1]))
    tokens = sum(len(response) for _, response in rows)
    total = 0.0
    for begin in range(0, len(rows), _CHUNK):
        input_ids, labels, attention_mask = collate(rows[begin : begin + _CHUNK], tokenizer.pad_token_id)
        logits = model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits
        loss = cross_entropy(
            logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=_IGNORED, reduction="sum"
        )
        (loss / tokens).backward()
        total += loss.item() / tokens
    return total


def encode(tokenizer: PreTrainedTokenizerBase, demonstration: Demonstration) -> tuple[list[int], list[int]]:
    """Token ids of the chat prompt and of the response, which ends with the end-of-sequence token."""
    message = [{"role": "user", "content": demonstration.prompt}]
    chat = tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
    prompt = tokenizer(chat, add_special_tokens=False).input_ids
    response = tokenizer(demonstration.response, add_special_tokens=False).input_ids
    return prompt, [*response, tokenizer.eos_token_id]


def collate(
    rows: Sequence[tuple[list[int], list[int]]], pad_id: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """input_ids, labels and attention_mask, all (B, T), right-padded; labels are -100 off the responses."""
    width = max(len(prompt) + len(response) for prompt, response in rows)
    input_ids = torch.full((len(rows), width), pad_id)
    labels = torch.full((len(rows), width), _IGNORED)
    attention_mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, (prompt, response) in enumerate(rows):
        end = len(prompt) + len(response)
        input_ids[i, :end] = torch.tensor(prompt + response)
        labels[i, len(prompt) : end] = torch.tensor(response)
        attention_mask[i, :end] = 1
    return input_ids, labels, attention_mask


def _rate(step: int, recipe: Recipe) -> float:
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * progress))
