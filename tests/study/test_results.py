"""What reporting takes of a matrix that is not complete, or of draws from elsewhere."""

import json
from pathlib import Path

import pytest
import yaml
from configurations import ROOT, shipped, study_of

from selfdistill.errors import UserError
from selfdistill.study.matrix import BASE, Run
from selfdistill.study.paths import PUBLISHED_FILE, state_of
from selfdistill.study.results import Reported, ReportedSearches
from selfdistill.study.study import config_hash

DEMO = shipped("discover_demo")
CELL = ("arithmetic", "tiny_qwen3")


def a_study(*texts: str):
    return study_of("matrix: {tasks: [arithmetic], variants: [base, grpo, rlcsd]}", *texts)


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    (tmp_path / "resources").symlink_to(ROOT / "resources")
    monkeypatch.chdir(tmp_path)


def leave(file: str, text: str = "left") -> None:
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text(text)


def leave_results(study, run: Run) -> None:
    """All files of a run that is complete."""
    files = Reported(a_study()).files(run)
    for file in files.draws.values():
        leave(file)
    leave(files.account, json.dumps({"state": study.evaluation_hash(run.task, run.model, run.variant, run.seed)}))
    if run.variant != BASE:
        for file in (files.metrics, files.config, files.records):
            leave(file)
        settings = study.resolve(run.task, run.model, run.variant, run.seed)
        leave(files.provenance, json.dumps({"config_hash": config_hash(settings)}))


def run_of(variant: str, seed: int = 0) -> Run:
    return Run(*CELL, variant, seed, variant)


def test_all_of_the_matrix_is_taken_whatever_is_there():
    taken = Reported(a_study())
    assert [run.variant for run in taken.runs] == ["base", "grpo", "rlcsd"]
    assert [run.variant for run in taken.trained] == ["grpo", "rlcsd"]
    assert taken.missing == []


def test_only_what_is_complete_is_available_and_the_rest_is_named_with_its_reason():
    study = a_study("{aggregate: available, matrix: {seeds: [0, 1]}}")
    for run in (run_of("base"), run_of("grpo"), run_of("grpo", 1), run_of("rlcsd", 1)):
        leave_results(study, run)
    Path(Reported(study).files(run_of("rlcsd", 1)).draws["chain-8"]).unlink()
    leave("results/logs/train/arithmetic/tiny_qwen3/rlcsd/seed0.log", "10:00:00 step 3/30\nfailed: no such token\n\n")
    leave("results/logs/evaluate/arithmetic/tiny_qwen3/rlcsd/seed1.log", "10:00:00 chain-3: 100 problems\n")
    taken = Reported(study)
    assert [(run.variant, run.seed) for run in taken.runs] == [("base", 0), ("grpo", 0), ("grpo", 1)]
    reasons = {(each["variant"], each["seed"]): (each["status"], each["why"]) for each in taken.missing}
    assert reasons[BASE, 1] == ("not run", "")
    assert reasons["rlcsd", 0] == ("failed", "no such token")
    status, why = reasons["rlcsd", 1]
    assert status == "not finished"
    assert why.endswith("rlcsd/seed1.log ends with: 10:00:00 chain-3: 100 problems")
    assert taken.missing[0]["method"] == BASE


def test_results_of_other_settings_are_not_available():
    study = a_study("aggregate: available")
    for run in (run_of("base"), run_of("grpo"), run_of("rlcsd")):
        leave_results(study, run)
    changed = a_study("aggregate: available", "overrides: {methods: {rlcsd: {objective: {tau: 0.03}}}}")
    assert [run.variant for run in Reported(study).runs] == ["base", "grpo", "rlcsd"]
    [missing] = Reported(changed).missing
    assert (missing["variant"], missing["status"]) == ("rlcsd", "not run")
    assert "other settings" in missing["why"]


def test_draws_of_other_settings_are_not_available():
    study = a_study("aggregate: available")
    for run in (run_of("base"), run_of("grpo"), run_of("rlcsd")):
        leave_results(study, run)
    changed = a_study("aggregate: available", "tasks: {arithmetic: {evaluation: {temperature: 0.5}}}")
    with pytest.raises(UserError, match="none of the 3 runs"):
        Reported(changed)


def test_a_provenance_that_cannot_be_read_is_named():
    study = a_study("aggregate: available")
    leave_results(study, run_of("grpo"))
    leave(Reported(a_study()).files(run_of("grpo")).provenance, "[]")
    with pytest.raises(UserError, match=r"grpo/seed0/provenance\.json: expected a JSON object, found list"):
        Reported(study)


def test_nothing_available_is_refused():
    with pytest.raises(UserError, match="none of the 3 runs of the matrix is complete"):
        Reported(a_study("aggregate: available"))


def test_of_what_is_measured_beside_runs_only_what_is_there_is_available():
    leave("there.json")
    for text, expected in {"aggregate: all": 2, "aggregate: available": 1}.items():
        study = a_study(text)
        leave_results(study, run_of("grpo"))
        assert Reported(study).there(["there.json", "absent.json"], str) == ["there.json", "absent.json"][:expected]
    leave_draws("mine", "base")
    assert Reported(a_study("{aggregate: available, draws: {source: mine}}")).there(["there.json"], str) == []


def leave_draws(folder: str, variant: str, *others: str) -> None:
    for name in ("chain-3", "chain-5", "chain-8", "chain-10"):
        leave(f"{folder}/arithmetic/tiny_qwen3/{variant}/seed0/{name}.parquet")
    for name in others:
        leave(f"{folder}/arithmetic/tiny_qwen3/{variant}/seed0/{name}")


def test_draws_of_a_folder_are_read_where_they_are():
    leave_draws("mine", "base", "evaluation.json")
    leave_draws("mine", "grpo", "metrics.jsonl")
    leave_draws("mine", "rlcsd")
    taken = Reported(a_study("draws: {source: mine}"))
    assert taken.files(run_of("rlcsd")).draws["chain-3"] == "mine/arithmetic/tiny_qwen3/rlcsd/seed0/chain-3.parquet"
    assert [run.variant for run in taken.trained] == ["grpo"]
    assert taken.files(run_of("grpo")).provenance is None
    assert taken.files(run_of("base")).account == "mine/arithmetic/tiny_qwen3/base/seed0/evaluation.json"
    assert taken.data() == []


def test_draws_that_a_folder_lacks_are_named_or_left_out():
    leave_draws("mine", "base")
    leave_draws("mine", "grpo")
    with pytest.raises(UserError, match=r"draws\.source mine: .*rlcsd/seed0/chain-3\.parquet is not there"):
        Reported(a_study("draws: {source: mine}"))
    taken = Reported(a_study("{aggregate: available, draws: {source: mine}}"))
    assert [run.variant for run in taken.runs] == ["base", "grpo"]
    assert [each["variant"] for each in taken.missing] == ["rlcsd"]


THEIRS = {"task": "arithmetic", "model": "tiny_qwen3", "variant": "rlcsd", "seed": 0}


@pytest.mark.parametrize(
    ("file", "key", "other"),
    [
        ("config.yaml", "task", "knights"),
        ("config.yaml", "seed", "0"),
        ("provenance.json", "model", "qwen3_4b"),
        ("provenance.json", "seed", 1),
        ("evaluation.json", "variant", "grpo"),
    ],
)
def test_files_of_another_run_are_not_believed(file, key, other):
    def write(run):
        told = run if file == "config.yaml" else {"run": run}
        leave(f"mine/arithmetic/tiny_qwen3/rlcsd/seed0/{file}", json.dumps(told))

    for variant in ("base", "grpo", "rlcsd"):
        leave_draws("mine", variant)
    write(THEIRS)
    assert len(Reported(a_study("draws: {source: mine}")).runs) == 3
    write(THEIRS | {key: other})
    said = rf"rlcsd/seed0/{file} is of another run: its {key} is {other!r}, its path says"
    with pytest.raises(UserError, match=said):
        Reported(a_study("draws: {source: mine}"))
    [missing] = Reported(a_study("{aggregate: available, draws: {source: mine}}")).missing
    assert missing["variant"] == "rlcsd"
    assert f"its {key} is {other!r}" in missing["why"]


def test_settings_and_provenance_of_one_run_fit_each_other():
    for variant in ("base", "grpo", "rlcsd"):
        leave_draws("mine", variant)
    place, settings = "mine/arithmetic/tiny_qwen3/rlcsd/seed0", THEIRS | {"steps": 40, "epsilon": 1e-6, "clip": None}
    leave(f"{place}/config.yaml", yaml.safe_dump(settings, sort_keys=False))
    leave(f"{place}/provenance.json", json.dumps({"run": THEIRS, "config_hash": config_hash(settings)}))
    assert len(Reported(a_study("draws: {source: mine}")).runs) == 3
    leave(f"{place}/config.yaml", yaml.safe_dump(settings | {"steps": 41}))
    with pytest.raises(UserError, match=r"provenance\.json is not of .*config\.yaml: its config_hash"):
        Reported(a_study("draws: {source: mine}"))


def test_data_of_the_reported_runs_are_listed_once():
    taken = Reported(a_study("matrix: {seeds: [0, 1]}"))
    assert [(each["dataset"], each["split"]) for each in taken.data()] == [
        ("arithmetic_3to8", "train"),
        ("chain-3+chain-5+chain-8+chain-10", "val"),
    ]
    assert taken.data_pairs() == [["arithmetic_3to8", "chain-3+chain-5+chain-8+chain-10"]]


ALSO = "tasks: {arithmetic: {also: {math: {problems: 10}}}}"


def test_data_and_draws_of_other_tasks_benchmarks_are_listed_too():
    taken = Reported(a_study(ALSO))
    assert [(each["dataset"], each["grader"]) for each in taken.data()] == [
        ("arithmetic_3to8", "maths"),
        ("chain-3+chain-5+chain-8+chain-10", "maths"),
        ("amc23+aime24+aime25", "maths"),
    ]
    assert [val for _, val in taken.data_pairs()] == ["chain-3+chain-5+chain-8+chain-10", "amc23+aime24+aime25"]
    assert list(taken.files(run_of("grpo")).draws)[3:] == ["chain-10", "amc23", "aime24", "aime25"]


def test_draws_of_the_tasks_own_benchmarks_alone_are_not_complete():
    available = "aggregate: available"
    for variant in ("base", "grpo", "rlcsd"):
        leave_results(a_study(), run_of(variant))
    assert Reported(a_study(available)).missing == []
    with pytest.raises(UserError, match="none of the 3 runs of the matrix is complete"):
        Reported(a_study(available, ALSO))
    leave_draws("elsewhere", "grpo")
    taken = "matrix: {variants: [grpo]}"
    with pytest.raises(UserError, match=r"elsewhere/arithmetic/tiny_qwen3/grpo/seed0/amc23\.parquet is not there"):
        Reported(a_study("draws: {source: elsewhere}", ALSO, taken))


@pytest.mark.parametrize(
    "config",
    [
        "at: 2024-01-01",
        "a: &a {b: *a}",
        "a: [" + 2_000 * "[",
        "{1: 2, null: 3}",
        "at: 2024-13-45",
        "a: .nan",
        "- a",
    ],
)
def test_an_odd_config_says_nothing_of_whose_it_is(config):
    """It is refused where it is used; planning only looks whether files are another run's."""
    for variant in ("base", "grpo", "rlcsd"):
        leave_draws("mine", variant)
    leave("mine/arithmetic/tiny_qwen3/rlcsd/seed0/config.yaml", config)
    leave("mine/arithmetic/tiny_qwen3/rlcsd/seed0/provenance.json", '{"config_hash": NaN, "run": [1]}')
    assert len(Reported(a_study("draws: {source: mine}")).runs) == 3


def test_the_reason_of_a_job_that_ended_is_one_short_line_without_secrets():
    study = a_study("aggregate: available")
    leave_results(study, run_of("grpo"))
    leave(
        "results/logs/train/arithmetic/tiny_qwen3/rlcsd/seed0.log",
        "x\nfailed: at ftp://me:s3cretpw@h\x1b[0m " + "y" * 10**6,
    )
    (lost,) = [each for each in Reported(study).missing if each["variant"] == "rlcsd"]
    assert lost["status"] == "failed"
    assert lost["why"].startswith("at ftp://<secret>@h\\u001b[0m yyy")
    assert len(lost["why"]) < 700


def leave_search(discoveries, file, settings, part) -> Path:
    state = Path(state_of(discoveries.state(settings, part)))
    leave(file)
    leave(state / PUBLISHED_FILE, "{}")
    return state


def test_searches_are_shown_seed_by_seed_and_none_is_made_for_a_report():
    text = "discovery: {parts: 2, seeds: [0, 1], searches: [best_of, multi_turn]}"
    every = ReportedSearches(study_of(text, files=DEMO))
    assert (len(every.cells), every.models, every.missing) == (8, [("programs", "tiny_qwen3")], [])
    assert ReportedSearches(study_of(text, files=DEMO), made_here=False).cells == []

    study = study_of("aggregate: available", text, files=DEMO)
    found = study.discoveries
    nothing = ReportedSearches(study)
    assert (nothing.cells, nothing.models) == ([], [])
    assert [(each["variant"], each["seed"], each["status"]) for each in nothing.missing] == [
        (f"search {search}", seed, "not run") for search in ("best_of", "multi_turn") for seed in (0, 1)
    ]

    for part, file in enumerate(found.base_draws("programs", "tiny_qwen3")):
        draws = leave_search(found, file, found.of_base("programs", "tiny_qwen3"), part)
    for job in found.cells():
        state = leave_search(found, job.file, found.of(job.task, job.model, job.search, job.seed), job.part)
    assert ReportedSearches(study).cells == []  # without questions
    leave("results/discovery/programs/tiny_qwen3/questions.csv")
    assert ReportedSearches(study).cells == found.cells()

    lost = found.cells()[1]  # one part of seed 0 of best_of
    Path(lost.file).unlink()
    (state / PUBLISHED_FILE).unlink()
    leave(f"results/logs/discovery/programs/tiny_qwen3/best_of/seed0/part{lost.part}.log", "failed: no memory\n")
    shown = ReportedSearches(study)
    assert {(job.search, job.seed) for job in shown.cells} == {("best_of", 1), ("multi_turn", 0)}
    first, second = shown.missing
    assert (first["variant"], first["seed"], first["status"], first["why"]) == (
        "search best_of",
        0,
        "failed",
        "no memory",
    )
    assert (second["variant"], second["seed"]) == ("search multi_turn", 1)
    assert "of other settings" in second["why"]
    (draws / PUBLISHED_FILE).unlink()
    assert ReportedSearches(study).cells == []
