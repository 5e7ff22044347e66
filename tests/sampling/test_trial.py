"""A sampler whose log-probs are not the model's is found before it is used."""

import copy
import dataclasses

import pytest
import torch

from selfdistill.errors import UserError
from selfdistill.sampling.decode import DecodeLoop
from selfdistill.sampling.interface import SamplingSettings
from selfdistill.sampling.transformers_generate import TransformersGenerate
from selfdistill.sampling.trial import check_sampler

ENGINES = {"own": DecodeLoop, "transformers": TransformersGenerate}


class Lying:
    """A sampler whose log-probs are off by a little."""

    def __init__(self, sampler, by):
        self._sampler, self._by = sampler, by

    def sample(self, *args):
        return [dataclasses.replace(each, logprobs=each.logprobs + self._by) for each in self._sampler.sample(*args)]


class Failing:
    def sample(self, *args):
        raise AttributeError("'NoneType' object has no attribute 'keys'\nand more")


@pytest.mark.parametrize("engine", ENGINES)
def test_an_honest_sampler_passes_and_leaves_no_trace(model, engine):
    state = torch.get_rng_state()
    check_sampler(ENGINES[engine](model, 0, [2]), model, engine)
    assert torch.equal(torch.get_rng_state(), state)


def test_logprobs_of_something_else_are_refused_with_the_other_engine(model):
    sampler = DecodeLoop(model, 0, [2])
    with pytest.raises(UserError, match=r"engine own gives differ .* by 0\.01 nats; take engine transformers"):
        check_sampler(Lying(sampler, 0.01), model, "own")
    with pytest.raises(UserError, match="take engine own"):
        check_sampler(Lying(sampler, 0.01), model, "transformers")


def test_a_sampler_that_fails_is_a_line_for_the_user(model):
    with pytest.raises(UserError, match=r"engine own cannot draw from it .AttributeError") as caught:
        check_sampler(Failing(), model, "own")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("engine", ENGINES)
def test_draws_from_what_is_no_number_are_an_error_and_no_answer(model, engine, temperature):
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.model.norm.weight[0] = float("nan")
    sampler = ENGINES[engine](broken, 0, [2])
    with pytest.raises(UserError, match=r"not finite .*first in model\.norm\.weight"):
        sampler.sample([[5, 6, 7]], SamplingSettings(3, temperature=temperature), [("k", 0)])
