import base64
import json
import pickle
import zlib
from collections import Counter

import pyarrow.parquet as pq
import pytest

from selfdistill.errors import UserError
from selfdistill.tasks import choice, livecodebench, release, sciknoweval
from selfdistill.tasks.schema import read_problems


def question(index: int, **changes) -> dict:
    return {
        "idx": index,
        "kind": "mcq",
        "dataset": "sciknoweval",
        "answer": "AB"[index % 2],
        "elo": 1500,
        "prompt": f"Which of {index}?\n\nA: 1\nB: 2\nPlease reason step by step.",
        "description": f"Which of {index}?",
        "tests": "-",
        "embedding": [],
        "system": "\nAnswer with a letter.\n",
    } | changes


def tool_call(index: int, **changes) -> dict:
    answer = json.dumps([{"Action": "find", "Action_Input": "{}"}])
    told = {
        "idx": index,
        "kind": "tooluse",
        "dataset": "tooluse",
        "answer": answer,
        "prompt": f"Find {index}.",
        "system": None,
        "tests": None,
    }
    return told | changes


def as_lines(records) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


@pytest.fixture
def folder(tmp_path):
    """A folder as the release has it: one domain whole and split, tool use with its test only."""
    records = [question(i) for i in range(6)]
    domain = tmp_path / "datasets/sciknoweval/physics"
    domain.mkdir(parents=True)
    lines = ",\n".join(json.dumps(record) for record in records)
    domain.with_suffix(".json").write_text(f"[{lines}]")
    (domain / "train.json").write_text(as_lines(records[:1] + records[3:]))
    (domain / "test.json").write_text(as_lines(records[1:3]))
    tools = tmp_path / "datasets/tooluse"
    tools.mkdir()
    (tools / "test.json").write_text(as_lines([tool_call(4046, prompt="Find\u2028it."), tool_call(4047)]))
    return tmp_path / "datasets"


def test_a_folder_of_the_release_becomes_parquets(folder, tmp_path, capsys):
    out = tmp_path / "out"
    release.main(["folder", str(folder), str(out)])
    assert f"{out}/tooluse/val.parquet: 2 problems" in capsys.readouterr().out
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.parquet")) == [
        "sciknoweval_physics/train.parquet",
        "sciknoweval_physics/val.parquet",
        "tooluse/val.parquet",
    ]
    problems = read_problems(out / "sciknoweval_physics/val.parquet")
    assert [(p.id, p.answer, p.split) for p in problems] == [
        ("sciknoweval_physics/1", "B", "val"),
        ("sciknoweval_physics/2", "A", "val"),
    ]
    assert problems[0].problem == question(1)["prompt"]
    rows = pq.read_table(out / "sciknoweval_physics/val.parquet").to_pylist()
    assert [message["role"] for message in rows[0]["prompt"]] == ["system", "user"]
    assert rows[0]["prompt"][0]["content"] == "\nAnswer with a letter.\n"
    assert rows[0]["reward_model"]["style"] == "mcq"
    tools = pq.read_table(out / "tooluse/val.parquet")
    assert [row["prompt"][0]["role"] for row in tools.to_pylist()] == ["user", "user"]
    assert tools["extra_info"][0].as_py()["problem"] == "Find\u2028it."
    assert str(tools.schema.field("data_source").type) == "large_string"


def test_a_whole_file_that_is_stale_is_told(folder, tmp_path):
    path = folder / "sciknoweval/physics.json"
    path.write_text(path.read_text().replace("Which of 3", "Which of three"))
    with pytest.raises(UserError, match=r"physics.json: its rows are not those of .*physics/train.json"):
        release.import_folder(folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no records"),
        ("[]", "no records"),
        ("{", "line 1 is no JSON"),
        ("[{]", "the array is no JSON"),
        ("[1]", "row 0 .* is int"),
        ('[{"idx": 0, "idx": 1}]', "the array is no JSON .*the key 'idx' is there twice"),
        (as_lines([question(0), question(0)]), r"an idx is there twice \(0\)"),
        (as_lines([question(0), question(1, dataset="gpqa")]), r"row 1 .* 'gpqa' has no grader; .*tooluse"),
        (as_lines([question(0, dataset=[])]), r"dataset \[\] has no grader"),
        (as_lines([question(0, idx="0")]), "idx is '0'"),
        (as_lines([question(0, idx=1 << 63)]), "idx is 9223372036854775808, expected a whole number from 0 on"),
        (as_lines([question(0, answer="C")]), "row 0 .* answer 'C' is none of its options A, B"),
        (as_lines([question(0, prompt=None)]), "prompt is None"),
        (as_lines([question(0, system=3)]), "system is int"),
        (as_lines([question(0, answer="the first")]), "answer 'the first' cannot be read by the grader of sciknoweval"),
        (as_lines([tool_call(0, answer="A")]), "cannot be read by the grader of tooluse"),
        (as_lines([question(0, dataset="livecodebench")]), "tests '-' cannot be read"),
    ],
)  # fmt: skip
def test_what_is_no_release_is_told(text, message, tmp_path):
    path = tmp_path / "test.json"
    path.write_text(text)
    with pytest.raises(UserError, match=f"test.json: .*{message}") as raised:
        release.read_release(path)
    assert "\n" not in str(raised.value)


def test_each_domain_has_a_name_and_a_whole_file_of_its_own(tmp_path):
    for name in ("a.b/train.json", "c/d/train.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(as_lines([question(0)]))
    (tmp_path / "a.json").write_text("no JSON")  # of no domain
    assert len(release.import_folder(tmp_path, tmp_path / "out")) == 2
    (tmp_path / "c_d").mkdir()
    (tmp_path / "c_d/train.json").write_text(as_lines([question(0)]))
    with pytest.raises(UserError, match=r"c_d/train.json: another domain is called c_d too"):
        release.import_folder(tmp_path, tmp_path / "out")


def test_half_a_character_is_told_by_its_row(tmp_path):
    path = tmp_path / "test.json"
    path.write_text(json.dumps([question(0), question(7, description="\ud800")]))
    with pytest.raises(UserError, match=r"val.parquet: idx 7 holds '\\ud800', half a character"):
        release.write_records(tmp_path / "val.parquet", release.read_release(path), "x", "val")


def test_keys_may_be_absent_or_null(tmp_path):
    bare = {key: value for key, value in question(0).items() if key not in ("system", "tests", "embedding", "elo")}
    path = tmp_path / "a.json"
    lines = as_lines([bare, question(1, system=" ", tests=None, embedding=None)])
    path.write_bytes(f"\ufeff{lines}".replace("\n", "\r\n").encode())
    assert [record.system for record in release.read_release(path)] == ["", ""]


def test_usage_is_told():
    for arguments in ([], ["folder", "a"], ["gpqa", "a", "b"], ["sciknoweval", "a"]):
        with pytest.raises(UserError, match="sciknoweval FILES"):
            release.main(arguments)


# ---------------------------------------------------------------------------------------------------------- SciKnowEval


def hub_row(number: int, **changes) -> dict:
    two = number % 3 == 0
    letters = ["A", "B"] if two else ["A", "B", "C", "D"]
    return {
        "type": f"mcq-{len(letters)}-choices",
        "domain": "Physics",
        "details": {"level": "L3", "task": "t"},
        "question": f"Which of {number}?",
        "choices": {"label": letters, "text": [f"{number} {letter}" for letter in letters]},
        "answerKey": letters[number % len(letters)],
    } | changes


def test_sciknoweval_is_filtered_and_split(tmp_path):
    rows = []
    for number in range(40):
        rows += [hub_row(number), hub_row(number, details={"level": "L2"}), hub_row(number, type="open-ended-qa")]
        rows += [hub_row(number, domain="Biology")] if number < 10 else []
    path = tmp_path / "rows.jsonl"
    path.write_text(as_lines(rows))
    found = sciknoweval.domains(release.read_rows(path))
    assert {name: {split: len(each) for split, each in splits.items()} for name, splits in found.items()} == {
        "sciknoweval_physics": {"train": 36, "test": 4},
        "sciknoweval_biology": {"train": 9, "test": 1},
    }
    physics = found["sciknoweval_physics"]
    both = physics["train"] + physics["test"]
    assert sorted(record.index for record in both) == list(range(40))
    for record in both:
        assert record.prompt.startswith(f"Which of {record.index}?\n\nA: {record.index} A\n")
        assert len(choice.options_of(record.prompt)) == (2 if record.index % 3 == 0 else 4)
        assert f"{len(choice.options_of(record.prompt))} options" in record.system
    assert Counter(r.reference for r in both) == Counter(hub_row(n)["answerKey"] for n in range(40))


@pytest.mark.parametrize(
    "changes",
    [
        {"answerKey": "E"},
        {"question": " "},
        *({"choices": {"label": list(labels), "text": texts}} for labels, texts in (("A", ["1"]), ("AB", ["1", None]))),
        {"choices": {"label": ["1", "2"], "text": ["x", "y"]}, "answerKey": "1"},
        {"choices": ["x", "y"]},
    ],
)
def test_a_question_that_cannot_be_read_is_told(changes):
    with pytest.raises(UserError, match=r"row 1 of SciKnowEval .*answerKey"):
        sciknoweval.domains([hub_row(0), hub_row(1, **changes)])
    with pytest.raises(UserError, match="no question of level L3"):
        sciknoweval.domains([hub_row(0, details=None), hub_row(1, details="L3")])


# -------------------------------------------------------------------------------------------------------- LiveCodeBench


def packed(value) -> str:
    return zipped(pickle.dumps(value))


def zipped(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


def contest(number: int, *, count: int = 4, date: str = "2025-03-01T00:00:00", **changes) -> dict:
    cases = [{"input": f"{i}\n", "output": f"{i * i}\n", "testtype": "stdin"} for i in range(count)]
    return {
        "question_id": str(number),
        "question_content": f"Square number {number}.",
        "starter_code": "",
        "contest_date": date,
        "private_test_cases": packed(json.dumps(cases)),
        "metadata": "{}",
    } | changes


def told_tests(record) -> dict:
    return json.loads(record.reference)


def test_livecodebench_by_date_in_halves(tmp_path):
    dates = ["2025-01-31T23:59:59", "2025-02-01T00:00:00", "2025-04-30T20:00:00", "2025-05-01T00:00:00"]
    rows = [contest(i, count=i + 3, date=date) for i, date in enumerate(dates)] + [contest(9, count=1)]
    path = tmp_path / "test.jsonl"
    path.write_text(as_lines(rows))
    release.main(["livecodebench", str(path), str(tmp_path / "out")])
    train, test = (read_problems(tmp_path / f"out/livecodebench/{split}.parquet") for split in ("train", "val"))
    assert [p.problem.splitlines()[-1] for p in test] == ["Square number 1.", "Square number 2.", "Square number 9."]
    assert [p.problem for p in train] == [p.problem for p in test]
    for ours, whole, count in zip(train, test, (4, 5, 1), strict=True):
        half, every = json.loads(ours.answer), json.loads(whole.answer)
        assert len(every["inputs"]) == count
        assert len(half["inputs"]) == max(1, count // 2)
        assert half["inputs"] == [each for each in every["inputs"] if each in half["inputs"]]  # in order
        assert half["outputs"] == [f"{int(each) ** 2}\n" for each in half["inputs"]]
        assert (every["testtype"], every["fn_name"], every["time_limit"]) == ("stdin", "", 6.0)


def test_functions_are_asked_for_without_self():
    starter = "class Solution:\n    def add(self, a: int) -> int:\n        "
    cases = json.dumps([{"input": "1", "output": "2", "testtype": "functional"}])
    row = contest(0, starter_code=starter, private_test_cases=cases, metadata='{"func_name": "add"}')
    (record,) = livecodebench.splits([row])["test"]
    assert record.prompt.endswith("```python\ndef add(a: int) -> int:\n```")
    assert told_tests(record)["fn_name"] == "add"


class Harm:
    def __reduce__(self):
        return print, ("harm was done",)


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        (packed(Harm()), "asks for STACK_GLOBAL"),
        (packed(json.loads), "asks for STACK_GLOBAL"),
        (packed(["a list"]), "asks for EMPTY_LIST"),
        (packed(7), "asks for BININT1"),
        (zipped(b"\x80\x02X\x01\x00\x00\x001X\x01\x00\x00\x002."), "has 2 of them"),
        (zipped(b"\x80\x02X\xff\xff\xff\x7f1."), "not a pickle of a text"),
        (zipped(zlib.compress(bytes(1 << 20))), "not a pickle"),
        (packed("no JSON"), "Expecting value"),
        (zipped(b"\x80\x05"), "not a pickle"),
        (base64.b64encode(b"x").decode(), "neither JSON nor base64 of zlib"),
        ("%%%", "neither JSON nor base64"),
        ("[]", "list index out of range"),
        (json.dumps([{"input": "1", "output": "1", "testtype": "code"}]), "testtype 'code'"),
    ],
)
def test_tests_that_are_more_than_text_are_refused(cases, message, capsys):
    with pytest.raises(UserError, match=f"question '3' of LiveCodeBench: private_test_cases.*{message}"):
        livecodebench.splits([contest(3, private_test_cases=cases)])
    assert "harm" not in capsys.readouterr().out


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_text_is_read_in_every_protocol(protocol):
    cases = [{"input": "é 漢\n\\", "output": "\U0001f600" * 300}]
    data = zipped(pickle.dumps(json.dumps(cases, ensure_ascii=False), protocol))
    assert livecodebench.unpack_tests(data) == cases


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([contest(3), contest(3)], "is there twice"),
        ([contest(3, question_content=7)], "question_content is 7"),
        ([contest(3, question_content=" ")], "question_content is ' '"),
        ([contest(3, starter_code=["def f(): pass"])], "starter_code is"),
    ],
)
def test_questions_that_are_none_are_told(rows, message):
    with pytest.raises(UserError, match=f"question '3' of LiveCodeBench.*{message}"):
        livecodebench.splits(rows)


def test_dates_that_are_none_or_all_others_are_told():
    with pytest.raises(UserError, match="contest_date is 'soon'"):
        livecodebench.splits([contest(0, date="soon")])
    with pytest.raises(UserError, match="no question with a contest_date from 2025-02-01"):
        livecodebench.splits([contest(0, date="2024-01-01")])
