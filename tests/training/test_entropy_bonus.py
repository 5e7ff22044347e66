import pytest
import torch


@pytest.fixture
def asked(make):
    """The arguments of the first update of a trainer with an entropy bonus, and its engine."""

    def first_update(**update):
        trainer, found = make(implementation="grpo", hints={"source": "none"}, update=update), []

        def instead(*arguments):
            found.append(arguments)
            return {"actor/loss": (0.0, 1)}, float("nan")

        trainer._engine.update = instead
        trainer.step(1)
        return trainer._engine, found[0]

    return first_update


def gradient(engine, sequences, batch, targets, kl_weights, _):
    engine.model.zero_grad(set_to_none=True)
    engine.backward(sequences, batch, targets, kl_weights)
    return torch.cat([each.grad.flatten() for each in engine.model.parameters()])


def mean_entropy(model, sequences, temperature):
    """Of each response and of all tokens, one sequence at a time, as a loop over probabilities says it."""
    entropies = []
    for prompt, response in zip(sequences.prompts, sequences.responses, strict=True):
        logits = model(torch.tensor([[*prompt, *response]])).logits[0, len(prompt) - 1 : -1] / temperature
        p = logits.double().softmax(dim=-1)
        entropies.append(-(p * p.log()).sum(dim=-1))
    return entropies


@pytest.mark.parametrize("aggregation", ["tokens", "rollouts"])
def test_the_gradient_is_that_of_the_mean_entropy(asked, aggregation):
    coefficient = 0.3
    engine, rows = asked(entropy_coef=coefficient, aggregation=aggregation)
    sequences, batch, *others = rows
    bonus = gradient(engine, *rows) - gradient(engine, sequences, batch.extended(entropy_weights=None), *others)
    engine.model.zero_grad(set_to_none=True)
    each = mean_entropy(engine.model, sequences, 1.0)
    mean = torch.cat(each).mean() if aggregation == "tokens" else torch.stack([e.mean() for e in each]).mean()
    (-coefficient * mean).backward()
    expected = torch.cat([p.grad.flatten() for p in engine.model.parameters()])
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(bonus, expected, rtol=1e-4, atol=1e-6)
    assert len(sequences.responses) == 8  # groups without advantages have entropies all the same


def test_without_a_bonus_nobody_reads_entropies(asked):
    _, (_, batch, *_) = asked(entropy_coef=0.0)
    assert batch.entropy_weights is None
