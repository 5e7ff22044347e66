"""What jobs ask of a cluster, by model size, attempt and length."""

import pytest

from selfdistill.planning.requests import LONGEST, evaluation_request, training_request, warm_start_request


def test_a_training_run_asks_for_its_nodes_gpus(paper, study_with):
    asked = training_request(paper, "math", "qwen3_4b", "rlcsd")
    assert (asked.gpus, asked.nodes, asked.gres) == (8, 1, "gpu:8")
    two = study_with("paper", "models: {qwen3_8b: {run: {verl: {nodes: 2, gpus_per_node: 4}}}}")
    asked = training_request(two, "math", "qwen3_8b", "rlcsd")
    assert (asked.gpus, asked.nodes, asked.gres) == (4, 2, "gpu:4")


def test_a_toy_run_asks_for_no_gpu_and_at_least_an_hour(demo):
    for asked in (
        training_request(demo, "arithmetic", "tiny_qwen3", "rlcsd"),
        evaluation_request(demo, "knights", "tiny_qwen3"),
    ):
        assert (asked.gpus, asked.nodes, asked.gres, asked.runtime_minutes) == (0, 1, "", 60)
        assert 2000 < asked.mem_mb < 8000


def test_memory_grows_with_the_model_and_with_offloading(paper, study_with):
    sizes = [training_request(paper, "math", name, "grpo").mem_mb for name in ("qwen3_1_7b", "qwen3_4b", "qwen3_8b")]
    assert sizes == sorted(set(sizes))
    assert 100 * 1024 < sizes[1] < 256 * 1024  # a node with 8 GPUs has it
    kept = training_request(paper, "math", "qwen3_8b", "rlcsd").mem_mb
    offloaded = "overrides: {all: {verl: {offload_parameters: true, offload_optimizer: true}}}"
    moved = training_request(study_with("paper", offloaded), "math", "qwen3_8b", "rlcsd").mem_mb
    assert (moved - kept) * 2**20 == pytest.approx((4 + 4 + 8) * 8.19e9, rel=1e-3)


@pytest.mark.parametrize("ask", [training_request, evaluation_request])
def test_every_attempt_asks_for_more_memory_and_for_no_other_gpus(paper, ask):
    cell = ("logic", "qwen3_4b") + (("rlcsd",) if ask is training_request else ())
    first, second, third = (ask(paper, *cell, attempt) for attempt in (1, 2, 3))
    assert second.mem_mb == pytest.approx(1.5 * first.mem_mb, rel=1e-3)
    assert third.mem_mb == pytest.approx(2.25 * first.mem_mb, rel=1e-3)
    assert first.gres == third.gres


def test_time_has_a_margin_grows_and_stays_below_the_longest(paper, study_with):
    short = study_with("paper", "overrides: {all: {steps: 8}}")
    first = training_request(short, "math", "qwen3_4b", "grpo")
    assert 8 * 759 / 60 * 1.5 < first.runtime_minutes < LONGEST
    second = training_request(short, "math", "qwen3_4b", "grpo", 2)
    assert second.runtime_minutes == pytest.approx(1.5 * first.runtime_minutes, abs=1)
    whole = [training_request(paper, "math", "qwen3_4b", "grpo", attempt).runtime_minutes for attempt in (1, 5)]
    assert whole == [LONGEST, LONGEST]


def test_a_measured_run_is_asked_for_again_with_its_own_time(paper, left_run):
    left_run(paper, "math", "qwen3_4b", "grpo", wall=4 * 3600.0, gpus=8)
    assert training_request(paper, "math", "qwen3_4b", "grpo").runtime_minutes == 6 * 60


def test_a_job_on_gpus_may_be_short(paper, left_draws):
    left_draws(paper, "math", "qwen3_4b", "base", wall=20.0, gpus=1)
    assert evaluation_request(paper, "math", "qwen3_4b").runtime_minutes == 10


def test_a_warm_start_asks_for_sixteen_bytes_a_weight_and_no_gpu(demo):
    small, large = (warm_start_request(demo, model) for model in ("smollm2_135m", "qwen3_1_7b"))
    assert large.mem_mb - small.mem_mb == pytest.approx(16 * (1.72e9 - 1.345e8) / 2**20, abs=1)
    assert 4.2 * 1024 < small.mem_mb < 6 * 1024  # measured: 4.2 GiB
    assert (small.gres, small.cpus) == ("", 1)
    assert warm_start_request(demo, "smollm2_135m", attempt=2).mem_mb > small.mem_mb
