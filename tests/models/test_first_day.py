import copy

import pytest
import torch
from families import FAMILIES
from transformers import LlamaConfig

from selfdistill.errors import UserError
from selfdistill.models.first_day import check_lengths, check_model, remark


def spoilt(model, change):
    """A copy of the model whose logits are changed on their way out."""
    copied = copy.deepcopy(model)
    forward = copied.forward

    def changed(*args, **inputs):
        output = forward(*args, **inputs)
        output.logits = change(output.logits)
        return output

    copied.forward = changed
    return copied


def test_a_usual_model_passes_and_stays_as_it_is(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state, mode = torch.get_rng_state(), model.training
    manner = check_model(model)
    assert remark(model, manner) is None
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training == mode
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda logits: logits * float("nan"), "log-probs are no numbers .its weights are finite"),
        (lambda logits: logits + torch.rand(1) * torch.arange(logits.shape[-1]), "two forwards of one row differ"),
        (lambda logits: logits + logits.flip(1), "depend on the tokens behind it"),
    ],
    ids=["NaN", "random", "both ways"],
)
def test_models_that_compute_something_else_are_refused(model, change, said):
    with pytest.raises(UserError, match=said) as caught:
        check_model(spoilt(model, change))
    assert "model_type qwen3" in str(caught.value)


def test_weights_that_are_no_numbers_are_named(model):
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.model.norm.weight[0] = float("nan")
    with pytest.raises(UserError, match=r"first in model\.norm\.weight"):
        check_model(broken)


def test_a_user_is_told_that_rows_are_taken_one_at_a_time(tokenizer):
    model = next(each for each in FAMILIES if each.name == "RecurrentGemma").build(tokenizer)
    assert "recurrent_gemma: padding moves its log-probs" in remark(model, check_model(model))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"max_position_embeddings": 99},
            "the model has 99 positions, but .* can reach 100 tokens; lower this",
        ),
        ({"index_topk": 99}, "behind 99 the model .llama. chooses or compresses its keys"),
        (
            {
                "max_position_embeddings": 99,
                "rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4},
            },
            "positions|behind 99 its rotary frequencies",
        ),
    ],
    ids=["positions", "sparse", "dynamic"],
)
def test_lengths_that_a_model_does_not_have(fields, said):
    config = LlamaConfig(**fields)
    check_lengths(config, 99, "this or that")
    with pytest.raises(UserError, match=said):
        check_lengths(config, 100, "this or that")
