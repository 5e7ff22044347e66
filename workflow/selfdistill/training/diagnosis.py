"""Runs a diagnosis as a job: the untrained student draws, and its teacher is compared with it at every token."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from selfdistill.errors import UserError
from selfdistill.files import atomic_path
from selfdistill.methods.setting import from_mapping
from selfdistill.models.chat import ChatSettings, encode_messages, end_ids, pad_id
from selfdistill.models.first_day import check_lengths, try_model
from selfdistill.models.loading import load_model, load_weights, pick_device
from selfdistill.models.pictures import picture_reader, problem_pictures
from selfdistill.runs.records import DIAGNOSIS
from selfdistill.sampling.decode import DecodeLoop
from selfdistill.sampling.interface import SamplingSettings
from selfdistill.sampling.transformers_generate import TransformersGenerate
from selfdistill.scoring.lengths import vocabulary_size
from selfdistill.scoring.pairs import compare_pairs
from selfdistill.scoring.scores import Sequences
from selfdistill.signals.diagnosis import compared
from selfdistill.study.own_prompts import own_prompts
from selfdistill.study.run_settings import RolloutSettings
from selfdistill.tasks.graders import grade_response
from selfdistill.tasks.prompts import student_messages
from selfdistill.tasks.schema import Problem, read_problems
from selfdistill.training.external_models import check_tokens
from selfdistill.training.token_texts import token_texts

Report = Callable[[str], None]


def diagnose(
    settings: Mapping[str, Any],
    *,
    train_file: Path,
    student: Path,
    teacher: Path,
    output: Path,
    batch_tokens: int,
    report: Report,
) -> None:
    """Draw with the student, compare it with the teacher, and write a row of runs.records.DIAGNOSIS for each rollout.

    Args:
        settings: as `study.diagnosis.Diagnoses.of` returns them.
        train_file: parquet of training problems, of which the first ones are asked.
        student, teacher: model folders.
        output: parquet to write.
        batch_tokens: padded tokens a forward.
        report: takes one line of progress.

    Raises:
        UserError: for a model that cannot be taken, other tokens or rows of the output layer than the student's, and
            prompts or responses that outgrow a model.
    """
    rollout, chat = from_mapping(RolloutSettings, settings["rollout"]), ChatSettings(**settings["chat"])
    model, tokenizer = load_model(Path(student), pick_device())
    check_tokens("teacher", Path(teacher), tokenizer)
    other = load_weights(Path(teacher), model.device)
    _check(model, other, Path(teacher), rollout, report)
    problems = read_problems(Path(train_file), own_prompts=own_prompts(settings))[: settings["prompts"]]
    rows = [(problem, member) for problem in problems for member in range(settings["rollouts"])]
    reader = picture_reader(Path(student), model.config, chat)
    asked = {p.id: student_messages(p, training=True, template=chat.template) for p in problems}
    encoded = {p.id: encode_messages(tokenizer, asked[p.id], chat, problem_pictures(p, reader)) for p in problems}
    prompts = [encoded[problem.id] for problem, _ in rows]
    keys = [(settings["seed"], "diagnosis", problem.id, member) for problem, member in rows]
    sampler = _sampler(settings["engine"], model, tokenizer, chat)
    drawn = sampler.sample(prompts, SamplingSettings.of(rollout), keys)
    responses = [each.response_ids for each in drawn]
    report(f"{len(rows)} rollouts of {len(problems)} prompts, {sum(map(len, responses))} tokens")
    found = compare_pairs(
        (model, other),
        Sequences(prompts, responses),
        partial(compared, top_k=settings["top_k"]),
        max_tokens=batch_tokens,
        temperature=rollout.temperature,
    )
    grading = {"grading": settings["grading"]} if "grading" in settings else {}
    records = []
    for (problem, member), response, facts in zip(rows, responses, found, strict=True):
        text = tokenizer.decode(response, skip_special_tokens=True)
        right = grade_response(text, problem, settings["grader"], **grading).correct
        records.append(_record(problem, problems.index(problem), member, response, right, facts, tokenizer))
    with atomic_path(output) as temporary:
        pq.write_table(pa.Table.from_pylist(records, schema=DIAGNOSIS), temporary, compression="zstd")
    total, tokens = sum(float(facts["kl"].sum()) for facts in found), sum(map(len, responses))
    report(f"KL(student, teacher): {total / tokens:.3f} nats a token")


def _check(
    model: PreTrainedModel, other: PreTrainedModel, teacher: Path, rollout: RolloutSettings, report: Report
) -> None:
    rows, others = vocabulary_size(model.config), vocabulary_size(other.config)
    if rows != others:
        raise UserError(
            f"{teacher}: its output layer has {others} rows, the student's {rows}, so their distributions cannot be "
            "compared id by id; take a teacher with as many"
        )
    longest = rollout.max_prompt_tokens + rollout.max_response_tokens
    for whose, each in (("the student", model), (f"the teacher ({teacher})", other)):
        try_model(each, report)
        check_lengths(each.config, longest, "rollout.max_response_tokens or max_prompt_tokens", whose)


def _sampler(
    engine: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, chat: ChatSettings
) -> DecodeLoop | TransformersGenerate:
    ends = end_ids(model, tokenizer, chat)
    kind = {"own": DecodeLoop, "transformers": TransformersGenerate}[engine]
    return kind(model, pad_id(tokenizer, ends), ends)


def _record(
    problem: Problem,
    number: int,
    member: int,
    response: list[int],
    right: bool,
    facts: Mapping[str, Any],
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, Any]:
    """A row as a run records one, where the teacher reads no hint and the loss is the divergence itself."""
    return {
        "step": 0,
        "prompt": number,
        "rollout": member,
        "problem_id": problem.id,
        "problem": problem.problem,
        "answer": problem.answer,
        "correct": right,
        "reward": float(right),
        "advantage": 0.0,
        "tokens": token_texts(tokenizer, response),
        "token_ids": response,
        "old_logprobs": facts["student"],
        "student_logprobs": facts["student"],
        "correct_logprobs": facts["teacher"],
        "wrong_logprobs": [],
        "advantages_after": None,
        "divergences": facts["kl"],
        "weights": [1.0] * len(response),
        "marked": None,
        "correct_solution": "",
        "correct_answer": "",
        "wrong_solutions": [],
        "wrong_answers": [],
        "overlap": facts["overlap"],
        "student_mass": facts["student_mass"],
        "teacher_mass": facts["teacher_mass"],
    }
