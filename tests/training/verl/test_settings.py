"""verl's configuration with our tree as settings: what is read from where, and what is refused by name."""

import shlex
from pathlib import Path

import pytest

verl = pytest.importorskip("verl")

from hydra import compose, initialize_config_module

from selfdistill.errors import UserError
from selfdistill.methods.catalogue import shipped
from selfdistill.study.training_settings import published_run
from selfdistill.training.verl.published import fill_in
from selfdistill.training.verl.settings import VerlSettings
from selfdistill.training.verl.wiring import wire_up

pytestmark = pytest.mark.verl

WORDS = [
    "+selfdistill.implementation=rlcsd",
    "+selfdistill.teacher={kind:snapshot,sync_interval:3}",
    "+selfdistill.hints={source:self_rollout,max_tokens:70}",
    "data.train_batch_size=8",
    "data.max_prompt_length=20",
    "data.max_response_length=50",
    "data.shuffle=False",
    "algorithm.adv_estimator=grpo",
    "actor_rollout_ref.model.path=/nowhere",
    "actor_rollout_ref.actor.strategy=fsdp2",
    "actor_rollout_ref.actor.ppo_mini_batch_size=4",
    "actor_rollout_ref.actor.optim.lr=2e-5",
    "actor_rollout_ref.actor.optim.lr_warmup_steps=10",
    "actor_rollout_ref.rollout.name=vllm",
    "actor_rollout_ref.rollout.n=6",
    "actor_rollout_ref.rollout.logprobs_mode=raw_logprobs",
    "trainer.total_training_steps=7",
    "trainer.default_local_dir=/tmp/somewhere",
]


def composed(*words):
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=[*WORDS, *words])


def test_each_setting_comes_from_its_own_key():
    settings = VerlSettings.from_hydra(composed("actor_rollout_ref.rollout.val_kwargs.n=3", "trainer.test_freq=5"))
    run = settings.run
    sizes = (run.rollout.prompts_per_step, run.update.prompts_per_update, run.rollout.group_size)
    assert sizes == (8, 4, 6)
    assert [run.rate(number) for number in (1, 5, 10, 11)] == pytest.approx([2e-6, 1e-5, 2e-5, 2e-5])
    assert run.max_sequence_tokens == 20 + 50 + 70
    assert (run.teacher.kind, run.teacher.sync_interval) == ("snapshot", 3)
    assert (settings.validation_every, run.validation.draws) == (5, 3)
    assert str(settings.state) == "/tmp/somewhere"


def test_a_search_is_asked_for_by_name():
    assert not VerlSettings.from_hydra(composed()).search
    settings = VerlSettings.from_hydra(composed("+selfdistill.search=true"))
    assert settings.search
    assert settings.tree["search"]


def test_the_training_limit_may_be_below_that_of_validation():
    settings = VerlSettings.from_hydra(composed("+selfdistill.rollout.max_response_tokens=30"))
    assert settings.run.rollout.max_response_tokens == 30
    assert settings.run.max_sequence_tokens == 20 + 30 + 70


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("+selfdistill.lamda=1", "unknown key 'lamda'"),
        ("~selfdistill.implementation", "key 'implementation' is missing"),
        ("+selfdistill.teacher.decay=0.9", "selfdistill: teacher: unknown key 'decay'"),
        ("algorithm.adv_estimator=gae", "adv_estimator must be grpo"),
        ("algorithm.use_kl_in_reward=True", "use_kl_in_reward must be False"),
        ("actor_rollout_ref.actor.entropy_coeff=0.1", "entropy_coeff must be 0"),
        ("actor_rollout_ref.actor.ppo_epochs=2", "ppo_epochs must be 1"),
        ("actor_rollout_ref.actor.strategy=fsdp", "strategy must be fsdp2"),
        ("actor_rollout_ref.model.lora_rank=8", "lora_rank must be 0"),
        ("+selfdistill.rollout.old_logprobs=sampler", "old_logprobs must be recompute"),
        ("actor_rollout_ref.rollout.calculate_log_probs=False", "calculate_log_probs must be True"),
        ("actor_rollout_ref.rollout.temperature=0.7", "full distribution"),
        ("selfdistill.teacher.kind=trust_region", "use_kl_loss must be True"),
        ("data.shuffle=True", "data.shuffle must be False"),
        ("actor_rollout_ref.actor.ulysses_sequence_parallel_size=2", "ulysses_sequence_parallel_size must be 1"),
        ("actor_rollout_ref.model.use_fused_kernels=True", "use_fused_kernels must be False"),
        ("actor_rollout_ref.actor.optim.lr_scheduler_type=cosine", "lr_scheduler_type constant"),
        ("actor_rollout_ref.actor.optim.lr_warmup_steps_ratio=0.1", "lr_warmup_steps_ratio 0"),
        ("algorithm.filter_groups.enable=True", "filter_groups.enable must be False"),
        ("trainer.resume_mode=resume_path", "resume_mode must be auto"),
        ("actor_rollout_ref.actor.use_kl_loss=True", "use_kl_loss must be False"),
        ("data.truncation=left", "data.truncation must be error"),
        ("+selfdistill.update.kl_coef=0.01", "use_kl_loss must be True"),
        ("selfdistill.teacher.kind=initial", "use_kl_loss must be True"),
        ("+selfdistill.teacher.reference=initial", "use_kl_loss must be True"),
        ("selfdistill.teacher.kind=external", "selfdistill: teacher.kind is 'external' and teacher.model ''"),
        ("actor_rollout_ref.actor.ppo_mini_batch_size=3", "no multiple of"),
        ("selfdistill.hints.source=elsewhere", "hints.source: expected one of .*found 'elsewhere'"),
    ],
)
def test_what_would_silently_do_something_else_is_refused_by_name(word, said):
    with pytest.raises(UserError, match=said):
        VerlSettings.from_hydra(composed(word))


def test_log_probs_after_the_temperature_are_fine_where_nothing_is_cut_off():
    words = ("temperature=0.7", "logprobs_mode=processed_logprobs", "top_p=1.0", "top_k=-1")
    settings = VerlSettings.from_hydra(composed(*[f"actor_rollout_ref.rollout.{word}" for word in words]))
    assert settings.run.rollout.temperature == 0.7
    with pytest.raises(UserError, match="full distribution"):
        VerlSettings.from_hydra(
            composed(
                "actor_rollout_ref.rollout.logprobs_mode=processed_logprobs", "actor_rollout_ref.rollout.top_p=0.9"
            )
        )


def test_the_wiring_is_complete_and_spares_parts_of_the_users_own():
    config = composed("+selfdistill.hints.mode=solution_answer", "selfdistill.hints.source=gt_cot")
    wire_up(config)
    assert config.trainer.v1.trainer_mode == "selfdistill"
    assert config.data.custom_cls.name == "ProblemDataset"
    assert config.data.selfdistill.need_solution is True
    assert config.data.apply_chat_template_kwargs.thinking is True
    assert config.reward.custom_reward_function.reward_kwargs.grader == "maths"
    assert config.actor_rollout_ref.rollout.agent.default_agent_loop == "selfdistill"
    off = "+data.apply_chat_template_kwargs.enable_thinking=False"  # for ProblemDataset to refuse
    own = composed("reward.custom_reward_function.path=/own.py", "reward.custom_reward_function.name=mine", off)
    wire_up(own)
    assert (own.reward.custom_reward_function.path, own.reward.custom_reward_function.name) == ("/own.py", "mine")
    assert own.data.selfdistill.need_solution is False
    assert own.data.apply_chat_template_kwargs.enable_thinking is False


def test_the_command_of_the_documentation_is_taken():
    page = (Path(__file__).parents[3] / "docs" / "verl.md").read_text(encoding="utf-8")
    block = next(part for part in page.split("```") if "python -m selfdistill.training.verl" in part)
    words = shlex.split(block.partition("selfdistill.training.verl")[2].replace("\\\n", " "))
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", overrides=words)
    fill_in(config, words)
    settings = wire_up(config)
    assert (settings.run.implementation, settings.run.teacher.kind) == ("rlcsd", "snapshot")


@pytest.mark.parametrize("name", shipped())
@pytest.mark.parametrize("preset", ["corrected", "as_published"])
def test_a_method_alone_on_the_command_line_is_the_published_run(name, preset):
    """Field by field the workflow's, but for what only files and machines decide."""
    words = [f"+selfdistill.implementation={name}", f"+selfdistill.preset={preset}"]
    teacher = shipped()[name].published.get("teacher", {})
    if teacher.get("kind") == "external":  # which one is nobody's published value
        teacher = {**teacher, "model": "/a/folder"}
        words.append("+selfdistill.teacher.model=/a/folder")
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", overrides=words)
    fill_in(config, words)
    settings = wire_up(config)
    verl = {"engine": "vllm", "old_logprobs": "recompute"}
    changes = {"teacher": teacher} if "model" in teacher else {}
    assert settings.run == published_run(name, preset, trainer="verl", rollout=verl, **changes)
    assert VerlSettings.from_hydra(config) == settings  # as Ray's processes read it again


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("actor_rollout_ref.actor.optim.lr=1e-4", "optimizer.learning_rate", 1e-4),
        ("actor_rollout_ref.rollout.val_kwargs={n:5,top_p:1.0,top_k:-1,temperature:0}", "validation.draws", 5),
        ("data.max_response_length=99", "rollout.max_response_tokens", 99),
        ("+selfdistill.objective.tau=0.1", "objective.tau", 0.1),
        ("+selfdistill.update={aggregation:rollouts}", "update.aggregation", "rollouts"),
        ("+selfdistill.hints.k_max=2", "hints.k_max", 2),
    ],
)
def test_what_is_said_on_the_command_line_stays(word, key, value):
    words = ["+selfdistill.implementation=rlcsd", word]
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", overrides=words)
    fill_in(config, words)
    section, name = key.split(".")
    found = getattr(wire_up(config).run, section)
    assert (found[name] if section == "objective" else getattr(found, name)) == value


def test_values_of_the_command_line_are_held_to_their_ranges():
    for word, said in (
        ("+selfdistill.objective.tau=0", "objective.tau: expected more than 0, found 0"),
        ("+selfdistill.objective.tau=nan", "objective.tau: expected a finite number"),
        ("actor_rollout_ref.actor.optim.lr=0", "optimizer.learning_rate: expected more than 0, found 0"),
    ):
        with pytest.raises(UserError, match=said):
            VerlSettings.from_hydra(composed(word))


def test_workers_of_a_running_cluster_get_what_they_need(monkeypatch):
    monkeypatch.setenv("VERL_ENGINE_VENDOR", "selfdistill")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.delenv("SELFDISTILL_REASON_FILE", raising=False)
    config = composed("+ray_kwargs.ray_init.runtime_env.env_vars.OWN=1")
    wire_up(config)
    variables = config.ray_kwargs.ray_init.runtime_env.env_vars
    assert (variables.VERL_ENGINE_VENDOR, variables.PYTHONPATH, variables.OWN) == ("selfdistill", "/somewhere", 1)
    assert "SELFDISTILL_REASON_FILE" not in variables
