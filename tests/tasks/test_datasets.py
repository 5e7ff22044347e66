import hashlib
import re
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from selfdistill.errors import UserError
from selfdistill.files import sha256_file
from selfdistill.tasks import datasets
from selfdistill.tasks.arithmetic import Chain
from selfdistill.tasks.datasets import (
    by_benchmark,
    check_disjoint,
    generate_problems,
    import_file,
    import_from_hub,
    write_generated,
)
from selfdistill.tasks.exercises import EVALUATION_SHARE, is_training
from selfdistill.tasks.graders import grade_response
from selfdistill.tasks.schema import Problem, read_problems, write_problems

ROOT = Path(__file__).resolve().parents[2]
GRADER = {"arithmetic": "maths", "knights": "knights"}
TRAIN = {
    "arithmetic": {"exercise": "arithmetic", "seed": 0, "dataset": "chains", "problems": 120, "sizes": [1, 3, 8]},
    "knights": {"exercise": "knights", "seed": 0, "dataset": "islands", "problems": 120, "sizes": [3, 4]},
}
VAL = {
    "arithmetic": {
        "exercise": "arithmetic",
        "seed": 0,
        "benchmarks": {"chain-1": {"size": 1, "problems": 40}, "chain-8": {"size": 8, "problems": 40}},
    },
    "knights": {
        "exercise": "knights",
        "seed": 0,
        "benchmarks": {"knights-3": {"size": 3, "problems": 20}, "knights-4": {"size": 4, "problems": 20}},
    },
}
kinds = pytest.mark.parametrize("kind", GRADER)


@pytest.fixture
def read(read_chain, read_puzzle):
    """kind -> the exercise that a text states, read from the text alone."""
    return {"arithmetic": read_chain, "knights": read_puzzle}


def bucket(exercise) -> float:
    return int(hashlib.sha256(exercise.canonical.encode()).hexdigest()[:16], 16) / 2**64


@kinds
def test_training_and_evaluation_problems_are_disjoint_by_hash(kind, read):
    train = [read[kind](p.problem) for p in generate_problems(TRAIN[kind], "train")]
    val = [read[kind](p.problem) for p in generate_problems(VAL[kind], "val")]
    assert min(bucket(e) for e in train) >= EVALUATION_SHARE > max(bucket(e) for e in val)
    for exercises in (train, val):
        assert len({e.canonical for e in exercises}) == len(exercises), "no problem twice"


@pytest.mark.parametrize("task", ["arithmetic", "knights"])
def test_the_shipped_tasks_can_be_generated_and_are_disjoint(task, read):
    """The settings of config/tasks.yaml, warm start included: it draws from the same side as training."""
    entry = yaml.safe_load((ROOT / "config" / "tasks.yaml").read_text())["tasks"][task]
    made = entry["data"]["generator"]
    recipe = {"exercise": made["exercise"], "seed": made["seed"]}
    train = generate_problems({**recipe, "dataset": entry["data"]["dataset"], **made["train"]}, "train")
    val = generate_problems({**recipe, "benchmarks": entry["benchmarks"]}, "val")
    exercises = {name: [read[made["exercise"]](p.problem) for p in rows] for name, rows in (("t", train), ("v", val))}
    assert all(is_training(e) for e in exercises["t"])
    assert not any(is_training(e) for e in exercises["v"])
    assert not {e.canonical for e in exercises["t"]} & {e.canonical for e in exercises["v"]}


@kinds
def test_rows_are_numbered_named_and_sized_as_asked(kind, read):
    train = generate_problems(TRAIN[kind], "train")
    name, sizes = TRAIN[kind]["dataset"], TRAIN[kind]["sizes"]
    assert [p.id for p in train] == [f"{name}/{i}" for i in range(120)]
    found = Counter(size_of(read[kind](p.problem)) for p in train)
    assert found == {size: 120 // len(sizes) for size in sizes}
    val = generate_problems(VAL[kind], "val")
    asked = VAL[kind]["benchmarks"]
    assert Counter(p.data_source for p in val) == {name: about["problems"] for name, about in asked.items()}
    assert all(size_of(read[kind](p.problem)) == asked[p.data_source]["size"] for p in val)
    assert {p.split for p in train} == {"train"}
    assert {p.split for p in val} == {"val"}


def size_of(exercise) -> int:
    return len(getattr(exercise, "operations", ()) or exercise.names)


@kinds
def test_answers_and_solutions_belong_to_their_problems(kind, read):
    for p in [*generate_problems(TRAIN[kind], "train"), *generate_problems(VAL[kind], "val")]:
        assert p.answer == read[kind](p.problem).answer
        assert grade_response(f"\\boxed{{{p.answer}}}", p, GRADER[kind]).correct
        if kind == "arithmetic":
            assert p.solution.rstrip(". ").rsplit("=", 1)[-1] == p.answer
        else:
            assert p.solution.endswith(", ok.\n")


@kinds
def test_generation_depends_on_the_seed_alone(kind):
    assert generate_problems(TRAIN[kind], "train") == generate_problems(TRAIN[kind], "train")
    other = generate_problems({**TRAIN[kind], "seed": 1}, "train")
    assert {p.problem for p in other} != {p.problem for p in generate_problems(TRAIN[kind], "train")}


@kinds
def test_more_problems_leave_the_first_ones_as_they_were(kind):
    fewer = generate_problems({**TRAIN[kind], "problems": 30}, "train")
    assert generate_problems(TRAIN[kind], "train")[:30] == fewer


@kinds
def test_a_file_holds_what_was_generated(kind, tmp_path):
    path = tmp_path / "train.parquet"
    problems = write_generated(TRAIN[kind], "train", path)
    assert read_problems(path, need_solution=True) == problems == generate_problems(TRAIN[kind], "train")
    digest = sha256_file(path)
    write_generated(TRAIN[kind], "train", path)
    assert sha256_file(path) == digest


def test_a_count_beyond_what_exists_ends_with_the_number_that_does():
    """All chains of one operation are known, 300 in number, so the message can be checked to the last one."""
    every = [Chain(start, ((symbol, digit),)) for start in range(10) for symbol in "+-*" for digit in range(10)]
    available = sum(not is_training(chain) for chain in every)
    recipe = {"exercise": "arithmetic", "seed": 0, "benchmarks": {"chain-1": {"size": 1, "problems": available}}}
    assert len(generate_problems(recipe, "val")) == available
    recipe["benchmarks"]["chain-1"]["problems"] = 301
    with pytest.raises(
        UserError, match=rf"chain-1: .*arithmetic of size 1 has {available} different problems on the val"
    ):
        generate_problems(recipe, "val")


def test_the_number_is_that_of_the_size_that_ran_out():
    recipe = {**TRAIN["arithmetic"], "sizes": [1, 3], "problems": 1000}
    with pytest.raises(UserError, match=r"of size 1 has (1|2)\d\d different problems on the train side"):
        generate_problems(recipe, "train")


def test_running_out_of_puzzles_takes_seconds():
    began = time.process_time()
    with pytest.raises(UserError, match=r"knights-2: .*knights of size 2 has \d+ different problems on the val side"):
        generate_problems(
            {"exercise": "knights", "seed": 0, "benchmarks": {"knights-2": {"size": 2, "problems": 800}}}, "val"
        )
    assert time.process_time() - began < 30  # of the processor: a busy machine costs nothing


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exercise": "sudoku"}, "unknown exercise 'sudoku'.*arithmetic, knights"),
        ({"sizes": [3, 1]}, "islands: knights has no problems of size 1; expected 2 to 12"),
        ({"sizes": [13]}, "size 13"),
        ({"sizes": []}, "none given"),
        ({"problems": 0}, "islands: 0 problems asked for"),
    ],
)
def test_impossible_recipes_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        generate_problems({**TRAIN["knights"], **changes}, "train")


def problems(texts: list[str], split: str) -> list[Problem]:
    return [Problem(f"{split}/{i}", split, text, "1", "", "", i, split) for i, text in enumerate(texts)]


def test_an_import_is_a_checked_copy(tmp_path):
    source, target = tmp_path / "hub" / "toy" / "val.parquet", tmp_path / "results" / "toy" / "val.parquet"
    write_problems(source, problems(["a", "b"], "val"))
    assert import_file(source, target) == read_problems(source)
    assert sha256_file(source) == sha256_file(target)


def test_nothing_is_written_where_the_source_is_refused(tmp_path):
    source, target = tmp_path / "hub.parquet", tmp_path / "results" / "val.parquet"
    write_problems(source, [replace(p, answer="") for p in problems(["a"], "val")])
    with pytest.raises(UserError, match="ground_truth"):
        import_file(source, target)
    write_problems(source, problems(["a"], "val"))
    with pytest.raises(UserError, match="solution"):
        import_file(source, target, need_solution=True)
    assert not target.parent.exists()


@pytest.mark.parametrize(
    ("grader", "answers", "said"),
    [
        ("maths", ["1", "}{", "x"], None),
        ("maths", ["Yes", "\u0434\u0430", "(1, 2)"], None),
        ("maths", ["\\frac{"] * 4 + ["}{", "1"], "of 3 reference answers looked at, the grader 'maths' can read 1;"),
        (
            "maths",
            ["}{", "\\frac{"],
            "the grader 'maths' can read none of the 2 different reference answers, such as '}{'",
        ),
        ("knights", ["Ann is a knight", "Ben = knave"], None),
        ("knights", ["Ann is a knight", "x", "y"], "the grader 'knights' can read 1; results/data/report.csv names"),
        (
            "knights",
            ["Ann is a saint, Ben is a sinner"],
            "'knights' can read none of the 1 different .*'Ann is a saint",
        ),
        ("knights", ["a"] * 500 + ["b"] * 500 + [f"c{i}" for i in range(300)] + ["Ann: knave"], "can read 0; results"),
        (None, ["anything"], None),
    ],
)
def test_references_that_the_grader_cannot_read_are_refused_or_reported(grader, answers, said, tmp_path):
    source, target = tmp_path / "val.parquet", tmp_path / "taken" / "val.parquet"
    rows = problems([f"q{i}" for i in range(len(answers))], "val")
    write_problems(source, [replace(row, answer=answer) for row, answer in zip(rows, answers, strict=True)])
    lines = []
    if said and "none" in said:
        with pytest.raises(UserError, match=said):
            import_file(source, target, grader, lines.append)
        assert not target.parent.exists()
    else:
        import_file(source, target, grader, lines.append)
        assert target.exists()
        assert [bool(re.search(said or "", line)) for line in lines] == [True] * bool(said)


@pytest.mark.parametrize("name", ["maths", "knights", "knights-train"])
def test_real_files_are_imported_byte_for_byte(name, real, tmp_path):
    import_file(real(name), tmp_path / "copy.parquet")
    assert sha256_file(real(name)) == sha256_file(tmp_path / "copy.parquet")


def test_overlap_is_found_up_to_white_space_and_can_be_allowed(tmp_path):
    train, val = tmp_path / "train.parquet", tmp_path / "val.parquet"
    write_problems(train, problems(["one  two\n", "three", "four"], "train"))
    write_problems(val, problems(["five", " one two", "four", "Three"], "val"))
    with pytest.raises(UserError, match=r"2 of its problems are also in .*val/1 \(= train/0\), val/2 \(= train/2\)"):
        check_disjoint(train, val)
    assert check_disjoint(train, val, allow_overlap=True) == 2


def test_of_many_overlaps_eight_are_named(tmp_path):
    train, val = tmp_path / "train.parquet", tmp_path / "val.parquet"
    for path in (train, val):
        write_problems(path, problems([f"q{i}" for i in range(20)], path.stem))
    with pytest.raises(UserError, match=r"20 of its problems.*val/7 \(= train/7\) and more;"):
        check_disjoint(train, val)


def test_a_benchmark_without_rows_is_refused_by_name_with_what_the_file_has():
    rows = problems(["a", "b"], "mine")
    assert by_benchmark("val.parquet", rows, ["mine"]) == {"mine": rows}
    with pytest.raises(UserError, match=r"^val\.parquet: no rows with data_source yours; the file has mine\. Write"):
        by_benchmark("val.parquet", rows, ["mine", "yours"])


def test_the_real_puzzles_do_not_overlap(real):
    assert check_disjoint(real("knights-train"), real("knights")) == 0


def test_a_file_of_the_hub_is_imported_like_any_other(tmp_path, monkeypatch):
    cached, asked = tmp_path / "cache" / "val.parquet", []
    write_problems(cached, problems(["a", "b"], "val"))
    monkeypatch.setattr(datasets, "fetch_data", lambda *what: asked.append(what) or cached)
    recipe = {"hub": {"id": "owner/name", "revision": "main", "commit": "0" * 40}, "file": "x+y/val.parquet"}
    assert import_from_hub(recipe, tmp_path / "val.parquet", print) == read_problems(cached)
    assert asked == [(recipe, print)]
    cached.write_text("<html>")
    with pytest.raises(UserError, match="not a readable parquet"):
        import_from_hub(recipe, tmp_path / "other.parquet", print)
    assert not (tmp_path / "other.parquet").exists()
