"""Mixtures of mathematics: rows of several repositories, brought into one parquet with their solutions."""

import json

import hub_server
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from configurations import merged, refusal

from selfdistill.errors import UserError
from selfdistill.hub.client import resolve
from selfdistill.study.study import load_study
from selfdistill.tasks.data_report import DataFile, data_report
from selfdistill.tasks.datasets import check_disjoint
from selfdistill.tasks.mixtures import mixture
from selfdistill.tasks.schema import read_problems
from selfdistill.tasks.sources import make_data

GSM8K, MATH, ZOO = "openai/gsm8k", "DigitalLearningGmbH/MATH-lighteval", "hkust-nlp/SimpleRL-Zoo-Data"


def grade_school(number):
    working = f"She has {number} boxes of 3.\n{number}*3=<<{number}*3={number * 3}>>{number * 3}"
    return {"question": f"How many are in {number} boxes?", "answer": f"{working}\n#### 1,{number * 3:03}"}


def competition(number, level="Level 1"):
    solution = f"We double {number}.\nSo the answer is $\\boxed{{\\frac{{{2 * number}}}{{1}}}}$."
    return {"problem": f"What is twice ${number}$?", "level": level, "solution": solution, "type": "Algebra"}


def zoo(number, target=None):
    extra = {"question": f"What is twice ${number}$?", "answer": str(2 * number), "index": number, "level": 1}
    row = {"data_source": "simplelr_abel", "prompt": [{"role": "user", "content": "Question:\n?\nAnswer:"}]}
    return row | {
        "target": target or str(2 * number),
        "reward_model": {"ground_truth": str(2 * number)},
        "extra_info": extra,
    }


def parquet(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def recipe(*parts, split="val"):
    return {
        "split": split,
        "name": "mixed",
        "parts": [dict(zip(("name", "layout", "levels"), part, strict=False)) for part in parts],
    }


def test_each_layout_gives_question_answer_and_solution(tmp_path):
    files = [
        parquet(tmp_path / "a.parquet", [grade_school(2)]),
        parquet(tmp_path / "b.parquet", [competition(4), competition(5, "Level 3"), competition(6, "Level ?")]),
        parquet(tmp_path / "c.parquet", [zoo(7), zoo(8, "Twice 8 is 16.")]),
        tmp_path / "d.jsonl",
    ]
    files[3].write_text(json.dumps(competition(9, 2) | {"answer": "18"}) + "\n")
    made = mixture(recipe(("g", "gsm8k"), ("m", "math", [1, 3]), ("z", "simplerl"), ("m500", "math")), files)
    assert [(p.id, p.problem, p.answer, p.solution) for p in made] == [
        ("g/0", "How many are in 2 boxes?", "1006", "She has 2 boxes of 3.\n2*3=6"),
        ("m/0", "What is twice $4$?", r"\frac{8}{1}", competition(4)["solution"]),
        ("m/1", "What is twice $5$?", r"\frac{10}{1}", competition(5)["solution"]),
        ("z/0", "What is twice $7$?", "14", ""),
        ("z/1", "What is twice $8$?", "16", "Twice 8 is 16."),
        ("m500/0", "What is twice $9$?", "18", competition(9)["solution"]),
    ]


def test_a_training_set_is_mixed_the_same_way_each_time_and_nothing_is_lost(tmp_path):
    files = [parquet(tmp_path / f"{i}.parquet", [grade_school(10 * i + j) for j in range(10)]) for i in range(2)]
    parts = recipe(("gsm8k", "gsm8k"), ("gsm8k", "gsm8k"), split="train")
    made = mixture(parts, files)
    assert made == mixture(parts, files)
    assert [p.index for p in made] != sorted(p.index for p in made)
    assert sorted(p.id for p in made) == sorted(f"gsm8k/{i}" for i in range(20))


@pytest.mark.parametrize(
    ("row", "layout", "told"),
    [
        ({"question": "?", "answer": "7"}, "gsm8k", "row 0 .*no ####.*question, answer"),
        ({"problem": "?", "solution": "It is 7."}, "math", "row 0 .*no answer"),
        ({"question": "?"}, "math", "row 0 .*layout math has it .KeyError: 'problem'"),
        ({"problem": "?", "solution": None}, "math", "row 0 .*TypeError"),
    ],
)
def test_rows_that_are_not_as_their_layout_says_are_refused(tmp_path, row, layout, told):
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match=told):
        mixture(recipe(("m", layout)), [file])


def test_a_part_without_rows_of_its_level_is_refused(tmp_path):
    with pytest.raises(UserError, match="no rows of level 4, 5"):
        mixture(recipe(("m", "math", [4, 5])), [parquet(tmp_path / "m.parquet", [competition(1)])])


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The repositories, small: of the published set's three rows of MATH two are in MATH's test."""
    files = {
        GSM8K: {"train": [grade_school(i) for i in range(6)], "test": [grade_school(i) for i in range(20, 24)]},
        MATH: {
            "train": [competition(30), competition(31, "Level 2")],
            "test": [*(competition(i) for i in range(40, 43)), competition(50)],
        },
    }
    served = {
        f"datasets/{name}": {
            f"{'main' if name == GSM8K else 'data'}/{split}-00000-of-00001.parquet": parquet(
                tmp_path / name / split, rows
            ).read_bytes()
            for split, rows in of.items()
        }
        for name, of in files.items()
    }
    published = [*(zoo(i, "worked") for i in range(60, 66)), zoo(30), zoo(40), zoo(41)]
    served[f"datasets/{ZOO}"] = {
        "simplelr_abel_gsm8k_level1/train.parquet": parquet(tmp_path / "z", published).read_bytes()
    }
    served["datasets/HuggingFaceH4/MATH-500"] = {
        "test.jsonl": json.dumps(competition(50, 1) | {"answer": "100"}).encode() + b"\n"
    }
    from huggingface_hub import constants

    with hub_server.serving(hub_server.Hub(served)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.delenv("SELFDISTILL_HUB_MIRROR", raising=False)
        yield hub


def study_of(tasks, lock):
    matrix = {"tasks": tasks, "models": ["smollm2_1_7b_instruct"], "variants": ["grpo"], "seeds": [0]}
    return load_study(merged() | {"matrix": matrix}, lock_file=lock)


def test_the_tasks_of_the_critiques_study_come_off_the_hub_clean_or_as_published(hub, tmp_path):
    tasks = ["gsm8k_level1", "gsm8k_level1_as_published", "math_lighteval", "gsm8k"]
    needed = study_of(tasks, tmp_path / "none.yaml").hub_files()
    assert {name: len(files) for name, files in needed["datasets"].items()} == {
        f"{GSM8K}@main": 2,
        f"{MATH}@main": 2,
        f"{ZOO}@main": 1,
        "HuggingFaceH4/MATH-500@main": 1,
    }
    lock = tmp_path / "lock.yaml"
    lock.write_text(
        json.dumps(resolve({"datasets": needed["datasets"], "models": {}}, study_of(tasks, lock).lock, print))
    )
    study, found = study_of(tasks, lock), {}
    for task in tasks:
        for split in ("train", "val"):
            path = tmp_path / task / f"{split}.parquet"
            path.parent.mkdir(exist_ok=True)
            problems = make_data(
                study.split(task, split), path, split=split, files=[], missing=[],
                grader="maths", own_prompts=False, report=print,
            )  # fmt: skip
            assert read_problems(path) == problems
            found[task, split] = path
    counts = {key: len(read_problems(path)) for key, path in found.items()}
    assert counts["gsm8k_level1", "train"] == 6 + 1
    assert counts["gsm8k_level1_as_published", "train"] == 9
    assert (counts["math_lighteval", "train"], counts["math_lighteval", "val"]) == (2, 4)
    assert (counts["gsm8k", "train"], counts["gsm8k", "val"]) == (6, 4)
    assert all(p.solution for p in read_problems(found["gsm8k_level1", "train"], need_solution=True))
    # What is trained on and evaluated too: nothing of the clean set, two problems of MATH's test of the published one.
    clean, published = "gsm8k_level1", "gsm8k_level1_as_published"
    assert check_disjoint(found[clean, "train"], found[clean, "val"]) == 0
    files = [
        DataFile(study.dataset(task, split), split, str(path), "maths", study.split(task, split))
        for (task, split), path in found.items()
        if task == published
    ]
    report = data_report(files, [(files[0].dataset, files[1].dataset)])
    (shared,) = [each for each in report if "also in" in each.finding and "exactly" in each.finding]
    assert (shared.value, shared.dataset) == (2, files[1].dataset)
    with pytest.raises(UserError, match="2 of its problems are also in"):
        check_disjoint(found[published, "train"], found[published, "val"])


def test_parts_and_benchmarks_have_the_same_names():
    text = "tasks: {math_lighteval: {benchmarks: {amc23: {distribution: in}}}}"
    assert "data.mixture.benchmarks" in refusal(text)
