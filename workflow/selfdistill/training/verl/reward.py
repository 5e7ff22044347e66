"""Wraps the verifier as verl's reward function (reward.custom_reward_function)."""

from collections.abc import Mapping
from typing import Any

from selfdistill.tasks.graders import gives_feedback, grade_response
from selfdistill.tasks.schema import Problem

#: Key of extra_info: whether the response was cut at the limit, of which some feedback speaks.
TRUNCATED = "selfdistill_truncated"


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict[str, Any] | None = None,
    *,
    grader: str,
    first_role_counts: bool = False,
    grading: Mapping[str, Any] | None = None,
) -> dict[str, float | str | None]:
    """Grade one response.

    Args:
        data_source, solution_str, ground_truth, extra_info: as verl gives them; solution_str is the decoded response.
        grader, first_role_counts, grading: of reward_kwargs; see graders.grade_response.

    Returns:
        score and acc (1 for a right answer, else 0) and formatted (1 where there was an answer); verl turns all three
        into validation metrics. Of a grader that reads whole responses also the answer that it found, its share (a
        score from 0 to 1), its feedback and what that is about: they reach the trainer with the response.

    Raises:
        UserError: as `grade_response`.
    """
    about = extra_info or {}
    problem = Problem(
        id=about.get("problem_id", ""),
        data_source=data_source,
        problem=about.get("problem", ""),
        answer=ground_truth,
        solution=about.get("solution", ""),
        ability="",
        index=about.get("index", 0),
        split="",
    )
    how = {"first_role_counts": first_role_counts, "truncated": bool(about.get(TRUNCATED)), "grading": grading}
    graded = grade_response(solution_str, problem, grader, **how)
    said = {"score": float(graded.correct), "acc": float(graded.correct), "formatted": float(graded.formatted)}
    if not gives_feedback(grader):
        return said
    return said | {"answer": graded.answer, "share": graded.score, "feedback": graded.feedback, "topic": graded.topic}
