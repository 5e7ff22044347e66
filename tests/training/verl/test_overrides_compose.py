"""verl's own configuration takes the words of every run: no unknown key, nothing missing, its checks passed."""

import copy
import functools
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

verl = pytest.importorskip("verl")
pytestmark = pytest.mark.verl

from hydra import compose, initialize_config_module
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import omega_conf_to_dataclass, validate_config

from selfdistill.errors import UserError
from selfdistill.objectives.methods import build_method
from selfdistill.study.matrix import BASE
from selfdistill.study.study import Study, load_study
from selfdistill.study.training_settings import TrainingSettings
from selfdistill.study.verl_words import hydra_overrides
from selfdistill.training.verl.settings import VerlSettings
from selfdistill.training.verl.wiring import wire_up

ROOT = Path(__file__).parents[3]
TINY = ROOT / "resources/base_models/tiny_qwen3/arithmetic"
#: Read only where a reward model is enabled, which no run does.
NEVER_READ = {"reward.reward_model.rollout.name"}
AS_PUBLISHED = "overrides: {all: {preset: as_published}}"


@functools.cache
def study(name: str, more: str = "{}") -> Study:
    config: dict = {}
    texts = [(ROOT / f"config/{file}.yaml").read_text() for file in ("defaults", "models", "methods", "tasks", name)]
    for text in (*texts, more):
        _merge(config, yaml.safe_load(text))
    return load_study(config)


def _merge(into: dict, values: dict) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def words(study: Study, cell: tuple[str, str, str], **changes) -> list[str]:
    places = {"train_file": "train.parquet", "val_file": "val.parquet", "model": TINY, "state": "state"}
    return hydra_overrides(study.resolve(*cell, 0), **(places | study.machine(*cell) | {"attention": "sdpa"} | changes))


@functools.cache
def plain() -> DictConfig:
    """verl's configuration without any word: composing takes 0.3 s, so it is done once."""
    return composed([])


def composed(given: list[str]) -> DictConfig:
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=given)


def with_words(given: list[str]) -> DictConfig:
    """As `composed`: Hydra's own parser and checks, on a copy of the composed configuration."""
    config = copy.deepcopy(plain())
    OmegaConf.set_struct(config, True)
    ConfigLoaderImpl._apply_overrides_to_config(OverridesParser.create().parse_overrides(given), config)
    return config


def cells(name: str) -> list[tuple[str, str, str]]:
    return [(run.task, run.model, run.variant) for run in study(name).runs() if run.variant != BASE]


def missing(node: dict | list | str, path: str = "") -> set[str]:
    """Places of verl's "???", which stands for a value that must be given."""
    if node == "???":
        return {path}
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return set().union(*(missing(value, f"{path}.{key}".lstrip(".")) for key, value in inner))


def taken_over(config: DictConfig) -> None:
    """All that this plug-in and verl check before they load weights."""
    settings = VerlSettings.from_hydra(config)
    wire_up(config)
    assert missing(OmegaConf.to_container(config, resolve=True)) == NEVER_READ  # and every reference leads somewhere
    validate_config(config, need_reference_policy(config), need_critic(config))
    parts = config.actor_rollout_ref
    actor, rollout = omega_conf_to_dataclass(parts.actor), omega_conf_to_dataclass(parts.rollout)
    with open_dict(parts.ref):  # as engine_workers.ActorRolloutRefWorker does before it converts it
        for name in ("micro_batch_size", "micro_batch_size_per_gpu", "max_token_len_per_gpu"):
            parts.ref[f"ppo_{name}"] = parts.ref.pop(f"log_prob_{name}")
        parts.ref.use_dynamic_bsz = parts.ref.pop("log_prob_use_dynamic_bsz")
    reference = omega_conf_to_dataclass(parts.ref)
    assert actor.engine.strategy == reference.engine.strategy == "fsdp2"
    assert reference.engine.forward_only
    assert rollout.max_model_len >= rollout.prompt_length + rollout.response_length
    assert settings.run.rollout.max_response_tokens <= rollout.response_length


@pytest.mark.parametrize("name", ["paper", "verl_cpu"])
def test_every_run_of_a_matrix_is_taken_over(name):
    for cell in cells(name):
        taken_over(with_words(words(study(name), cell)))


@pytest.mark.parametrize("preset", ["{}", AS_PUBLISHED], ids=["corrected", "as_published"])
def test_the_plug_in_reads_its_settings_back_for_every_variant(preset):
    changed = study("paper", preset)
    for cell in dict.fromkeys(("logic", "qwen3_4b", variant) for _, _, variant in cells("paper")):
        run, config = changed.resolve(*cell, 0), with_words(words(changed, cell))
        if preset == AS_PUBLISHED:  # the others are among the runs above
            taken_over(copy.deepcopy(config))
        read = VerlSettings.from_hydra(config)
        expected = TrainingSettings.from_config(run)
        machine = replace(read.run.verl, head_rows=expected.verl.head_rows)  # the rest is verl's own
        method = build_method(expected.implementation, expected.objective)  # a later setting may be left at its default
        assert build_method(read.run.implementation, read.run.objective) == method
        assert replace(read.run, verl=expected.verl, objective=expected.objective) == expected
        assert machine == read.run.verl
        assert read.run.needs_initial == config.actor_rollout_ref.actor.use_kl_loss
        # What the FSDP engine clips by: actor.grad_clip is read by other engines.
        assert config.actor_rollout_ref.actor.optim.clip_grad == run["optimizer"]["max_grad_norm"]


def test_words_on_a_composed_configuration_are_what_composing_gives():
    """Holds the short cut of this file to Hydra's own way."""
    given = words(study("verl_cpu"), ("arithmetic", "tiny_qwen3", "rlcsd"))
    assert OmegaConf.to_container(with_words(given)) == OmegaConf.to_container(composed(given))


def test_the_model_is_taken_over():
    model = omega_conf_to_dataclass(
        with_words(words(study("verl_cpu"), ("arithmetic", "tiny_qwen3", "grpo"))).actor_rollout_ref.model
    )
    assert model.hf_config._attn_implementation == "sdpa"
    assert not model.trust_remote_code


ODD = ["a b", "a=b", "a+b@c", "it's", 'say "x"', "$x", "{y}", "back\\slash", "end\\", "both\\'", "null", "1e5"]
ODD += ["{a:b}", "[1,2]", "a,b", "amc23+aime24", "grün", "#no", "~home"]


@pytest.mark.parametrize("name", ODD)
def test_paths_come_out_as_they_went_in(name, tmp_path):
    """Also where Hydra's grammar or OmegaConf's interpolation has a meaning of its own for them."""
    cell = ("arithmetic", "tiny_qwen3", "grpo")
    config = with_words(words(study("verl_cpu"), cell, train_file=tmp_path / name, state=tmp_path / name / "state"))
    for _ in range(2):  # as verl does
        OmegaConf.resolve(config)
    assert config.data.train_files == str(tmp_path / name)
    assert config.selfdistill.state == str(tmp_path / name / "state")


def test_words_of_ones_own_come_last_and_reach_verl():
    own = "overrides: {all: {verl: {overrides: ['trainer.logger=[console,file]', +trainer.mine=3]}}}"
    cell = ("arithmetic", "tiny_qwen3", "grpo")
    with pytest.raises(UserError, match=r"trainer\.logger"):
        study("verl_cpu", own)
    own = own.replace("trainer.logger=[console,file]", "trainer.log_val_generations=2")
    config = with_words(words(study("verl_cpu", own), cell))
    assert (config.trainer.log_val_generations, config.trainer.mine) == (2, 3)
