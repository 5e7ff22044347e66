"""Tests whether a base model and its teacher look at their pictures, by blank and swapped ones.

The same questions with their own pictures, with blank ones and with those of other problems, asked with and without
the right answer as a hint. Without a hint, accuracy must fall to chance where the picture says nothing. With one, what
is left of it under a blank picture is the hint alone. And the model's own responses, drawn before its own pictures, are
scored under each of these prompts: a teacher whose log-probs do not move with its picture does not see it.
"""

import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from scipy.stats import binomtest

from selfdistill.errors import UserError
from selfdistill.models.chat import encode_messages, end_ids, pad_id
from selfdistill.models.loading import load_model, pick_device
from selfdistill.models.pictures import PictureReader, picture_reader, problem_pictures
from selfdistill.sampling.decode import DecodeLoop
from selfdistill.sampling.interface import Rollout, SamplingSettings
from selfdistill.scoring.scorer import ModelScorer
from selfdistill.scoring.scores import Sequences
from selfdistill.signals.hints import Assignment
from selfdistill.signals.teacher_contexts import ContextBuilder
from selfdistill.study.own_prompts import own_prompts
from selfdistill.study.picture_controls import OWN, PICTURES
from selfdistill.study.run_settings import ChatSettings, RolloutSettings
from selfdistill.study.teacher_settings import HintSettings
from selfdistill.tasks.contexts import Hint
from selfdistill.tasks.graders import grade_response
from selfdistill.tasks.pictures import Picture
from selfdistill.tasks.prompts import student_messages
from selfdistill.tasks.schema import Problem, read_problems

_GREY = (128, 128, 128)
_TOKENS = 16384  # of a forward


def run_controls(
    settings: Mapping[str, Any], problems_file: Path, base_model: Path, report: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Measure a base model under each hint and picture.

    Args:
        settings: `study.picture_controls.controls_settings`.
        problems_file: parquet of problems, of which the first so many are asked, but for one whose number of pictures
            no other has.
        base_model: folder of the weights.
        report: takes one line of progress.

    Returns:
        A row for each pair: hint ("none" or "answer"), picture (one of PICTURES), problems, accuracy with a Wilson
        interval (low, high), `delta` (mean over tokens of the log-prob of the model's own responses minus that without
        a hint before the own picture, nats) and `moved` (mean absolute difference of the log-probs from those under the
        same hint before the own picture, nats; 0 for the own picture).

    Raises:
        UserError: as loading and reading do, and where no two problems have as many pictures.
    """
    found = read_problems(problems_file, own_prompts=own_prompts(settings))
    asked = [p for p in found if p.images][: settings["problems"]]
    alike = Counter(len(p.images) for p in asked)
    problems = [p for p in asked if alike[len(p.images)] > 1]  # one alone would be swapped with itself
    if not problems:
        raise UserError(
            f"{problems_file}: {len(asked)} problems with pictures, no two with as many; controls need two to swap them"
        )
    asker = _Asker(settings, base_model)
    rows, own, plain, responses = [], {}, torch.zeros(0), []
    for hint in ("none", "answer"):
        for picture in PICTURES:
            prompts = asker.prompts(shown_with(problems, picture), hinted=hint == "answer")
            drawn = asker.sample(prompts, (hint, picture))
            right = sum(asker.is_right(each, p) for each, p in zip(drawn, problems, strict=True))
            if not responses:
                responses = [each.response_ids for each in drawn]
            logprobs, there = asker.scored(prompts, responses)
            plain = plain if len(plain) else logprobs
            own.setdefault(hint, logprobs)
            interval = binomtest(right, len(problems)).proportion_ci(method="wilson")
            rows.append(
                {
                    "hint": hint,
                    "picture": picture,
                    "problems": len(problems),
                    "accuracy": right / len(problems),
                    "low": float(interval.low),
                    "high": float(interval.high),
                    "delta": float((logprobs - plain)[there].mean()),
                    "moved": float((logprobs - own[hint])[there].abs().mean()),
                }
            )
            report(f"hint {hint}, picture {picture}: {right} of {len(problems)} right, moved {rows[-1]['moved']:.3f}")
    return rows


def shown_with(problems: Sequence[Problem], picture: str) -> list[Problem]:
    """The problems with their own pictures, blank ones of the same size, or those of the next problem with as many."""
    if picture == OWN:
        return list(problems)
    if picture == "blank":
        return [replace(p, images=tuple(map(_blank, p.images))) for p in problems]
    swapped = list(problems)
    for count in {len(p.images) for p in problems}:
        rows = [i for i, p in enumerate(problems) if len(p.images) == count]
        for here, there in zip(rows, [*rows[1:], rows[0]], strict=True):
            swapped[here] = replace(problems[here], images=problems[there].images)
    return swapped


class _Asker:
    """A base model, with what it takes to ask it."""

    def __init__(self, settings: Mapping[str, Any], folder: Path):
        self._model, self._tokenizer = load_model(Path(folder), pick_device())
        self._chat = ChatSettings(**settings["chat"])
        self._reader: PictureReader | None = picture_reader(Path(folder), self._model.config, self._chat)
        self._grader, self._grading = settings["grader"], settings["grading"]
        self._how = SamplingSettings(**{k: v for k, v in settings["evaluation"].items() if k != "engine"})
        rollout = RolloutSettings(**settings["rollout"])
        hints = HintSettings(**{**settings["hints"], "source": "gt_cot", "mode": "answer_only", "feedback": "never"})
        longest = rollout.max_prompt_tokens + rollout.max_response_tokens + hints.max_tokens
        self._builder = ContextBuilder(self._tokenizer, hints, longest, self._chat, self._reader)
        self._scorer = ModelScorer(self._model, _TOKENS, rollout.temperature)
        ends = end_ids(self._model, self._tokenizer, self._chat)
        self._sampler = DecodeLoop(self._model, pad_id(self._tokenizer, ends), ends)

    def prompts(self, problems: Sequence[Problem], *, hinted: bool) -> list[Sequence[int]]:
        """Return the student's prompts, or the teacher's with the right answer."""
        if hinted:
            assignments = [Assignment(Hint(answer=p.answer)) for p in problems]
            built = self._builder.build(problems, assignments, [0] * len(problems))
            return [context for context in built.correct if context is not None]
        asked = [student_messages(p, training=True, template=self._chat.template) for p in problems]
        shown = [problem_pictures(p, self._reader) for p in problems]
        return [
            encode_messages(self._tokenizer, messages, self._chat, pictures)
            for messages, pictures in zip(asked, shown, strict=True)
        ]

    def sample(self, prompts: Sequence[Sequence[int]], key: tuple[str, str]) -> list[Rollout]:
        """Return one response to each prompt, as in evaluation."""
        return self._sampler.sample(prompts, self._how, [("controls", *key, row) for row in range(len(prompts))])

    def is_right(self, rollout: Rollout, problem: Problem) -> bool:
        """Return the grader's verdict."""
        text = str(self._tokenizer.decode(rollout.response_ids, skip_special_tokens=True))
        return grade_response(text, problem, self._grader, grading=self._grading).correct

    def scored(
        self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log-probs of responses (N, T), and where there are tokens."""
        width = max(map(len, responses))
        lengths = torch.tensor([len(each) for each in responses])
        with torch.no_grad():
            found = self._scorer(Sequences(prompts, responses), width).logprobs.cpu()
        return found, torch.arange(width)[None] < lengths[:, None]


def _blank(picture: Picture) -> Picture:
    file = io.BytesIO()
    Image.new("RGB", (picture.width, picture.height), _GREY).save(file, format="PNG", compress_level=0)
    return Picture.of(file.getvalue())
