"""What a configuration may say of a critic."""

import pytest
from configurations import refusal, resolved

from selfdistill.errors import UserError
from selfdistill.study.critic_settings import CriticSettings, gpus_of_critic
from selfdistill.study.critique_modes import read_prompt

RULE = "hints: {source: critique, template: critique}, critic: {kind: rule, mode: noquote}"


def changed(text):
    return f"{{matrix: {{variants: [rlsd]}}, overrides: {{all: {{{text}}}}}}}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hints: {source: critique, template: critique}", "critic.kind 'none'"),
        ("critic: {kind: rule, mode: verdict}", "hints.source is 'gt_cot' and critic.kind 'rule'"),
        (RULE.replace("noquote", "critique"), "critic.mode: 'critique' is none of a critic of kind rule"),
        (RULE.replace("template: critique", "template: reference"), "has no section for critique"),
        (RULE + ", reward: {shuffle: true}", "reward.shuffle with a critic"),
        (RULE.replace("kind: rule, mode: noquote", "kind: server"), "needs either critic.url or critic.start"),
        (
            RULE.replace(
                "kind: rule, mode: noquote", "kind: server, url: 'http://h/v1', start: true, model: tiny_qwen3"
            ),
            "needs either critic.url or critic.start",
        ),
        (RULE.replace("kind: rule, mode: noquote", "kind: server, url: 'http://h/v1'"), "needs critic.model"),
        (
            RULE.replace("kind: rule, mode: noquote", "kind: server, url: 'http://h/v1', model: m"),
            "critic.url sends problems and rollouts to http://h/v1; say critic.send_rollouts: true",
        ),
        (
            RULE.replace("kind: rule, mode: noquote", "kind: server, url: 'http://me:secret@h/v1', model: m"),
            "an address without a key in it",
        ),
        (RULE.replace("mode: noquote", "mode: noquote, url: 'http://h/v1'"), "are of the kind server, not of 'rule'"),
        (RULE.replace("kind: rule, mode: noquote", "kind: model"), "needs critic.model, an entry of models"),
        (
            RULE.replace("kind: rule, mode: noquote", "kind: model, model: tiny_qwen2"),
            "critic.model: unknown model 'tiny_qwen2'; the nearest known one is 'tiny_qwen3'",
        ),
        (RULE.replace("mode: noquote", "mode: noquote, key_variable: 'sk-123'"), "the name of an environment variable"),
    ],
)
def test_what_contradicts_itself_is_refused_while_planning(text, said):
    assert said in refusal(changed(text))


def test_a_critic_is_no_part_of_runs_without_one_and_its_model_of_those_with_one():
    plain = resolved(changed("checkpoint: {every: 50}"), variant="rlsd")
    assert not {"critic", "external_models"} & plain.keys()
    model = RULE.replace("kind: rule, mode: noquote", "kind: model, model: tiny_qwen3")
    found = resolved(changed(model), variant="rlsd")
    assert found["critic"] == {"kind": "model", "model": "tiny_qwen3"}
    assert found["external_models"]["critic"]["model"] == "tiny_qwen3"


def test_gpus_are_those_of_a_server_that_the_job_starts():
    started = {"kind": "server", "start": True, "model": "m", "gpus": 2}
    assert gpus_of_critic({"critic": started}) == 2
    assert gpus_of_critic({"critic": {**started, "start": False, "url": "http://h/v1"}}) == 0
    assert gpus_of_critic({}) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Look at {response}.", "no slot {problem}"),
        ("{problem} {response} {solution}", "must not see it"),
        ("{problem} {response} {verdikt}", "unknown slot {verdikt}"),
    ],
)
def test_a_prompt_of_ones_own_shows_what_its_mode_may(tmp_path, text, said):
    file = tmp_path / "prompt.txt"
    file.write_text(text)
    with pytest.raises(UserError, match=said.replace("{", r"\{").replace("}", r"\}")):
        read_prompt(str(file), "critique")
    file.write_text("{problem} {response} {solution}")
    assert read_prompt(str(file), "critique_gold").slots == ["problem", "response", "solution"]
    sent = RULE.replace("kind: rule, mode: noquote", f"kind: self, prompt: {file}")
    assert "must not see it" in refusal(changed(sent))


def test_defaults_send_nothing_anywhere():
    plain = CriticSettings()
    assert (plain.kind, plain.url, plain.send_rollouts, plain.key_variable) == ("none", "", False, "")
