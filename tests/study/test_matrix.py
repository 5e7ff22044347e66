"""Which runs a matrix holds, and what each asks of a machine."""

import re

import pytest
from configurations import DEMO, REGISTRIES, ROOT, VERL, merged, resolved, study_of
from snakemake.cli import parse_config
from snakemake.utils import update_config

from selfdistill.errors import UserError
from selfdistill.schemas import schema
from selfdistill.study.matrix import BASE
from selfdistill.study.study import load_study
from selfdistill.study.training_settings import TrainingSettings


def test_the_matrix_takes_values_from_the_command_line():
    config = merged()
    update_config(config, parse_config(["matrix={seeds: [0, 3], variants: [grpo]}"]))
    runs = load_study(config).runs()
    assert [(run.task, run.variant, run.seed) for run in runs] == [
        ("arithmetic", "grpo", 0),
        ("arithmetic", "grpo", 3),
        ("knights", "grpo", 0),
        ("knights", "grpo", 3),
    ]


def test_the_matrix_expands_to_runs_with_their_folders():
    runs = load_study(merged("matrix: {seeds: [0, 1]}")).runs()
    assert len(runs) == 2 * 1 * 9 * 2 == len({run.folder for run in runs})
    assert runs[0].folder == "results/runs/arithmetic/tiny_qwen3/base/seed0"
    assert runs[-1].draws_folder == "results/draws/knights/tiny_qwen3/rlsd_ectr/seed1"
    assert {run.method for run in runs if run.variant == BASE} == {BASE}


TASKS = ("arithmetic", "knights")


ABLATIONS = ROOT / "config" / "ablations.yaml"


DEMO_VARIANTS = ["base", "grpo", "opsd", "sdpo", "srpo", "rlsd", "rlcsd", "opsd_ectr", "rlsd_ectr"]


HINT_SETTINGS = [
    *("opsd", "rlsd", "rlcsd-one_sided_solution"),
    *("opsd-own_rollout", "rlsd-own_rollout", "rlcsd-one_sided_own_rollout"),
    *("opsd_ectr", "rlsd_ectr", "rlcsd"),
]


ABLATED = ["rlcsd-one_wrong_hint", "rlcsd-self_hint", "rlcsd-no_anchor", "rlcsd-single_path"]


MATRICES = {"demo": DEMO_VARIANTS, "ablations": ["base", "grpo", *HINT_SETTINGS, *ABLATED]}


MERGED_FILES = {"demo": (*REGISTRIES, DEMO), "ablations": (*REGISTRIES, DEMO, ABLATIONS)}


@pytest.mark.parametrize("name", MATRICES)
def test_the_shipped_matrices_hold_what_they_promise_on_both_tasks_with_one_seed(name):
    runs = study_of(files=MERGED_FILES[name]).runs()
    expected = [(task, variant, 0) for task in TASKS for variant in MATRICES[name]]
    assert [(run.task, run.variant, run.seed) for run in runs] == expected


@pytest.mark.parametrize("name", MATRICES)
def test_the_shipped_matrices_are_scaled_to_the_toy(name):
    """16 of 103 ids with tail, lambda gone after 20 steps, a sync every 5; the rest as published."""
    study = study_of(files=MERGED_FILES[name])
    for run in (study.resolve(*(r.task, r.model, r.variant, r.seed)) for r in study.runs() if r.variant != BASE):
        objective = run["objective"]
        assert (run["steps"], run["optimizer"]["warmup_steps"], run["teacher"]["sync_interval"]) == (30, 4, 5)
        assert objective.get("top_k", 16) == 16
        assert objective.get("tail", True)
        assert objective.get("lam_decay_steps", 20) == 20


def test_the_ablations_share_their_reference_runs_with_the_demo_and_are_refused_without_it():
    studies = [study_of(files=files) for files in MERGED_FILES.values()]
    for variant in set(MATRICES["demo"]) & set(MATRICES["ablations"]) - {BASE}:
        demo, ablations = (study.resolve("knights", "tiny_qwen3", variant, 0) for study in studies)
        assert demo == ablations
    with pytest.raises(UserError, match="matrix: key 'tasks' is missing; a config file stands in place of"):
        load_study(merged(files=(*REGISTRIES, ABLATIONS)))


@pytest.mark.parametrize("preset", ["corrected", "as_published"])
@pytest.mark.parametrize("name", MATRICES)
def test_the_local_trainer_takes_every_run_of_the_shipped_matrices(name, preset):
    from selfdistill.objectives.methods import build_method

    study = study_of(f"overrides: {{all: {{preset: {preset}}}}}", files=MERGED_FILES[name])
    for run in study.runs():
        if run.variant == BASE:
            continue
        taken = TrainingSettings.from_config(study.resolve(run.task, run.model, run.variant, 0))
        assert taken.rollout.prompts_per_step % taken.update.prompts_per_update == 0
        assert taken.hints.max_tokens >= taken.rollout.max_response_tokens
        needs = build_method(taken.implementation, taken.objective).needs
        assert needs.correct_hint == (taken.hints.source != "none") == (taken.teacher.kind != "none"), run
        assert needs.wrong_hints == (run.variant not in ONE_SIDED and run.variant != "grpo"), run


ONE_SIDED = {"sdpo", "sdpo_official", "srpo", *HINT_SETTINGS[:6]}


def test_the_matrix_of_the_cpu_goes_alone_and_fits_its_model():
    study = load_study(merged(files=(*REGISTRIES, ROOT / "config" / "verl_cpu.yaml")))
    assert [run.variant for run in study.runs()] == ["base", "grpo-verl", "rlcsd-verl"]
    run = study.resolve("arithmetic", "tiny_qwen3", "rlcsd-verl", 0)
    assert (run["trainer"], run["verl"]["device"], run["verl"]["dtype"]) == ("verl", "cpu", "float32")
    longest = run["rollout"]["max_prompt_tokens"] + run["rollout"]["max_response_tokens"] + run["hints"]["max_tokens"]
    assert longest <= study.config["models"]["tiny_qwen3"]["architecture"]["max_positions"]


def cells_of(*texts: str) -> list[tuple]:
    config = merged(*texts, files=REGISTRIES)
    return [(run.task, run.model, run.variant, run.seed) for run in load_study(config).runs()]


BLOCKS = """
matrix:
  seeds: [0, 1]
  models: [tiny_qwen3]
  blocks:
    main: {tasks: [knights], variants: [base, grpo]}
    more: {tasks: [arithmetic, knights], variants: [rlcsd, grpo], seeds: [1]}
"""


def test_blocks_are_united_run_by_run_in_the_order_in_which_things_are_named():
    tiny = "tiny_qwen3"
    assert cells_of(BLOCKS) == [
        *[("knights", tiny, variant, seed) for variant in ("base", "grpo") for seed in (0, 1)],
        ("knights", tiny, "rlcsd", 1),
        *[("arithmetic", tiny, variant, 1) for variant in ("grpo", "rlcsd")],
    ]


def test_one_block_is_the_plain_matrix():
    plain = "matrix: {tasks: [knights, arithmetic], models: [tiny_qwen3], variants: [rlcsd, grpo], seeds: [3, 0]}"
    assert cells_of(plain) == cells_of(f"matrix: {{blocks: {{all: {plain.removeprefix('matrix: ')}}}}}")


def test_what_all_blocks_leave_to_the_matrix_can_be_changed_for_all():
    assert {cell[3] for cell in cells_of(BLOCKS, "matrix: {seeds: [7]}")} == {7, 1}


def test_tables_get_the_tasks_of_all_blocks():
    study = load_study(merged(BLOCKS, files=REGISTRIES))
    assert list(study.reporting()) == ["knights", "arithmetic"]
    assert study.generated_only


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("matrix: {blocks: {more: {variants: [rlcds]}}}", "matrix.blocks.more.variants: unknown variant 'rlcds'"),
        ("matrix: {blocks: {more: {seeds: [1, 1]}}}", "matrix.blocks.more.seeds: 1 is listed twice"),
        (
            "matrix: {blocks: {more: {taks: [knights]}}}",
            "matrix.blocks.more: unknown key 'taks'; the nearest valid key",
        ),
        (
            "matrix: {blocks: {third: {tasks: [knights]}}}",
            "matrix.blocks.third: key 'variants' is missing, here and in",
        ),
        ("matrix: {tasks: [knights]}", "matrix.tasks: every block names its own tasks, so this list would be read by"),
        ("matrix: {tasks: [knigths]}", "matrix.tasks: every block names its own tasks"),
    ],
)
def test_wrong_blocks_are_refused(text, said):
    with pytest.raises(UserError, match=re.escape(said)):
        load_study(merged(BLOCKS, text, files=REGISTRIES))


def test_a_run_of_verl_has_its_section_and_any_other_run_has_not():
    local, verl = resolved(), resolved(VERL)
    assert "verl" not in local
    assert resolved("overrides: {all: {verl: {dtype: float32}}}") == local
    keys = set(schema("run")["properties"]["verl"]["properties"])
    assert set(verl["verl"]) == keys - {"nodes", "gpus_per_node", "shared_prompts"}
    assert resolved(VERL, "overrides: {all: {verl: {dtype: float32}}}") != verl


def test_the_machine_is_no_part_of_a_run():
    more = "overrides: {all: {verl: {nodes: 2, gpus_per_node: '4'}}}"
    assert resolved(VERL, more) == resolved(VERL)
    cell = ("arithmetic", "tiny_qwen3", "rlcsd")
    assert load_study(merged(VERL)).machine(*cell) == {"nodes": 1, "gpus": 8}
    assert load_study(merged(VERL, more)).machine(*cell) == {"nodes": 2, "gpus": 4}
    assert load_study(merged(more)).machine(*cell) == {"nodes": 1, "gpus": 0}
    assert load_study(merged(VERL, more, "defaults: {verl: {device: cpu}}")).machine(*cell) == {"nodes": 2, "gpus": 0}


def test_a_models_layer_may_ask_for_more_machines():
    larger = "models: {tiny_qwen3: {run: {verl: {nodes: 2}}}}"
    assert load_study(merged(VERL, larger)).machine("knights", "tiny_qwen3", "grpo") == {"nodes": 2, "gpus": 8}
