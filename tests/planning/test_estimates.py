"""Hours, GPU-hours and bytes, by their sources, best first."""

import subprocess
import sys

import pytest

from selfdistill.planning import estimates

PUBLISHED = {"grpo": 759.0, "rlsd": 812.8, "rlcsd": 891.6, "sdpo": 961.1, "srpo": 1011.5, "opsd": 1035.5}


@pytest.mark.parametrize("method", PUBLISHED)
def test_the_papers_own_runs_take_its_seconds(paper, method):
    found = estimates.training(paper, "math", "qwen3_4b", method)
    drawn_a_second = 512 * 8300 / 503.8  # of the paper's grpo, on 8 GPUs
    validation = (83 + 30 + 30) * 12 * 38912 / 2 / drawn_a_second
    # Start-up; 480 steps; a validation before them and after every 50, the last one among them.
    assert found.seconds == pytest.approx(100 + 480 * PUBLISHED[method] + 11 * validation)
    assert found.gpu_hours == pytest.approx(8 * found.hours)
    assert "the paper's seconds a step" in found.source
    assert found.basis == f"{PUBLISHED[method]:.0f} s a step ({method})"


def test_seconds_go_with_parameters_tokens_and_gpus(study_with):
    plain = "overrides: {all: {validation: {draws: 1, problems: 1, max_response_tokens: 1}}}"
    base = estimates.training(study_with("paper", plain), "math", "qwen3_4b", "grpo").seconds
    fewer = "overrides: {all: {rollout: {max_response_tokens: 8192}, verl: {gpus_per_node: 4}}}"
    same = study_with("paper", plain, fewer)
    assert estimates.training(same, "math", "qwen3_4b", "grpo").seconds == pytest.approx(base, rel=1e-3)
    twice = study_with("paper", plain, "models: {qwen3_4b: {parameters: 8.04e9}}")
    found = estimates.training(twice, "math", "qwen3_4b", "grpo")
    assert found.seconds == pytest.approx(2 * base, rel=1e-3)
    assert found.basis == "759 s a step (grpo) x 2 parameters"
    nodes = study_with("paper", plain, "overrides: {all: {verl: {nodes: 2}}}")
    found = estimates.training(nodes, "math", "qwen3_4b", "grpo")
    assert (found.seconds, found.gpus) == (pytest.approx(base / 2, rel=1e-3), 16)


def test_what_has_no_published_seconds_says_so(paper):
    logic = estimates.training(paper, "logic", "qwen3_4b", "rlcsd")
    assert "upper bound" in logic.source
    assert "upper bound" not in estimates.training(paper, "math", "qwen3_4b", "rlcsd").source
    plug_in = estimates.training(paper, "math", "qwen3_4b", "opsd_ectr")
    assert "nearest loss" in plug_in.source
    assert "(opsd)" in plug_in.basis
    assert estimates.published_seconds("somebody.else:Loss") == (1035.5, "opsd")


def test_measured_runs_of_the_same_loss_come_first(paper, left_run):
    left_run(paper, "math", "qwen3_4b", "rlcsd", wall=480 * 100.0, gpus=8)
    left_run(paper, "math", "qwen3_4b", "rlcsd", 1, wall=480 * 200.0, gpus=8)
    left_run(paper, "math", "qwen3_4b", "grpo", wall=480 * 1000.0, gpus=8)
    found = estimates.training(paper, "math", "qwen3_4b", "rlcsd-gt_cot")  # another variant of the same loss
    assert found.seconds == pytest.approx(480 * 150)
    assert "measured runs of the same task, model and loss" in found.source


def test_measured_runs_of_another_loss_give_theirs_by_the_published_ratio(paper, left_run):
    left_run(paper, "math", "qwen3_4b", "grpo", wall=480 * 100.0, gpus=8)
    found = estimates.training(paper, "math", "qwen3_4b", "opsd")
    assert found.seconds == pytest.approx(480 * 100 * 1035.5 / 759)
    assert "ratio" in found.source
    elsewhere = estimates.training(paper, "logic", "qwen3_4b", "opsd")  # another task
    assert "measured" not in elsewhere.source


def test_measured_runs_are_scaled_to_the_steps_sizes_and_gpus_asked_for(study_with, left_run):
    study = study_with("paper", "overrides: {all: {steps: 10, rollout: {group_size: 16}, verl: {gpus_per_node: 4}}}")
    small = study_with("paper", "overrides: {all: {steps: 5}}")
    left_run(small, "math", "qwen3_4b", "grpo", wall=500.0, gpus=8)  # 100 s a step
    assert estimates.training(study, "math", "qwen3_4b", "grpo").seconds == pytest.approx(10 * 100 * 2 * 2)


def test_a_toy_run_on_a_cpu_says_nothing_of_gpus_and_the_other_way_round(demo, paper, left_run):
    left_run(paper, "math", "qwen3_4b", "grpo", wall=10.0, gpus=0)
    assert "measured" not in estimates.training(paper, "math", "qwen3_4b", "grpo").source
    toy = estimates.training(demo, "arithmetic", "tiny_qwen3", "rlcsd")
    assert (toy.gpus, toy.gpu_hours) == (0, 0)
    assert 20 < toy.seconds < 300  # the README's demo: some 60 s a run
    assert "demo" in toy.source


@pytest.mark.parametrize("damage", ["", "[]", '{"wall_seconds": 0, "gpu_hours": 0}', '{"wall_seconds": "long"}'])
def test_files_that_say_nothing_are_passed_over(paper, left_run, tmp_path, damage):
    left_run(paper, "math", "qwen3_4b", "grpo", wall=480.0, gpus=8)
    (file,) = tmp_path.glob("results/runs/*/*/*/*/provenance.json")
    file.write_text(damage)
    assert "measured" not in estimates.training(paper, "math", "qwen3_4b", "grpo").source


def test_evaluation_goes_with_problems_draws_and_limit_until_it_is_measured(paper, study_with, left_draws):
    assumed = estimates.evaluation(paper, "math", "qwen3_4b")
    tokens = (83 + 30 + 30) * 12 * 38912 / 2
    assert assumed.disk_bytes == pytest.approx(2 * 2 * tokens)  # in the state and published
    assert assumed.seconds == pytest.approx(180 + tokens / (512 * 8300 / 503.8 / 8))
    assert assumed.gpus == 1
    assert "assumed" in assumed.source
    left_draws(paper, "math", "qwen3_4b", "base", wall=1000.0, gpus=1)
    left_draws(paper, "math", "qwen3_4b", "grpo", wall=3000.0, gpus=1)
    found = estimates.evaluation(study_with("paper"), "math", "qwen3_4b")
    assert "assumed" in found.source  # read before: one process, one plan
    estimates.measured.evaluations.cache_clear()
    found = estimates.evaluation(study_with("paper"), "math", "qwen3_4b")
    assert (found.seconds, found.source) == (2000.0, "measured evaluations of the same task and model")


def test_benchmarks_of_another_task_add_their_problems_at_the_tasks_own_draws_and_limit(demo, study_with):
    plain = estimates.evaluation(demo, "arithmetic", "tiny_qwen3")
    some = study_with("demo", "tasks: {arithmetic: {also: {math: {problems: 10}, knights: {problems: 50}}}}")
    every = study_with("demo", "tasks: {arithmetic: {also: {math: {}}}}")
    added = (3 * 10 + 12 + 3 * 50) * 12 * 80 / 2  # knights-2 has 12 problems only
    found = [estimates.evaluation(study, "arithmetic", "tiny_qwen3") for study in (some, every)]
    assert found[0].seconds - plain.seconds == pytest.approx(added / 5000)
    assert found[1].seconds - plain.seconds == pytest.approx((83 + 30 + 30) * 12 * 80 / 2 / 5000)


def test_an_evaluation_on_fewer_benchmarks_is_no_measure(demo, study_with, left_draws):
    left_draws(demo, "arithmetic", "tiny_qwen3", "grpo", wall=7.0, gpus=0)
    assert estimates.evaluation(demo, "arithmetic", "tiny_qwen3").seconds == 7.0
    more = study_with("demo", "tasks: {arithmetic: {also: {math: {problems: 10}}}}")
    assert "measured" not in estimates.evaluation(more, "arithmetic", "tiny_qwen3").source


def test_bytes_of_weights_and_checkpoints(paper, demo):
    grpo, rlcsd = (estimates.training(paper, "math", "qwen3_4b", name) for name in ("grpo", "rlcsd"))
    assert grpo.disk_bytes == 2 * 2 * 4.02e9  # bfloat16, in the state and published
    assert grpo.running_bytes == 2 * 12 * 4.02e9
    assert rlcsd.running_bytes == 2 * 16 * 4.02e9  # a snapshot teacher's own weights
    assert estimates.training(demo, "arithmetic", "tiny_qwen3", "grpo").disk_bytes == 2 * 4 * 2.3e5  # float32


def test_nothing_heavy_is_imported():
    code = (
        "import sys; from selfdistill.planning import requests; "
        "print(sorted({'torch', 'transformers', 'pandas', 'verl', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
