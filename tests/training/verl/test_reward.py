"""The reward function, by itself and inside verl's reward worker (a Ray actor whose graders run in threads)."""

import numpy as np
import pytest
import torch

verl = pytest.importorskip("verl")
pytestmark = pytest.mark.verl

from selfdistill.errors import UserError
from selfdistill.training.verl.reward import TRUNCATED, compute_score

TWO_ROLES = r"\boxed{Ava is a knight, Ava is a knave}"


def score(response, truth="5", **options):
    return compute_score("chain-1", response, truth, {"problem_id": "chain-1/0", "index": 0}, **options)


def test_score_says_right_and_boxed():
    assert score(r"so \boxed{5}", grader="maths") == {"score": 1.0, "acc": 1.0, "formatted": 1.0}
    assert score(r"so \boxed{6}", grader="maths") == {"score": 0.0, "acc": 0.0, "formatted": 1.0}
    assert score("so 5", grader="maths") == {"score": 0.0, "acc": 0.0, "formatted": 0.0}


def test_feedback_speaks_of_a_response_that_was_cut():
    told = []
    for about in ({}, {TRUNCATED: False}, {TRUNCATED: True}):
        tests = '{"inputs": ["1"], "outputs": ["1"], "testtype": "stdin"}'
        told.append(compute_score("code", "Well,", tests, about, grader="code")["feedback"])
    assert told[0] == told[1] != told[2]
    assert "too long" in told[2]


def test_the_grader_and_its_leniency_are_those_asked_for():
    truth = "Ava is a knight"
    assert score(TWO_ROLES, truth, grader="knights")["acc"] == 0
    assert score(TWO_ROLES, truth, grader="knights", first_role_counts=True)["acc"] == 1
    with pytest.raises(UserError, match="unknown grader 'chess'"):
        score("nothing", grader="chess")


def test_percentages_are_read_in_verls_environment_too():
    """It has an older antlr, with which latex2sympy2_extended fails on them."""
    assert score(r"\boxed{50\%}", "50", grader="maths")["acc"] == 1
    assert score(r"\boxed{50\%}", "5", grader="maths")["acc"] == 0


def test_verls_extra_keys_and_missing_ones_do_no_harm():
    given = {"num_turns": 2, "rollout_reward_scores": {}}
    assert compute_score("a", r"\boxed{5}", "5", given, grader="maths")["acc"] == 1
    assert compute_score("a", r"\boxed{5}", "5", grader="maths")["acc"] == 1


@pytest.fixture(scope="module")
def reward_worker(tmp_path_factory, tokenizer):
    """verl's reward worker with our function, named in verl's own configuration."""
    import ray
    from hydra import compose, initialize_config_module
    from verl.experimental.reward_loop import RewardLoopWorker

    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save_pretrained(folder)
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose(
            "ppo_trainer",
            [
                f"actor_rollout_ref.model.path={folder}",
                f"actor_rollout_ref.model.tokenizer_path={folder}",
                "reward.custom_reward_function.path=pkg://selfdistill.training.verl.reward",
                "reward.custom_reward_function.name=compute_score",
                "+reward.custom_reward_function.reward_kwargs.grader=maths",
                "+reward.custom_reward_function.reward_kwargs.first_role_counts=False",
            ],
        )
    environment = {"env_vars": {"VERL_USE_EXTERNAL_MODULES": "selfdistill.training.verl.cpu"}}
    options = {"include_dashboard": False, "object_store_memory": 100_000_000, "logging_level": "ERROR"}
    ray.init(num_cpus=1, runtime_env=environment, **options)
    yield ray.remote(RewardLoopWorker).remote(config)
    ray.shutdown()


@pytest.mark.timeout(900)
def test_inside_verls_reward_worker(reward_worker, tokenizer):
    import ray
    from tensordict import TensorDict
    from verl import DataProto

    def asked(response):
        ids = torch.tensor([tokenizer(response, add_special_tokens=False).input_ids])
        row = {"data_source": "chain-1", "reward_model": {"ground_truth": "5"}, "extra_info": {"index": 0}}
        return DataProto(
            TensorDict({"responses": ids, "attention_mask": torch.ones_like(ids)}, batch_size=1),
            {key: np.array([value], dtype=object) for key, value in row.items()},
        )

    # The last two need math-verify, in the process that the grader starts for it.
    responses = [r"\boxed{5}", r"\boxed{6}", "5", r"\boxed{2+3}", r"\boxed{2+4}"]
    results = ray.get([reward_worker.compute_score.remote(asked(r)) for r in responses], timeout=600)
    assert [r["reward_score"] for r in results] == [1.0, 0.0, 0.0, 1.0, 0.0]
    assert results[2]["reward_extra_info"] == {"score": 0.0, "acc": 0.0, "formatted": 0.0}
