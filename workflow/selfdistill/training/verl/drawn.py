"""Reads a response as verl's agent loops return it: ids, log-probs, problem, and the reward function's result."""

from collections.abc import Mapping, Sequence
from typing import Any

from tensordict import TensorDict

from selfdistill.models.pictures import PictureReader, problem_pictures
from selfdistill.scoring.prompts import Prompt
from selfdistill.tasks.boxed import last_boxed
from selfdistill.tasks.pictures import Picture
from selfdistill.tasks.prompts import Message
from selfdistill.tasks.schema import Problem
from selfdistill.training.rollouts import StepRollouts

#: Fields of a drawn response that are asked for.
FIELDS = ("prompts", "responses", "rollout_log_probs", "rm_scores", "extra_info", "data_source", "extra_fields")


def rows_of_fields(data: TensorDict) -> list[dict[str, Any]]:
    """Return rows of FIELDS as plain values; `said` is what the reward function returned besides the score."""
    logprobs = [each.float().numpy() for each in data["rollout_log_probs"].unbind()]
    scores = [float(each.sum()) for each in data["rm_scores"].unbind()]
    ids = {name: [each.tolist() for each in data[name].unbind()] for name in ("prompts", "responses")}
    plain = {name: [getattr(each, "data", each) for each in data[name]] for name in ("extra_info", "data_source")}
    extra = (getattr(each, "data", each) for each in data["extra_fields"])
    said = [dict((each or {}).get("reward_extra_info") or {}) for each in extra]
    columns = ids | {"rollout_log_probs": logprobs, "rm_scores": scores, "said": said} | plain
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def problem_of(drawn: Mapping[str, Any]) -> Problem:
    """Return the problem that a response answers."""
    extra = drawn["extra_info"]
    return Problem(
        id=extra["problem_id"],
        data_source=drawn["data_source"],
        problem=extra["problem"],
        answer=extra["answer"],
        solution=extra["solution"],
        ability="",
        index=extra["index"],
        split="",
        messages=tuple(Message(each["role"], each["content"]) for each in extra.get("messages", ())),
        images=tuple(Picture.at(each) for each in extra.get("images", ())),
    )


def _prompt(ids: Sequence[int], problem: Problem, reader: PictureReader | None) -> Sequence[int]:
    """The prompt with its pictures. Raises UserError where it has not their tokens."""
    pictures = problem_pictures(problem, reader)
    return Prompt(ids, pictures) if pictures else ids


def answer_of(drawn: Mapping[str, Any], text: str) -> str | None:
    """Return the final answer that the grader found; of a reward function that does not tell, the last box."""
    return drawn["said"]["answer"] if "answer" in drawn["said"] else last_boxed(text)


def rollouts_of(
    drawn: Sequence[Mapping[str, Any]],
    texts: Sequence[str],
    truncated: Sequence[bool],
    reader: PictureReader | None = None,
) -> StepRollouts:
    """The rollouts of a step, with feedback and scores where any grader gave them, as the local trainer has them.

    Args:
        drawn: rows of `rows_of_fields`.
        texts: decoded without special tokens.
        truncated: cut at the limit of tokens.
        reader: of the model's pictures; None of a model of text alone.
    """
    problems = [problem_of(each) for each in drawn]
    correct = [each["rm_scores"] > 0 for each in drawn]
    scores = [float(each["said"].get("share", right)) for each, right in zip(drawn, correct, strict=True)]
    feedback = [each["said"].get("feedback", "") for each in drawn]
    return StepRollouts(
        problems=problems,
        prompts=[_prompt(each["prompts"], problem, reader) for each, problem in zip(drawn, problems, strict=True)],
        responses=[each["responses"] for each in drawn],
        texts=texts,
        answers=[answer_of(each, text) for each, text in zip(drawn, texts, strict=True)],
        correct=correct,
        logprobs=[each["rollout_log_probs"] for each in drawn],
        truncated=truncated,
        scores=scores if any(score != right for score, right in zip(scores, correct, strict=True)) else None,
        feedback=feedback if any(feedback) else None,
        topics=[each["said"].get("topic", text) for each, text in zip(drawn, feedback, strict=True)],
    )
