"""The small tier's configurations, and what goes on top of them: each resolves, and says what its header says."""

import pytest
from configurations import shipped, study_of

from selfdistill.planning.requests import training_request
from selfdistill.study.matrix import BASE
from selfdistill.study.verl_words import hydra_overrides


def test_the_small_tier_trains_three_methods_on_both_tasks_beside_the_model_as_it_comes():
    runs = study_of(files=shipped("small")).runs()
    trained = {(run.task, run.variant) for run in runs if run.variant != BASE}
    assert trained == {(task, method) for task in ("sums", "knaves") for method in ("grpo", "rlcsd", "opsd")}
    untrained = {(run.task, run.model) for run in runs if run.variant == BASE}
    assert untrained == {(task, f"smollm2_135m{end}") for task in ("sums", "knaves") for end in ("", "_plain")}


@pytest.mark.parametrize("names", [("small", "small_verl"), ("gpu_24gb",)])
def test_what_goes_through_verl_has_a_command_line(names):
    study = study_of(files=shipped(*names))
    trained = [run for run in study.runs() if run.variant != BASE]
    assert len(trained) == 2
    for run in trained:
        machine = study.machine(run.task, run.model, run.variant)
        settings = study.resolve(run.task, run.model, run.variant, run.seed)
        places = dict.fromkeys(("train_file", "val_file", "model", "state"), "somewhere")
        words = dict(word.split("=", 1) for word in hydra_overrides(settings, **places, **machine, attention="sdpa"))
        assert words["actor_rollout_ref.actor.fsdp_config.model_dtype"] == "fp32"
        offloaded = words.get("actor_rollout_ref.actor.fsdp_config.offload_policy")
        assert offloaded == (None if "small" in names else "True")


def test_weights_that_live_in_main_memory_are_asked_for():
    """Qwen3-1.7B: 16 bytes a weight for an update, 4 more for rlcsd's teacher, on top of what any run takes."""
    study = study_of(files=shipped("gpu_24gb"))
    grpo, rlcsd = (training_request(study, "math", "qwen3_1_7b", method) for method in ("grpo", "rlcsd"))
    weights = 1.72e9 / 2**20
    assert rlcsd.mem_mb - grpo.mem_mb == pytest.approx(4 * weights, rel=0.01)
    assert grpo.mem_mb > 36 * 1024 + 28 * weights - 2
    assert rlcsd.mem_mb < 96 * 1024
