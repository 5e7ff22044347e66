"""The cross-model study: config/opd.yaml against what the paper prints and what its source has, value by value."""

import re
from pathlib import Path

import pytest
import yaml
from configurations import REGISTRIES, flat, merged

from selfdistill.reporting.read.published import FOLDER, OPD, OPD_MODELS, published_rows, read_published, study_rows
from selfdistill.reporting.tokens.diagnosis import LISTED
from selfdistill.study.matrix import BASE
from selfdistill.study.study import load_study

FILE = Path(__file__).parents[2] / "config" / "opd.yaml"
DEMO = FILE.with_name("opd_demo.yaml")
STUDENT = "qwen3_1_7b_base"
TEACHERS = {"opd-instruct": "qwen3_4b_instruct", "opd-grpo": "qwen3_4b_base_grpo"}
HUB = {
    STUDENT: "Qwen/Qwen3-1.7B-Base",
    "qwen3_4b_instruct": "Qwen/Qwen3-4B",
    "qwen3_4b_base_grpo": "lllyx/Qwen3-4B-Base-GRPO",
}
#: What the paper prints, or says in words.
PRINTED = {
    "steps": 300,
    "chat.thinking": False,
    "teacher.kind": "external",
    "benchmarks": ["amc23", "aime24", "aime25"],
    "objective.advantage_clip": 10.0,
    "objective.extrapolation": 1.0,
    "objective.task_weight": 0.0,
    "update.kl_coef": 0.0,
}
#: What it leaves open -> value, and whether the set-up that it names has it.
OPEN = {
    "rollout.prompts_per_step": (64, "source"),
    "rollout.group_size": (4, "source"),
    "rollout.max_prompt_tokens": (1024, "source"),
    "rollout.max_response_tokens": (7168, "source"),
    "rollout.temperature": (1.0, "source"),
    "rollout.top_p": (1.0, "ours"),
    "rollout.top_k": (0, "ours"),
    "optimizer.learning_rate": (1e-6, "source"),
    "optimizer.warmup_steps": (0, "ours"),
    "optimizer.master_dtype": ("float32", "source"),
    "update.prompts_per_update": (64, "ours"),
    "validation.max_response_tokens": (7168, "ours"),
}


@pytest.fixture(scope="module")
def study():
    return load_study(merged(files=(*REGISTRIES, FILE)))


@pytest.mark.parametrize("variant", TEACHERS)
def test_every_value_is_the_papers_or_marked_as_open(study, variant):
    settings = flat(study.resolve("math", STUDENT, variant, 0))
    expected = PRINTED | {key: value for key, (value, _) in OPEN.items()}
    assert {key: settings[key] for key in expected} == expected
    assert study.external_models("math", STUDENT, variant) == {"teacher": TEACHERS[variant]}
    assert study.config["tasks"]["math"]["metric"] == "mean@12"


def test_marks_are_those_of_the_lists_above():
    marked = dict(re.findall(r"^ +(\w+): [^#{\n]*# open, (source|ours)", FILE.read_text(), re.MULTILINE))
    assert marked == {key.partition(".")[2]: who for key, (_, who) in OPEN.items() if not key.startswith("validation")}
    set_here = flat(yaml.safe_load(FILE.read_text())["overrides"]["all"])
    assert set_here.keys() - {"trainer", "rollout.engine", "rollout.old_logprobs"} == {
        *OPEN,
        "steps",
        "chat.thinking",
    }


def test_one_student_two_teachers_and_these_by_themselves(study):
    runs = [(run.model, run.variant) for run in study.runs()]
    assert sorted(runs) == sorted(
        [(STUDENT, BASE), *((STUDENT, variant) for variant in TEACHERS), *((name, BASE) for name in TEACHERS.values())]
    )
    assert {name: study.config["models"][name]["hub"]["id"] for name in HUB} == HUB
    assert set(study.hub_files()["models"]) == {f"{name}@main" for name in HUB.values()}
    assert [each.teacher for each in study.diagnoses.cells()] == list(TEACHERS.values())
    diagnosis = study.diagnoses.of("math", STUDENT, "qwen3_4b_instruct")
    assert (diagnosis["prompts"], diagnosis["rollouts"], diagnosis["engine"]) == (200, 2, "transformers")


def test_published_numbers_stand_beside_the_runs_that_they_are_of(study):
    found = {(run.model, run.variant): published_rows(run.model, run.variant) for run in study.runs()}
    assert sorted(cell.value for cells in found.values() for cell in cells) == sorted(
        float(row["percent"]) for row in study_rows(OPD)
    )
    assert all(len(cells) == 4 for cells in found.values())
    averages = {key: next(c.value for c in cells if c.benchmark == "average") for key, cells in found.items()}
    assert averages[STUDENT, "opd-grpo"] - averages[STUDENT, "opd-instruct"] == pytest.approx(5.0)
    alone = [averages[teacher, BASE] for teacher in TEACHERS.values()]
    assert alone[0] - alone[1] == pytest.approx(2.4)
    lists = {}
    for row in read_published(FOLDER / "opd_tokens.csv", "source", "teacher", "rank", "token", "kl_nats"):
        lists.setdefault(row["teacher"], []).append(float(row["kl_nats"]))
    assert lists.keys() == {OPD_MODELS[teacher] for teacher in TEACHERS.values()}
    for values in lists.values():
        assert len(values) == LISTED
        assert values == sorted(values, reverse=True)


def test_the_toys_teachers_come_of_a_run_of_its_matrix_and_know_every_word(tokenizer):
    study = load_study(merged(files=(*REGISTRIES, DEMO)))
    folders = {run.folder for run in study.runs()}
    teachers = {teacher for run in study.runs() if run.variant != BASE
                for teacher in study.external_models(run.task, run.model, run.variant).values()}  # fmt: skip
    assert teachers == {"tiny_near", "tiny_far"}
    assert {study.trained_model(teacher, "arithmetic").folder for teacher in teachers} <= folders
    assert [each.teacher for each in study.diagnoses.cells()] == ["tiny_near", "tiny_far"]
    wording = study.base_model("tiny_far", "arithmetic")["warm_start"]["arithmetic"]["wording"]
    for text in wording.values():
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids).strip() == text.strip()
