"""A critic in the local trainer: what it changes, what it must not change, and that a run goes on exactly."""

import copy

import pytest
import torch
from openai_server import completion, serving
from small_run import go, metrics_of, weights_hash

from selfdistill.errors import UserError
from selfdistill.study.training_settings import TrainingSettings
from selfdistill.tasks.contexts import Hint
from selfdistill.tasks.graders import Graded
from selfdistill.training.run_critic import critic_without_model, critiqued_steps

CRITIQUES = {
    "implementation": "rlsd_add",
    "hints": {"source": "critique", "template": "critique"},
    "teacher": {"kind": "live"},
    "critic": {"kind": "rule", "mode": "noquote"},
}


def timed(name):
    return name.startswith("timing_s/") or name in ("critique/seconds", "critique/cache_hits")


@pytest.fixture
def criticised(make, config, tmp_path):
    """A trainer with a critic, its state in a folder of its own."""

    def build(critic=None, grade=None, **changes):
        whole = {**copy.deepcopy(CRITIQUES), **changes}
        whole["critic"] = {**whole["critic"], **(critic or {})}
        settings = TrainingSettings.from_config({**config, **{k: _merged(config, k, v) for k, v in whole.items()}})
        made = critic_without_model(settings, "maths")
        return make(
            make_critic=lambda *_: critiqued_steps(made, settings, tmp_path / "state", print), grade=grade, **whole
        )

    return build


def _merged(config, key, value):
    return {**config.get(key, {}), **value} if isinstance(value, dict) else value


def weights(trainer):
    return torch.cat([each.detach().flatten() for each in trainer.model.parameters()])


def test_coverage_is_the_share_of_wrong_rollouts_and_their_teacher_reads_the_critique(criticised):
    trainer = criticised()
    rollouts = trainer.roll_out(1)
    wrong = [not right for right in rollouts.correct]
    critiques = trainer.training_step.critiques(1, rollouts)
    assert [said is not None for said in critiques.shown] == wrong
    assert 0 < sum(wrong) < len(wrong)
    metrics = trainer.training_step.run(1, rollouts, critiques)
    share = sum(wrong) / len(wrong)
    assert metrics["critique/coverage"] == metrics["hints/hinted_share"] == pytest.approx(share)
    assert metrics["critique/of_wrong"] == 1.0
    assert metrics["critique/reason/right"] == pytest.approx(1 - share)
    assert {"teacher/delta_wrong", "teacher/delta_right_placebo", "teacher/delta_gap"} <= metrics.keys()


def test_a_form_that_scales_advantages_is_asked_about_groups_of_mixed_outcome_only(criticised):
    trainer = criticised(implementation="rlsd")
    metrics = trainer.step(1)
    rollouts = trainer.roll_out(1)
    size = trainer.settings.rollout.group_size
    mixed = [
        not right and any(rollouts.correct[row // size * size : row // size * size + size])
        for row, right in enumerate(rollouts.correct)
    ]
    assert metrics["critique/coverage"] == pytest.approx(sum(mixed) / len(mixed))
    faded = criticised(implementation="rlsd", objective={"lam": 0.0})
    assert faded.step(1)["critique/reason/not_read"] > 0


@pytest.mark.parametrize(("implementation", "scale"), [("rlsd", 1.0), ("rlsd_add", 0.5), ("rlsd_hybrid", 0.7)])
def test_a_critic_that_always_fails_leaves_the_plain_advantage(make, criticised, implementation, scale):
    """rlsd is grpo then, the additive form (1 - lam) A, the hybrid one alpha A."""
    update = {"prompts_per_update": 4}
    nobody = {"hints": {"source": "none"}, "teacher": {"kind": "none"}}
    plain = make(implementation="grpo", objective={"dual_clip": 1e9}, update=update, **nobody)
    with serving(lambda *_: (500, "broken")) as server:
        at = {"kind": "server", "model": "m", "url": server.url, "send_rollouts": True, "mode": "critique"}
        failing = criticised({**at, "tries": 1, "max_failed_share": 1.0}, implementation=implementation, update=update)
        found, expected = failing.step(1), plain.step(1)
    assert found["critique/failed"] == 1.0
    assert found["critique/coverage"] == 0.0
    assert found["actor/grad_norm"] == pytest.approx(scale * expected["actor/grad_norm"], rel=1e-6)
    if scale == 1.0:
        assert found["actor/grad_norm"] == expected["actor/grad_norm"] > 0
        assert torch.equal(weights(failing), weights(plain))


def test_groups_that_are_all_right_have_no_critique_and_no_gradient(criticised):
    """The additive term does not revive them: there is nothing to read."""
    right = criticised(grade=lambda response, problem: Graded("1", True))
    metrics = right.step(1)
    assert metrics["critique/coverage"] == metrics["actor/grad_norm"] == 0.0
    assert metrics["critique/reason/right"] == 1.0
    wrong = criticised(grade=lambda response, problem: Graded("1", False))
    metrics = wrong.step(1)
    assert metrics["critique/coverage"] == 1.0
    assert metrics["actor/grad_norm"] > 0
    assert "teacher/delta_gap" not in metrics


def test_the_teacher_reads_the_review_and_the_attempt_where_it_is_asked_to(criticised):
    trainer = criticised(hints={"source": "critique", "template": "critique", "attempt": True, "max_tokens": 200})
    rollouts = trainer.roll_out(1)
    critiques = trainer.training_step.critiques(1, rollouts)
    assignments, _, _ = trainer.training_step.hinted(
        rollouts, trainer.training_step._rewards(rollouts, 1), 1, critiques
    )
    for assignment, said, text in zip(assignments, critiques.shown, rollouts.texts, strict=True):
        assert assignment.correct == (None if said is None else Hint(critique=said, attempt=text))


def of_server(server, **more):
    told = {"model": "m", "url": server.url, "send_rollouts": True, "mode": "critique", "pause": 0.0, "tries": 1}
    return {"kind": "server", **told, **more}


def whole_config(config, critic):
    changed = {key: _merged(config, key, value) for key, value in CRITIQUES.items() if key != "critic"}
    return {**config, **changed, "critic": critic}


def says(message, before):
    return completion(f"Of {len(message)} characters.")


def logged(outputs):
    return [{k: v for k, v in line.items() if not timed(k)} for line in metrics_of(outputs["metrics"])]


def test_a_run_that_its_critic_stopped_goes_on_to_the_same_end(small_run, config, tmp_path):
    with serving(says) as server:
        whole = go(whole_config(config, of_server(server)), small_run, tmp_path / "whole")
        asked = len(server.bodies)
    down = [True]

    def breaks(message, before):
        return (500, "down") if down and len(server.bodies) > asked // 2 else says(message, before)

    with serving(breaks) as server:
        settings = whole_config(config, of_server(server, max_failed_share=0.0))
        with pytest.raises(UserError, match=r"the critic failed for .*unreachable .*500: .*start the run again"):
            go(settings, small_run, tmp_path / "broken")
        down.clear()
        again = go(settings, small_run, tmp_path / "broken")
    assert weights_hash(again) == weights_hash(whole)
    assert logged(again) == logged(whole)
    assert len(logged(whole)) == config["steps"] + 1


def test_a_step_that_is_computed_again_asks_nobody_and_keeps_its_failures(small_run, config, tmp_path):
    def moody(message, before):
        return (500, "x") if len(message) % 3 == 0 else says(message, before)

    def killed(line):
        if line.startswith("step 3/"):
            raise KeyboardInterrupt

    with serving(moody) as server:
        settings = whole_config(config, of_server(server, max_failed_share=1.0))
        whole = go(settings, small_run, tmp_path / "whole")
        server.bodies.clear()
        with pytest.raises(KeyboardInterrupt):
            go(settings, small_run, tmp_path / "killed", killed)
        before = set(server.messages)
        server.bodies.clear()
        again = go(settings, small_run, tmp_path / "killed")
    assert server.messages
    assert not before & set(server.messages)
    assert any(line["critique/failed"] > 0 for line in logged(whole)[1:])
    assert weights_hash(again) == weights_hash(whole)
    assert logged(again) == logged(whole)


def test_a_critic_of_a_second_model_and_the_student_as_its_own(small_run, config, tmp_path):
    critic = {"max_tokens": 8, "mode": "critique"}
    for kind, model in (("model", "another"), ("self", "")):
        settings = whole_config(config, {**critic, "kind": kind, "model": model})
        settings["steps"] = 2
        external = {"critic": small_run["base_model"]} if model else {}
        out = go(settings, {**small_run, "external": external}, tmp_path / kind)
        lines = logged(out)[1:]
        assert all(0 < line["critique/tokens_mean"] <= 8 for line in lines)
        assert all(line["critique/reason/empty"] < 1 for line in lines)
        text = out["provenance"].read_text()
        assert ("external_models" in text) == bool(model)
    with pytest.raises(UserError, match="a model is named as critic"):
        go(whole_config(config, {**critic, "kind": "model", "model": "m"}), small_run, tmp_path / "none")
