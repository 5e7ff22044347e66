"""Data in the layouts of others, from configuration to parquet."""

import base64
import hashlib
import json
import pickle
import zlib

import hub_server
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from configurations import merged, refusal

from selfdistill.errors import UserError
from selfdistill.hub.client import resolve
from selfdistill.study.own_prompts import own_prompts
from selfdistill.study.study import load_study
from selfdistill.tasks.schema import read_problems
from selfdistill.tasks.sources import make_data

CHOICE = {"biology": "sciknoweval_biology", "chemistry": "sciknoweval_chemistry"}
LIMIT = 6


def hub_question(number, domain="Biology", level="L3", kind="mcq-4-choices"):
    letters = list("ABCD" if "4" in kind else "AB")
    return {
        "question": f"Which of {number}?",
        "choices": {"text": [f"{letter}{number}" for letter in letters], "label": letters},
        "answerKey": letters[number % len(letters)],
        "type": kind,
        "domain": domain,
        "details": {"level": level},
    }


def contest_question(number, date="2025-03-01T00:00:00", count=4):
    cases = [{"input": f"{i}\n", "output": f"{i * i}\n", "testtype": "stdin"} for i in range(count)]
    packed = base64.b64encode(zlib.compress(pickle.dumps(json.dumps(cases)))).decode()
    row = {"question_id": str(number), "question_content": f"Square {number}.", "starter_code": "", "metadata": "{}"}
    return row | {"contest_date": date, "private_test_cases": packed}


def parquet(rows):
    out = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue().to_pybytes()


def made(study, task, split, out, files=()):
    """What the rule `data` makes of a task's split."""
    entry = study.config["tasks"][task]
    recipe, sources = study.split(task, split), study.source_files(task, split)
    found = [file for file in sources if file not in files]
    how = {"grader": entry["grader"], "own_prompts": own_prompts(entry), "report": print}
    return make_data(recipe, out, split=split, files=found, missing=list(files), **how)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    questions = [hub_question(i) for i in range(18)] + [hub_question(i, kind="mcq-2-choices") for i in range(18, 21)]
    questions += [hub_question(90, level="L2"), hub_question(91, kind="open-ended-qa"), hub_question(92, "Chemistry")]
    contests = [contest_question(i) for i in range(3)] + [contest_question(9, "2025-05-01T00:00:00")]
    files = {
        "datasets/hicai-zju/SciKnowEval": {"v2/test/0000.parquet": parquet(questions)},
        "datasets/livecodebench/code_generation_lite": {
            "test6.jsonl": "\n".join(map(json.dumps, contests)).encode(),
        },
    }
    from huggingface_hub import constants

    with hub_server.serving(hub_server.Hub(files)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.delenv("SELFDISTILL_HUB_MIRROR", raising=False)
        yield hub


#: The hub's server has one branch.
MAIN = "hub: {id: hicai-zju/SciKnowEval, revision: main}"


def test_both_sets_of_the_hub_are_locked_fetched_filtered_split_and_asked_with_their_own_chats(hub, tmp_path):
    text = f"tasks: {{sciknoweval_biology: {{data: {{{MAIN}}}}}}}\nmodels: {{}}"
    matrix = {"tasks": ["sciknoweval_biology", "livecodebench"], "models": ["qwen3_8b"], "variants": ["base", "grpo"]}
    config = merged(text) | {"matrix": {**matrix, "seeds": [0]}}
    study = load_study(config, lock_file=tmp_path / "none.yaml")
    with pytest.raises(UserError, match=r"nothing for v2/test/0000\.parquet of hicai-zju/SciKnowEval@main"):
        made(study, "sciknoweval_biology", "train", tmp_path / "t.parquet")
    needed = study.hub_files()["datasets"]
    assert needed == {
        "hicai-zju/SciKnowEval@main": ["v2/test/0000.parquet"],
        "livecodebench/code_generation_lite@main": ["test6.jsonl"],
    }
    lock = resolve({"datasets": needed, "models": {}}, study.lock, print)
    (tmp_path / "lock.yaml").write_text(json.dumps(lock))
    study = load_study(config, lock_file=tmp_path / "lock.yaml")
    train, val = (made(study, "sciknoweval_biology", split, tmp_path / split) for split in ("train", "val"))
    assert (len(train), len(val)) == (18, 3)  # of 21 a tenth, rounded up
    assert {p.index for p in train + val} == set(range(21)), "numbered within the domain, each once"
    assert {p.data_source for p in train + val} == {"sciknoweval_biology"}
    assert {tuple(m.role for m in p.messages) for p in train + val} == {("system", "user")}
    two = next(p for p in train + val if p.index == 20)
    assert "2 options" in two.messages[0].content
    assert "\n\nA: A20\nB: B20\n" in two.messages[1].content
    train, val = (made(study, "livecodebench", split, tmp_path / f"c{split}") for split in ("train", "val"))
    assert [p.messages for p in train] == [p.messages for p in val]
    assert [[len(json.loads(p.answer)["inputs"]) for p in part] for part in (train, val)] == [[2] * 3, [4] * 3]
    assert read_problems(tmp_path / "cval", own_prompts=True) == val
    # What was fetched for one split is not fetched again, and a file that is not as locked makes nothing.
    assert hub.count("GET", "test6.jsonl") == 1
    assert study.data_digest("livecodebench") != study.data_digest("sciknoweval_biology")


def release(folder, domain, **splits):
    (folder / domain).mkdir(parents=True)
    for split, rows in splits.items():
        (folder / domain / f"{split}.json").write_text("\n".join(map(json.dumps, rows)))


def tool_call(number):
    call = {"Action": "find", "Action_Input": json.dumps({"what": number})}
    row = {"idx": number, "kind": "tooluse", "dataset": "tooluse", "system": None, "tests": None}
    return {**row, "prompt": f"Find {number}.", "answer": json.dumps([call])}


def test_a_folder_of_the_release_is_a_source_and_files_are_held_to_their_hashes(tmp_path):
    release(tmp_path / "datasets", "tooluse", train=[tool_call(i) for i in range(3)], test=[tool_call(4046)])
    plain = {"source": str(tmp_path / "datasets"), "git_sha1": {"train": None, "val": None}}
    study = load_study(merged("tasks: {tool_use: {data: " + json.dumps(plain) + "}}"))
    train = made(study, "tool_use", "train", tmp_path / "train.parquet")
    assert [p.id for p in train] == ["tooluse/0", "tooluse/1", "tooluse/2"]
    assert [[m.role for m in p.messages] for p in train] == [["user"]] * 3
    assert made(study, "tool_use", "val", tmp_path / "val.parquet")[0].messages[0].content == "Find 4046."
    content = (tmp_path / "datasets/tooluse/test.json").read_bytes()
    known = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    pinned = {**plain, "git_sha1": {"train": None, "val": known}}
    study = load_study(merged("tasks: {tool_use: {data: " + json.dumps(pinned) + "}}"))
    assert len(made(study, "tool_use", "val", tmp_path / "again.parquet")) == 1
    (tmp_path / "datasets/tooluse/test.json").write_bytes(content.replace(b"4046", b"4047"))
    assert study.split("tool_use", "val")["files"] == [{"git_sha1": known}], "planned as before"
    with pytest.raises(UserError, match=r"test\.json: not the file that is expected \(git_sha1 .*; replace it"):
        made(study, "tool_use", "val", tmp_path / "wrong.parquet")
    (file,) = study.source_files("tool_use", "val")
    with pytest.raises(UserError, match=r"test\.json: no such file; put the release's file there"):
        made(study, "tool_use", "val", tmp_path / "wrong.parquet", files=[file])
    assert not (tmp_path / "wrong.parquet").exists()


def test_without_the_file_a_release_is_planned_only_where_its_hash_is_known(tmp_path):
    known = {"git_sha1": "b3f1449172a9a98389c03d38f83ab2795426d7f8"}
    assert load_study(merged()).split("tool_use", "train")["files"] == [known]
    data = json.dumps({"source": str(tmp_path), "git_sha1": {"train": None, "val": None}})
    study = load_study(merged("tasks: {tool_use: {data: " + data + "}}"))
    with pytest.raises(
        UserError, match=r"tasks\.tool_use\.data\.source: .*tooluse/train\.json: no such file; expected"
    ):
        study.split("tool_use", "train")


@pytest.mark.parametrize(
    ("task", "change", "said"),
    [
        ("tool_use", "source: hub", "format 'release' needs a folder as source, found 'hub'"),
        ("livecodebench", "source: generated", "format 'livecodebench' needs 'hub' or a folder as source"),
        ("math", "format: release", "format 'release' needs `domain`"),
        ("math", "{format: sciknoweval, domain: a/b}", "format 'sciknoweval' needs `files`"),
        ("math", "{format: livecodebench, files: [a.jsonl]}", "format 'livecodebench' gives one benchmark"),
        ("math", "format: csv", "expected one of parquet, release, sciknoweval, livecodebench"),
        ("tool_use", "domain: ../other", "expected a domain's path in the release"),
    ],
)
def test_a_layout_that_cannot_be_is_refused(task, change, said):
    assert said in refusal(f"tasks: {{{task}: {{data: {change if change[0] == '{' else '{' + change + '}'}}}}}")
