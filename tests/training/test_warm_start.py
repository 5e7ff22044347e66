"""The supervised warm start."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from selfdistill.randomness import generator
from selfdistill.tasks import arithmetic
from selfdistill.tasks.demonstrations import Demonstration, Mix, demonstrate
from selfdistill.training.tiny_model import TinyModel, build_model, build_tokenizer
from selfdistill.training.warm_start import Recipe, accumulate_gradients, collate, encode, warm_start

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


def test_gradient_in_sorted_chunks_is_that_of_one_row_at_a_time():
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


def test_the_loss_falls():
    model = build_model(TinyModel(layers=1), TOKENIZER, 0)
    lines = []
    recipe = Recipe(steps=50, batch_size=16, warmup_steps=5)
    make = lambda rng: demonstrate(lambda r: arithmetic.generate(r, 2), Mix(), rng)  # noqa: E731
    warm_start(model, TOKENIZER, make, recipe, lines.append)
    losses = [float(line.split("loss ")[1].split()[0]) for line in lines]
    assert losses[-1] < 0.85 * losses[0]
