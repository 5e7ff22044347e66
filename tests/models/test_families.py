"""Every family of docs/models.md trains as it says there, or is refused as it says there."""

import copy
import itertools
from pathlib import Path

import pytest
import torch
from families import FAMILIES, ONE_BY_ONE, REFUSED, table
from small_run import CONFIG, problems

import selfdistill.training.local.engine as engine_module
from selfdistill.errors import UserError
from selfdistill.models.loading import load_model
from selfdistill.sampling.decode import DecodeLoop
from selfdistill.scoring.manner import manner_of, plain_logprobs
from selfdistill.scoring.scorer import ModelScorer
from selfdistill.scoring.scores import Sequences
from selfdistill.study.training_settings import TrainingSettings
from selfdistill.tasks.graders import Graded
from selfdistill.training.local.trainer import LocalTrainer

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
TOLERANCE = 1e-5


def settings(engine):
    config = copy.deepcopy(CONFIG)
    config["rollout"] |= {"engine": engine, "prompts_per_step": 2, "group_size": 4, "max_response_tokens": 6}
    config["hints"] |= {"k_max": 1, "max_tokens": 8}
    config["validation"] |= {"problems": 1, "draws": 1, "max_response_tokens": 4}
    return TrainingSettings.from_config(config)


def alternating():
    """A grader of which every group is mixed, so that each step has something to learn."""
    count = itertools.count()

    def grade(response, problem):
        number = next(count)
        return Graded(str(number), number % 2 == 0)

    return grade


def trainer_of(family, tokenizer, folder):
    """Trained from a folder, as a user's model is."""
    family.build(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    model, loaded = load_model(folder, torch.device("cpu"))
    engine = "own" if family.own else "transformers"
    tried = problems("train", 1, 2)
    return LocalTrainer(settings(engine), model, loaded, tried, {"chain-1": tried}, alternating())


def error(found, model, prompt, response):
    """Of log-probs of a response, in nats, against one plain forward."""
    with torch.no_grad():
        plain = plain_logprobs(model, [*prompt, *response])[len(prompt) - 1 : -1]
    own = plain.gather(1, torch.tensor(response)[:, None])[:, 0]
    return float((torch.as_tensor(found)[: len(response)] - own).abs().max())


@pytest.mark.parametrize("family", FAMILIES, ids=lambda each: each.name)
def test_a_family_trains_or_is_refused_by_name(family, tokenizer, tmp_path, monkeypatch):
    if family.outcome == REFUSED:
        with pytest.raises(UserError, match=family.said) as caught:
            trainer_of(family, tokenizer, tmp_path / "base")
        message = str(caught.value)
        assert "\n" not in message
        assert family.model_type in message or str(tmp_path) in message
        return
    trainer = trainer_of(family, tokenizer, tmp_path / "base")
    model = trainer.model
    assert manner_of(model).together == (family.outcome != ONE_BY_ONE)

    drawn = trainer.roll_out(1)
    for prompt, response, logprobs in zip(drawn.prompts, drawn.responses, drawn.logprobs, strict=True):
        assert error(logprobs, model, prompt, response) < TOLERANCE

    uneven = [prompt[i % 3 :] for i, prompt in enumerate(drawn.prompts)]  # so that there is padding
    for alone in (False, True):
        scores = ModelScorer(model, 1024)(Sequences(uneven, drawn.responses), 6, alone=alone).logprobs
        for row, prompt, response in zip(scores, uneven, drawn.responses, strict=True):
            assert error(row, model, prompt, response) < TOLERANCE

    gaps = []
    original = engine_module.micro_batch_update

    def spy(method, student, batch, *rest):
        gaps.append(float(((student.logprobs - batch.old_logprobs).abs() * batch.response_mask).detach().max()))
        return original(method, student, batch, *rest)

    monkeypatch.setattr(engine_module, "micro_batch_update", spy)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    first = trainer.step(1)
    assert max(gaps[:1]) < TOLERANCE  # of the first update; behind it the policy has moved
    assert first["guard/null_contrast_abs_max"] < 1e-4
    assert not first.get("actor/nonfinite_updates")
    trainer.step(2)
    assert any(not torch.equal(before[name], weight) for name, weight in model.named_parameters())
    trainer.save(tmp_path / "trained")  # reads it back
    assert (tmp_path / "trained" / "model.safetensors").exists()


def test_own_decode_loop_refuses_what_it_cannot_draw(tokenizer):
    for family in FAMILIES:
        if not family.own and family.outcome != REFUSED:
            with pytest.raises(UserError, match=r"rollout\.engine: transformers"):
                DecodeLoop(family.build(tokenizer), 0, [1])


def test_the_page_has_this_table():
    assert table() in PAGE.read_text(encoding="utf-8"), "docs/models.md: its table is tests/fakes/families.py's table()"
