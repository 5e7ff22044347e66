"""Evaluation by each engine: the same draws, in the same parquet."""

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfdistill.errors import UserError
from selfdistill.evaluation import evaluate as module
from selfdistill.evaluation.draws import SCHEMA, read_draws
from selfdistill.evaluation.evaluate import evaluate_run
from selfdistill.models.chat import encode_chat, encode_messages
from selfdistill.models.loading import load_tokenizer, pick_device
from selfdistill.models.tiny_model import TinyModel, build_model
from selfdistill.sampling.decode import DecodeLoop
from selfdistill.sampling.interface import Rollout, SamplingSettings
from selfdistill.sandbox import trial
from selfdistill.tasks.graders import grade_responses
from selfdistill.tasks.prompts import Message, student_prompt
from selfdistill.tasks.schema import Problem, write_problems

BENCHMARKS = ("chain-1", "chain-2")
GREEDY = {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "max_response_tokens": 12}


@pytest.fixture(scope="module")
def run(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("evaluation")
    model = build_model(TinyModel(layers=2), tokenizer, seed=0).eval()
    texts = [f"Start with {i}, then add {i + 3}" for i in range(6)]
    prompts = [encode_chat(tokenizer, student_prompt(text, training=False)) for text in texts]
    free = DecodeLoop(model, 0, [tokenizer.eos_token_id]).sample(prompts, SamplingSettings(12, 0.0), [(0,)] * 6)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, free[0].response_ids[5]]  # some end, some are cut
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    write_problems(
        folder / "val.parquet",
        [Problem(f"{b}/{i}", b, texts[i], str(2 * i + 3), "", "math", i, "val") for b in BENCHMARKS for i in range(6)],
    )
    return folder


def evaluate(run, tmp_path, engine=None, seed=0, **changes):
    """The draws' files and the report of one evaluation."""
    evaluation = {**GREEDY, **changes} | ({} if engine is None else {"engine": engine})
    task = {"grader": "maths", "draws": 2, "evaluation": evaluation}
    outputs = {name: tmp_path / f"{engine}-{name}.parquet" for name in BENCHMARKS}
    lines = []
    evaluate_run(run / "model", run / "val.parquet", task, seed, outputs, lines.append)
    return outputs, lines


def contents(outputs):
    return {name: read_draws(path).to_dict("records") for name, path in outputs.items()}


def test_engines_draw_alike_and_own_is_the_default(run, tmp_path):
    own, lines = evaluate(run, tmp_path, "own")
    assert lines[0] == f"engine own, float32 on {pick_device().type}"
    assert [line.split(":")[0] for line in lines[1:]] == list(BENCHMARKS)
    assert own["chain-1"].read_bytes() == evaluate(run, tmp_path)[0]["chain-1"].read_bytes()
    others, lines = evaluate(run, tmp_path, "transformers")
    assert lines[0] == f"engine transformers, float32 on {pick_device().type}"
    assert contents(others) == contents(own)
    assert pq.read_schema(own["chain-1"]).equals(SCHEMA)
    assert pq.read_schema(others["chain-1"]).equals(SCHEMA)
    assert {row["finish_reason"] for row in contents(own)["chain-1"]} == {"stop", "length"}


@pytest.mark.parametrize("engine", ["own", "transformers"])
def test_draws_depend_on_the_seed(run, tmp_path, engine):
    settings = {"temperature": 1.0, "top_p": 0.95, "top_k": 20}
    first = contents(evaluate(run, tmp_path, engine, **settings)[0])
    assert contents(evaluate(run, tmp_path, engine, **settings)[0]) == first
    assert contents(evaluate(run, tmp_path, engine, seed=1, **settings)[0]) != first


@pytest.mark.parametrize(
    ("about", "asked"),
    [
        ({"grader": "choice"}, "own"),
        ({"grader": "choice", "prompt": "boxed"}, "boxed"),
        ({"grader": "maths"}, "boxed"),
        ({"grader": "maths", "prompt": "own", "chat": {"template": "modulo {problem}"}}, "own"),
        ({"grader": "maths", "chat": {"template": "modulo {problem}"}}, "template"),
    ],
)
def test_problems_are_asked_with_their_own_chats_where_the_grader_or_the_task_says_so(
    run, tmp_path, tokenizer, monkeypatch, about, asked
):
    chat = (Message("system", "add"), Message("user", "Start with 1"))
    write_problems(tmp_path / "v.parquet", [Problem("q/0", "q", "Start with 2", "A", "", "mcq", 0, "val", chat)])
    prompts = []
    sample = DecodeLoop.sample

    def noted(sampler, given, *more):
        prompts.extend(given)
        return sample(sampler, given, *more)

    monkeypatch.setattr(DecodeLoop, "sample", noted)
    task = {"draws": 1, "evaluation": GREEDY, **about}
    evaluate_run(run / "model", tmp_path / "v.parquet", task, 0, {"q": tmp_path / "q.parquet"}, print)
    boxed = encode_chat(tokenizer, student_prompt("Start with 2", training=False))
    template = encode_chat(tokenizer, "modulo Start with 2")
    assert prompts[-1] == {"own": encode_messages(tokenizer, chat), "boxed": boxed, "template": template}[asked]


OTHER = ("people-2", "people-3")
ALSO = {"grader": "knights", "first_role_counts": True, "benchmarks": list(OTHER), "problems": 2}
TASK = {"grader": "maths", "draws": 2, "benchmarks": list(BENCHMARKS), "evaluation": GREEDY, "also": {"puzzles": ALSO}}


@pytest.fixture
def puzzles(tmp_path):
    """The evaluation problems of another task; those of its two benchmarks take turns."""
    rows = [(name, i) for i in range(3) for name in OTHER]
    text = "Start with {}, then add 1"
    write_problems(
        tmp_path / "puzzles.parquet",
        [
            Problem(f"{name}/{i}", name, text.format(i), "(1) Ann is a knight", "", "logic", i, "val")
            for name, i in rows
        ],
    )
    return tmp_path / "puzzles.parquet"


def test_benchmarks_of_another_task_are_drawn_like_its_own_and_graded_as_there(run, tmp_path, puzzles, monkeypatch):
    asked = set()

    def grade(responses, problems, truncated, grader, *, first_role_counts, **more):
        asked.update((problem.data_source, grader, first_role_counts) for problem in problems)
        return grade_responses(responses, problems, truncated, grader, first_role_counts=first_role_counts, **more)

    monkeypatch.setattr(module, "grade_responses", grade)
    outputs = {name: tmp_path / f"also-{name}.parquet" for name in (*BENCHMARKS, *OTHER)}
    lines = []
    evaluate_run(run / "model", run / "val.parquet", TASK, 0, outputs, lines.append, {"puzzles": puzzles})
    assert asked == {(name, "maths", False) for name in BENCHMARKS} | {(name, "knights", True) for name in OTHER}
    assert [line.split(" problems")[0] for line in lines[1:]] == [
        "chain-1: 6",
        "chain-2: 6",
        "people-2: 2",
        "people-3: 2",
    ]
    drawn = [(row["problem_id"], row["draw"]) for row in contents(outputs)["people-3"]]
    assert drawn == [("people-3/0", 0), ("people-3/0", 1), ("people-3/1", 0), ("people-3/1", 1)]
    own, _ = evaluate(run, tmp_path)
    assert {name: contents(outputs)[name] for name in BENCHMARKS} == contents(own)


def test_all_problems_of_another_task_are_taken_unless_it_says_how_many(run, tmp_path, puzzles):
    task = {**TASK, "also": {"puzzles": {key: value for key, value in ALSO.items() if key != "problems"}}}
    outputs = {"people-2": tmp_path / "all.parquet"}
    # What is drawn already is not asked for again, and its file not read.
    evaluate_run(run / "model", tmp_path / "gone.parquet", task, 0, outputs, print, {"puzzles": puzzles})
    assert len(contents(outputs)["people-2"]) == 3 * 2


def test_an_unknown_engine_is_refused(run, tmp_path):
    with pytest.raises(UserError, match=r"evaluation\.engine 'sglang' is not one of own, transformers, vllm"):
        evaluate(run, tmp_path, "sglang")


PROGRAM = """
import json, sys
from pathlib import Path
from selfdistill.evaluation.evaluate import evaluate_run

run, out, task = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
outputs = {name: out / f"vllm-{name}.parquet" for name in sys.argv[4:]}
evaluate_run(run / "model", run / "val.parquet", task, 0, outputs, lambda line: print("REPORT", line, flush=True))
"""


@pytest.mark.verl
def test_vllm_draws_alike(run, tmp_path):
    """In a process of its own, by a script without a main guard, as Snakemake runs them."""
    pytest.importorskip("vllm")
    (tmp_path / "program.py").write_text(PROGRAM)
    task = json.dumps({"grader": "maths", "draws": 2, "evaluation": {**GREEDY, "engine": "vllm"}})
    command = [sys.executable, tmp_path / "program.py", run, tmp_path, task, *BENCHMARKS]
    done = subprocess.run(command, timeout=900, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    lines = [line.removeprefix("REPORT ") for line in done.stdout.splitlines() if line.startswith("REPORT ")]
    assert lines[0].startswith("engine vllm ")
    assert [line.split(":")[0] for line in lines[1:]] == list(BENCHMARKS)
    found = {name: tmp_path / f"vllm-{name}.parquet" for name in BENCHMARKS}
    assert pq.read_schema(found["chain-1"]).equals(SCHEMA)
    assert contents(found) == contents(evaluate(run, tmp_path, "own")[0])


def test_feedback_and_what_a_problem_is_a_variant_of_are_in_the_draws(run, tmp_path):
    problems = [Problem(f"c/{i}", "c", "Which?\n\nA: 1\nB: 2", "A", "", "mcq", i, "val") for i in range(2)]
    write_problems(tmp_path / "val.parquet", problems)
    rows = pq.read_table(tmp_path / "val.parquet").to_pylist()
    for row in rows:
        row["extra_info"]["cluster"] = "twins"
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "val.parquet")
    task = {"grader": "choice", "grading": {"feedback": "format"}, "draws": 1, "evaluation": dict(GREEDY)}
    evaluate_run(run / "model", tmp_path / "val.parquet", task, 0, {"c": tmp_path / "c.parquet"}, lambda _: None)
    frame = read_draws(tmp_path / "c.parquet")
    assert list(frame.columns) == [*SCHEMA.names, "feedback", "cluster"]
    assert set(frame["cluster"]) == {"twins"}
    assert all("<answer>" in told for told in frame["feedback"])


def test_without_a_sandbox_no_program_is_drawn(run, tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "_first_that_holds", lambda: (None, "there is no program bwrap"))
    write_problems(tmp_path / "v.parquet", [Problem("q/0", "q", "Why?", "A", "", "mcq", 0, "val")])
    for about in ({"grader": "code"}, {"grader": "choice", "second_grader": "code_as_published"}):
        task = {"draws": 1, "evaluation": dict(GREEDY), **about}
        lines = []
        with pytest.raises(UserError, match="no sandbox for programs that a model wrote"):
            evaluate_run(run / "model", tmp_path / "v.parquet", task, 0, {"q": tmp_path / "q"}, lines.append)
        assert lines == []


def test_a_second_grader_is_noted_beside_the_first_without_its_level_of_feedback(run, tmp_path, monkeypatch):
    """Of a bare letter the two graders of multiple choice differ."""
    problems = [Problem("c/0", "c", "Which?\n\nA: 1\nB: 2", "A", "", "mcq", 0, "val")]
    write_problems(tmp_path / "val.parquet", problems)

    class Sampler:
        def sample(self, prompts, *_):
            return [Rollout([0], np.zeros(1), np.zeros(1), "stop") for _ in prompts]

    monkeypatch.setattr(module, "sampler_of", lambda *_: (Sampler(), "a stand-in"))
    monkeypatch.setattr(type(load_tokenizer(run / "model")), "decode", lambda *_, **__: "A")
    task = {"grader": "choice", "grading": {"feedback": "format"}, "draws": 2, "evaluation": dict(GREEDY)}
    told, lines = {}, []
    for second in (None, "choice_as_published"):
        beside = {} if second is None else {"second_grader": second}
        evaluate_run(run / "model", tmp_path / "val.parquet", task | beside, 0, {"c": tmp_path / "c"}, lines.append)
        told[second] = read_draws(tmp_path / "c")
    assert list(told["choice_as_published"].columns) == [*SCHEMA.names, "feedback", "second_correct"]
    assert told["choice_as_published"]["second_correct"].tolist() == [True, True]
    assert told["choice_as_published"]["correct"].tolist() == [False, False]
    assert "second_correct" not in told[None]
    assert "0.0 % correct (100.0 % by choice_as_published)" in lines[-1]
