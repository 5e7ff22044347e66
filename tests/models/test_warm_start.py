"""The supervised warm start."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from selfdistill.models import warm_start as warm_start_module
from selfdistill.models.chat import encode_chat
from selfdistill.models.tiny_model import TinyModel, build_model, build_tokenizer
from selfdistill.models.warm_start import Recipe, _chunks, accumulate_gradients, collate, encode, warm_start
from selfdistill.randomness import generator
from selfdistill.scoring.reading import read_forward
from selfdistill.study.run_settings import ChatSettings
from selfdistill.tasks import arithmetic
from selfdistill.tasks.demonstrations import Demonstration, Mix, demonstrate

TOKENIZER = build_tokenizer()


def some_demonstrations(count):
    make = lambda rng: arithmetic.generate(rng, int(rng.integers(1, 5)))  # noqa: E731
    return [demonstrate(make, Mix(), generator("warm start test", i)) for i in range(count)]


def test_responses_alone_are_learned():
    prompt, response = encode(TOKENIZER, Demonstration("1+1", "=2"))
    input_ids, labels, mask = collate([(prompt, response), (prompt[:2], response)], TOKENIZER.pad_token_id)
    assert labels[0][labels[0] >= 0].tolist() == response
    assert response[-1] == TOKENIZER.eos_token_id
    assert input_ids[1, 2 : 2 + len(response)].tolist() == response
    assert mask.sum(dim=1).tolist() == [len(prompt) + len(response), 2 + len(response)]


@pytest.mark.parametrize("chat", [ChatSettings(), ChatSettings(thinking=False, date="2019-08-07")])
def test_prompts_are_those_of_training_and_evaluation(chat):
    """Where thinking is off unless it is asked for, and the template tells a date."""
    tokenizer = build_tokenizer()
    tokenizer.chat_template += "{{ '+' if enable_thinking is defined and enable_thinking else '-' }}{{ date_string }}"
    prompt, _ = encode(tokenizer, Demonstration("1+1", "=2"), chat)
    assert prompt == encode_chat(tokenizer, "1+1", chat)
    assert ("+" in tokenizer.decode(prompt[-12:])) == chat.thinking


@pytest.mark.parametrize("limit", [None, "_LOGITS", "_STATES"])
def test_gradient_in_sorted_chunks_is_that_of_one_row_at_a_time(monkeypatch, limit):
    """As the toy's is made; from the responses' logits alone; and in small forwards."""
    if limit:
        monkeypatch.setattr(warm_start_module, limit, {"_LOGITS": 0, "_STATES": 64 * 300}[limit])
    demonstrations = some_demonstrations(20)
    model = build_model(TinyModel(layers=1), TOKENIZER, 0)
    loss = accumulate_gradients(model, TOKENIZER, demonstrations)
    chunked = model.model.layers[0].mlp.up_proj.weight.grad.clone()
    model.zero_grad()
    total, tokens = 0.0, 0
    for demonstration in demonstrations:
        prompt, response = encode(TOKENIZER, demonstration)
        logits = model(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
        total = total + cross_entropy(logits, torch.tensor(response), reduction="sum")
        tokens += len(response)
    (total / tokens).backward()
    assert loss == pytest.approx(float(total / tokens), rel=1e-5)
    torch.testing.assert_close(chunked, model.model.layers[0].mlp.up_proj.weight.grad, rtol=1e-4, atol=1e-6)


def test_a_forward_holds_no_more_rows_and_tokens_than_it_may():
    rows = [([0] * length, [1]) for length in (*[1] * 20, 9, 30)]  # 2 tokens each, then 10 and 31
    sizes = lambda most: [[len(p) + len(r) for p, r in chunk] for chunk in _chunks(rows, most)]  # noqa: E731
    assert sizes(1000) == [[2] * 16, [*[2] * 4, 10, 31]]
    assert sizes(20) == [[2] * 10, [2] * 10, [10], [31]]
    assert [row for chunk in _chunks(rows, 20) for row in chunk] == rows


def test_a_large_model_is_asked_for_the_logits_of_its_responses_only(monkeypatch):
    model, shapes = build_model(TinyModel(layers=1), TOKENIZER, 0), []
    demonstrations = some_demonstrations(4)
    model.lm_head.register_forward_hook(lambda module, inputs, output: shapes.append(output.numel()))
    accumulate_gradients(model, TOKENIZER, demonstrations)
    assert shapes[0] > 0
    read_forward(model, {"input_ids": torch.tensor([[1, 2]])}, torch.tensor([0]), torch.tensor([2]))  # asks what it is
    monkeypatch.setattr(warm_start_module, "_LOGITS", 0)
    shapes.clear()
    accumulate_gradients(model, TOKENIZER, demonstrations)
    assert shapes == [0]


def test_progress_is_told_by_the_clock_too(monkeypatch):
    """A step of a larger model takes long."""
    monkeypatch.setattr(warm_start_module, "_PROGRESS_SECONDS", 0)
    model, lines = build_model(TinyModel(layers=1), TOKENIZER, 0), []
    make = lambda rng: demonstrate(lambda r: arithmetic.generate(r, 2), Mix(), rng)  # noqa: E731
    warm_start(model, TOKENIZER, make, Recipe(steps=3, batch_size=2, warmup_steps=1), lines.append)
    assert [line.split("  ")[0] for line in lines] == [f"warm start step {n}/3" for n in (1, 2, 3)]
    assert lines[-1].endswith("  0 s left")


def test_the_loss_falls():
    model = build_model(TinyModel(layers=1), TOKENIZER, 0)
    lines = []
    recipe = Recipe(steps=50, batch_size=16, warmup_steps=5)
    make = lambda rng: demonstrate(lambda r: arithmetic.generate(r, 2), Mix(), rng)  # noqa: E731
    warm_start(model, TOKENIZER, make, recipe, lines.append)
    losses = [float(line.split("loss ")[1].split()[0]) for line in lines]
    assert losses[-1] < 0.85 * losses[0]
