"""Words of verl's command line, without verl. What verl makes of them: test_overrides_compose.py."""

import copy

import pytest
from configurations import shipped, study_of

from selfdistill.errors import UserError
from selfdistill.study.verl_words import hydra_overrides

PLACES = {"train_file": "train.parquet", "val_file": "val.parquet", "model": "model", "state": "state"}
GPUS = {"gpus": 8, "nodes": 2, "attention": "flash_attention_2"}


@pytest.fixture
def paper():
    return copy.deepcopy(study_of(files=shipped("paper")).resolve("math", "qwen3_4b", "rlcsd", 0))


@pytest.fixture
def cpu():
    return copy.deepcopy(study_of(files=shipped("verl_cpu")).resolve("arithmetic", "tiny_qwen3", "rlcsd", 0))


def words(config: dict, **changes) -> dict[str, str]:
    return dict(word.split("=", 1) for word in hydra_overrides(config, **(PLACES | GPUS | changes)))


def test_sizes_are_those_of_the_run_whatever_the_machine(paper):
    one, two = words(paper, gpus=1, nodes=1), words(paper)
    assert one.keys() ^ two.keys() == {"+ray_kwargs.ray_init.include_dashboard"}
    differing = {key for key in two if one[key] != two[key]}
    assert differing == {"trainer.n_gpus_per_node", "trainer.nnodes"}
    assert (two["trainer.n_gpus_per_node"], two["trainer.nnodes"]) == ("8", "2")
    assert two["data.train_batch_size"] == "64"
    assert two["data.max_response_length"] == "38912"  # validation's, the longer one
    assert "max_response_tokens:16384" in two["+selfdistill.rollout"]
    assert two["actor_rollout_ref.rollout.max_model_len"] == str(2048 + 38912)


@pytest.mark.parametrize(
    ("kl_coef", "kind", "needed"),
    [(0.0, "none", "false"), (0.0, "snapshot", "false"), (0.001, "none", "true"), (0.0, "initial", "true")],
)
def test_the_initial_model_is_loaded_where_it_is_read(paper, kl_coef, kind, needed):
    paper["update"]["kl_coef"], paper["teacher"]["kind"] = kl_coef, kind
    assert words(paper)["actor_rollout_ref.actor.use_kl_loss"] == needed


def test_other_models_are_named_by_their_folders(paper):
    """And the student's first weights are loaded where the teacher is compared with them."""
    paper["teacher"] |= {"kind": "external", "model": "qwen3_8b", "reference": "initial"}
    said = words(paper, external={"teacher": "/models/x"})
    assert "kind:external" in said["+selfdistill.teacher"]
    assert "model:/models/x,reference:initial" in said["+selfdistill.teacher"]
    assert said["actor_rollout_ref.actor.use_kl_loss"] == "true"


@pytest.mark.parametrize(("master", "expected"), [("float32", "fp32"), ("bfloat16", "bf16")])
def test_master_weights_are_the_runs_and_a_cpus_are_float32(paper, cpu, master, expected):
    for config in (paper, cpu):
        config["optimizer"]["master_dtype"] = master
    for worker in ("actor", "ref"):
        key = f"actor_rollout_ref.{worker}.fsdp_config.model_dtype"
        assert words(paper)[key] == expected
        assert words(cpu, attention="sdpa")[key] == "fp32"
    assert "param_dtype:bf16" in words(paper)["+actor_rollout_ref.actor.fsdp_config.mixed_precision"]


def test_log_probs_are_of_the_full_distribution(paper):
    key = "actor_rollout_ref.rollout.logprobs_mode"
    assert words(paper)[key] == "raw_logprobs"
    paper["rollout"] |= {"temperature": 0.9, "top_p": 1.0, "top_k": 0}
    assert words(paper)[key] == "processed_logprobs"
    assert words(paper)["actor_rollout_ref.rollout.top_k"] == "-1"  # vLLM's word for off
    paper["rollout"] |= {"top_k": 20}
    with pytest.raises(UserError, match=r"rollout\.temperature 0\.9"):
        words(paper)


def test_greedy_validation_does_not_sample(paper):
    paper["validation"]["temperature"] = 0.0
    assert words(paper)["actor_rollout_ref.rollout.val_kwargs.do_sample"] == "false"


def test_a_cpu_gets_processes_that_pose_as_gpus(cpu, paper):
    given = words(cpu, gpus=0, nodes=1, attention="sdpa")
    assert given["trainer.n_gpus_per_node"] == given["+ray_kwargs.ray_init.num_gpus"] == "1"
    assert words(cpu, gpus=2, nodes=1, attention="sdpa")["+ray_kwargs.ray_init.num_gpus"] == "2"
    assert not any(key.lstrip("+").startswith(("ray_kwargs", "transfer_queue")) for key in words(paper))


def test_where_the_cache_is_not_freed_between_steps_no_prefix_is_kept(cpu, paper):
    """verl clears vLLM's keys and values of older weights with the cache only: a long system prompt's would be the
    first weights' for ever."""
    given = words(cpu, attention="sdpa")
    assert given["actor_rollout_ref.rollout.free_cache_engine"] == "false"
    assert given["actor_rollout_ref.rollout.enable_prefix_caching"] == "false"
    assert not {key for key in words(paper) if key.endswith(("free_cache_engine", "enable_prefix_caching"))}


def test_flash_attention_is_refused_on_a_cpu(cpu):
    with pytest.raises(UserError, match=r"verl\.attention 'flash_attention_2' needs a GPU"):
        words(cpu)


def test_paths_are_absolute(paper, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = words(paper)
    for key in ("data.train_files", "data.val_files", "actor_rollout_ref.model.path", "+selfdistill.state"):
        assert given[key].strip("'").startswith(str(tmp_path))


def test_a_path_that_no_quoting_saves_is_refused(paper):
    with pytest.raises(UserError, match="verl takes"):
        words(paper, state="runs/${x}/state")


def test_words_of_ones_own_stand_last(paper):
    paper["verl"]["overrides"] = ["trainer.log_val_generations=2", "+trainer.mine=[a,b]"]
    assert hydra_overrides(paper, **PLACES, **GPUS)[-2:] == paper["verl"]["overrides"]


def test_the_run_config_is_left_as_it_was(paper):
    before = copy.deepcopy(paper)
    words(paper)
    assert paper == before


def test_only_a_run_of_one_node_starts_a_ray_of_its_own(cpu):
    """A cluster that runs already refuses to be told its size."""
    one, two = (
        {word.partition("=")[0] for word in hydra_overrides(cpu, **PLACES, gpus=0, nodes=n, attention="sdpa")}
        for n in (1, 2)
    )
    assert {word for word in one if "ray_init" in word} == one - two
    assert "+ray_kwargs.ray_init.num_gpus" in one
    assert two < one


def test_no_run_opens_a_dashboard(cpu, paper):
    """It would have a fixed port, and show a run to whoever asks."""
    for given in (words(cpu, gpus=0, nodes=1, attention="sdpa"), words(paper, nodes=1)):
        assert given["+ray_kwargs.ray_init.include_dashboard"] == "false"
