"""A diagnosis, against loops over probabilities: what is measured at each token, and what the tables make of it."""

import math
from collections import defaultdict

import pyarrow.parquet as pq
import pytest
import torch
from small_run import another

from selfdistill.errors import UserError
from selfdistill.models.chat import encode_chat
from selfdistill.models.loading import load_model
from selfdistill.reporting.figures.tokens import teachers_figure
from selfdistill.reporting.read.runs import RunFiles
from selfdistill.reporting.tokens.classes import PARTITIONS
from selfdistill.reporting.tokens.diagnosis import (
    diagnosis_classes,
    diagnosis_table,
    diagnosis_tokens,
    diagnosis_views,
    read_diagnosis,
)
from selfdistill.reporting.tokens.page import token_page
from selfdistill.scoring import pairs
from selfdistill.tasks.prompts import INSTRUCTION, student_prompt
from selfdistill.training.diagnosis import diagnose

TOP_K, TEMPERATURE = 5, 0.8
SETTINGS = {
    "prompts": 4,
    "rollouts": 2,
    "engine": "own",
    "top_k": TOP_K,
    "seed": 3,
    "grader": "maths",
    # A template of the run's own, whose words are those of evaluation.
    "chat": {"thinking": True, "date": "2026-01-01", "template": "{problem}\n\n" + INSTRUCTION.replace("{}", "{{}}")},
    "rollout": {
        "max_prompt_tokens": 40,
        "max_response_tokens": 20,
        "temperature": TEMPERATURE,
        "top_p": 1.0,
        "top_k": 0,
    },
}
CELL = ("arithmetic", "tiny", "other")


@pytest.fixture(scope="module")
def found(small_run, tmp_path_factory):
    """Student, teacher, and the rows that were written, with few logits held at once."""
    folder = tmp_path_factory.mktemp("diagnosis")
    student, tokenizer = load_model(small_run["base_model"], torch.device("cpu"))
    teacher = another(student, 0.05)
    teacher.save_pretrained(folder / "teacher")
    tokenizer.save_pretrained(folder / "teacher")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "_ELEMENTS", 7 * 103)
        diagnose(
            SETTINGS,
            train_file=small_run["train_file"],
            student=small_run["base_model"],
            teacher=folder / "teacher",
            output=folder / "found.parquet",
            batch_tokens=100,
            report=lambda line: None,
        )
    return student, teacher, tokenizer, folder / "found.parquet"


def loops(student, teacher, prompt, response):
    """Token by token, by forwards of this row alone."""
    row = torch.tensor([[*prompt, *response]])
    both = []
    for model in (student, teacher):
        with torch.no_grad():
            logits = model(input_ids=row).logits[0, len(prompt) - 1 : -1].double()
        both.append((logits / TEMPERATURE).softmax(dim=-1).tolist())
    for s, t in zip(*both, strict=True):
        likely = [set(sorted(range(len(p)), key=lambda i, p=p: -p[i])[:TOP_K]) for p in (s, t)]
        shared = likely[0] & likely[1]
        yield {
            "divergences": sum(a * math.log(a / b) for a, b in zip(s, t, strict=True)),
            "overlap": len(shared) / TOP_K,
            "student_mass": sum(s[i] for i in shared),
            "teacher_mass": sum(t[i] for i in shared),
        }


def test_every_token_is_measured_by_whole_distributions(found):
    student, teacher, tokenizer, file = found
    rows = pq.read_table(file).to_pylist()
    assert [(row["prompt"], row["rollout"]) for row in rows] == [(i, k) for i in range(4) for k in range(2)]
    for row in rows:
        prompt = encode_chat(tokenizer, student_prompt(row["problem"], training=False))
        expected = list(loops(student, teacher, prompt, row["token_ids"]))
        for name in expected[0]:
            assert row[name] == pytest.approx([each[name] for each in expected], rel=1e-4, abs=1e-5), name
        assert row["student_logprobs"] != row["correct_logprobs"]


def test_tables_against_loops(found):
    cell = read_diagnosis(found[-1], *CELL)
    rows = pq.read_table(found[-1]).to_pylist()
    tokens = [
        (text, kl, t == 0)
        for row in rows
        for t, (text, kl) in enumerate(zip(row["tokens"], row["divergences"], strict=True))
    ]
    total = sum(kl for _, kl, _ in tokens)
    (line,) = diagnosis_table([cell]).to_dict("records")
    assert (line["rollouts"], line["tokens"]) == (8, len(tokens))
    assert line["kl_mean"] == pytest.approx(total / len(tokens))
    assert line["kl_first_share"] == pytest.approx(sum(kl for _, kl, first in tokens if first) / total)
    assert line["accuracy"] == pytest.approx(100 * sum(row["correct"] for row in rows) / 8)

    classes = diagnosis_classes([cell])
    for partition, of_text in PARTITIONS.items():
        part = classes[classes["partition"] == partition].set_index("token_class")
        assert part["tokens"].sum() == len(tokens)
        assert part["kl_share"].sum() == pytest.approx(1)
        expected = sum(kl for text, kl, _ in tokens if of_text(text) == "task")
        assert part["kl_sum"]["task"] == pytest.approx(expected)
        assert line[f"task_share_{partition}"] == pytest.approx(expected / total)

    types = defaultdict(list)
    for text, kl, _ in tokens:
        types[text].append(kl)
    means = {text: sum(values) / len(values) for text, values in types.items() if len(values) >= 3}
    listed = diagnosis_tokens([cell], least_count=3, listed=4)
    assert list(listed["kl_mean"]) == pytest.approx(sorted(means.values(), reverse=True)[:4])
    assert list(listed["rank"]) == [1, 2, 3, 4]
    assert (listed["count"] >= 3).all()
    assert len(diagnosis_tokens([cell], least_count=10**6)) == 0


def test_views_figure_and_page_are_made_of_it(found):
    cell = read_diagnosis(found[-1], *CELL)
    (view,) = diagnosis_views(diagnosis_table([cell]))
    assert [row.label for row in view.rows] == ["other"]
    figure = teachers_figure(diagnosis_tokens([cell, cell], least_count=3))
    assert len(figure.axes) == 1  # a teacher of one name
    assert teachers_figure(diagnosis_tokens([cell], 10**6)).texts
    page = token_page([RunFiles(*CELL, 0, "other", draws={}, records=found[-1])], "arithmetic")
    assert "tiny, other, seed 0" in page


def test_a_file_of_something_else_is_named(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match=r"x\.parquet: cannot be read as a diagnosis"):
        read_diagnosis(tmp_path / "x.parquet", *CELL)
