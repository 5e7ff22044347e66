"""A task whose models are evaluated on the benchmarks of other tasks too: what that changes, and what it does not."""

import re

import pytest
from configurations import merged, shipped, study_of

from selfdistill.errors import UserError
from selfdistill.study.matrix import BASE
from selfdistill.study.study import load_study

#: One other task in part, on the hub, and one wholly, of a generator.
ALSO = "tasks: {arithmetic: {also: {math: {problems: 10}, knights: {}}}}"
OWN = ["chain-3", "chain-5", "chain-8", "chain-10"]
COMPETITIONS, PUZZLES = ["amc23", "aime24", "aime25"], ["knights-2", "knights-3", "knights-4", "knights-5"]


def test_a_task_without_it_has_the_settings_that_it_always_had():
    evaluation = study_of().evaluation("arithmetic")
    assert list(evaluation) == ["task", "grader", "first_role_counts", "draws", "benchmarks", "evaluation", "data"]
    assert study_of("tasks: {arithmetic: {also: {}}}").evaluation("arithmetic") == evaluation


def test_problems_and_grader_are_the_other_tasks_and_all_else_is_its_own():
    strict = "tasks: {knights: {first_role_counts: true, draws: 3}}"
    study = study_of(ALSO, strict)
    evaluation = study.evaluation("arithmetic")
    others = evaluation.pop("also")
    assert evaluation == study_of().evaluation("arithmetic")
    assert others["math"]["problems"] == 10
    assert others["math"]["benchmarks"] == COMPETITIONS
    knights = {key: others["knights"][key] for key in ("grader", "first_role_counts", "benchmarks", "data")}
    assert knights == {key: study.evaluation("knights")[key] for key in knights}
    assert others["knights"].keys() == knights.keys()


def test_no_run_is_trained_anew_and_every_one_is_evaluated_anew():
    plain, more = study_of(), study_of(ALSO)
    for variant in ("grpo", "rlcsd"):
        cell = ("arithmetic", "tiny_qwen3", variant, 0)
        assert more.resolve(*cell) == plain.resolve(*cell)
        assert more.evaluation_hash(*cell) != plain.evaluation_hash(*cell)
    assert more.data_file("arithmetic", "val") == plain.data_file("arithmetic", "val")
    assert more.evaluation("knights") == plain.evaluation("knights")


@pytest.mark.parametrize(
    ("change", "stale"),
    [
        ("tasks: {arithmetic: {also: {math: {problems: 11}}}}", True),
        ("tasks: {knights: {first_role_counts: true}}", True),
        ("tasks: {knights: {benchmarks: {knights-5: {problems: 201}}}}", True),
        ("tasks: {math: {data: {hub: {revision: other}}}}", True),
        (
            "tasks: {knights: {evaluation: {temperature: 1.0}, draws: 3, data: {generator: {train: {problems: 9}}}}}",
            False,
        ),
        ("tasks: {knights: {benchmarks: {knights-5: {counted: false, distribution: in}}}}", False),
    ],
)
def test_draws_follow_the_other_tasks_problems_and_grading_and_nothing_else(change, stale):
    assert (study_of(ALSO, change).evaluation("arithmetic") != study_of(ALSO).evaluation("arithmetic")) == stale


def test_its_benchmarks_come_after_the_tasks_own_and_never_count():
    shown = study_of(ALSO).reporting()["arithmetic"]
    assert shown["metric"] == "mean@12"
    assert list(shown["benchmarks"]) == [*OWN, *COMPETITIONS, *PUZZLES]
    counted = {name: about["counted"] for name, about in shown["benchmarks"].items()}
    assert [name for name in counted if counted[name]] == OWN
    assert shown["benchmarks"]["knights-5"]["distribution"] == "out"


def test_a_lock_holds_its_evaluation_file_and_not_its_training_set():
    matrix = "matrix: {tasks: [arithmetic], models: [tiny_qwen3], variants: [grpo]}"
    files = study_of(ALSO, matrix).hub_files()["datasets"]
    assert files == {"Leyiii/RLCSD@main": ["amc23+aime24+aime25/val.parquet"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tasks: {arithmetic: {also: {maths: {}}}}", "tasks.arithmetic.also: unknown task 'maths'; the nearest known"),
        (
            "tasks: {arithmetic: {also: {arithmetic: {}}}}",
            "tasks.arithmetic.also: 'arithmetic' is the task itself; name",
        ),
        (
            "tasks: {arithmetic: {also: {math: {problem: 3}}}}",
            "also.math: unknown key 'problem'; the nearest valid key",
        ),
        ("tasks: {arithmetic: {also: {math: {problems: 0}}}}", "also.math.problems: expected at least 1, found 0"),
        (
            "tasks: {math: {also: {logic: {}}, benchmarks: {kk_9: {distribution: in}}}}",
            "tasks.math.also.logic: 'kk_9' is a benchmark of tasks.math and of tasks.logic; two files of draws would",
        ),
        (
            "tasks: {knights: {also: {math: {}, logic: {}}}, logic: {benchmarks: {amc23: {distribution: in}}}}",
            "tasks.knights.also.logic: 'amc23' is a benchmark of tasks.math and of tasks.logic; two files of draws",
        ),
        (
            "tasks: {arithmetic: {also: {math: {}}}, math: {data: {source: no/such}}}",
            "tasks.math.data.source: no/such/amc23+aime24+aime25/val.parquet: no such file; expected",
        ),
    ],
)
def test_what_cannot_be_evaluated_is_refused(text, said):
    with pytest.raises(UserError, match=re.escape(said)):
        study_of(text)


def test_the_competition_problems_are_shown_to_the_small_tiers_models_and_change_no_run_of_it():
    plain, more = (study_of(files=shipped("small", *also)) for also in ((), ("competition",)))
    assert more.runs() == plain.runs()
    trained = [(run.task, run.model, run.variant, run.seed) for run in plain.runs() if run.variant != BASE]
    assert [more.resolve(*cell) for cell in trained] == [plain.resolve(*cell) for cell in trained]
    assert {task: more.also(task) for task in more.axis("tasks") if more.also(task)} == {
        "sums": {"math": {"problems": 10}}
    }
    assert list(more.benchmarks("sums"))[-3:] == COMPETITIONS


def test_of_a_folder_only_the_evaluation_file_is_needed(tmp_path):
    folder = tmp_path / "data"
    (folder / "amc23+aime24+aime25").mkdir(parents=True)
    file = folder / "amc23+aime24+aime25" / "val.parquet"
    digests = []
    for content in ("first", "second"):
        file.write_text(content)
        study = load_study(merged(ALSO, f"tasks: {{math: {{data: {{source: {folder}}}}}}}"))
        assert study.source_files("math", "val") == [str(file)]
        digests.append(study.evaluation("arithmetic")["also"]["math"]["data"]["digest"])
    assert digests[0] != digests[1]
