"""Computes We-Math's four-dimensional score (arXiv 2407.01284, sect. 4), which judges the rows of a group together.

A group is some one-step questions and the one that is composed of them. Insufficient knowledge (IK): the composed
answer is wrong, and a step is. Inadequate generalisation (IG): all steps are right, the composed answer is wrong.
Complete mastery (CM): all are right. Rote memorisation (RM): the composed answer is right though a step is wrong: any
step (strict), or every step (loose, where a composed answer with some right step is mastery). A group is worth 1 for
CM, 1/2 for IG and 0 else; the score is the mean over groups.
"""

import numpy as np

from selfdistill.errors import UserError
from selfdistill.evaluation.draws import DrawMatrix
from selfdistill.tasks.vision.rows import rows_of_group

STRICT, LOOSE = RULES = ("strict", "loose")
CATEGORIES = ("IK", "IG", "CM", "RM")


def categories(steps: np.ndarray, composed: np.ndarray, rule: str) -> np.ndarray:
    """Return the category of a group in each draw, as its place in CATEGORIES.

    Args:
        steps: whether each step is right, [K steps, D draws].
        composed: whether the composed answer is, [D].
        rule: "strict" or "loose".
    """
    all_right = steps.all(axis=0)
    mastered = all_right if rule == STRICT else steps.any(axis=0)
    return np.where(composed, np.where(mastered, 2, 3), np.where(all_right, 1, 0))


def group_categories(draws: DrawMatrix, rule: str) -> dict[str, np.ndarray]:
    """Group -> category of each draw, [D] or, of stacked seeds, [S, D].

    The rows of a group are those of one cluster, in the order of their index: the composed question is the last.

    Raises UserError where a problem belongs to no group, a group has no step, or problems are missing: those between
    others, and any of a cluster whose name says how many it has (`tasks.vision.rows.group_name`).
    """
    found = {}
    for name, rows in _groups(draws).items():
        correct = np.moveaxis(draws.correct[..., rows, :], -2, 0)
        found[name] = categories(correct[:-1], correct[-1], rule)
    return found


#: What is asked of a group: a row of draws each.
_HALF, _WHOLE = "half", "whole"


def of_groups(draws: DrawMatrix) -> bool:
    """Returns whether these are draws of groups (`grouped`), two rows of one cluster read off the same ones."""
    return all(name.endswith((f"/{_HALF}", f"/{_WHOLE}")) for name in draws.problems)


def grouped(draws: DrawMatrix, rule: str) -> DrawMatrix:
    """Return draws of groups in place of those of problems, so that a mean of right answers is the score.

    A group is two rows of one cluster: whether it is worth at least 1/2, and whether it is worth 1. Tokens are the mean
    of its answers, to half a token over both rows; truncated is a group of which any answer is.

    Args:
        draws: of all rows, [P, D].
        rule: "strict" or "loose".

    Raises:
        UserError: as `group_categories`.
    """
    groups, names = _groups(draws), []
    correct, tokens, truncated, clusters = [], [], [], []
    for name, category in group_categories(draws, rule).items():
        rows = groups[name]
        cut, twice = draws.truncated[..., rows, :].any(axis=-2), 2 * draws.n_tokens[..., rows, :].mean(axis=-2)
        twice = np.rint(twice).astype(draws.n_tokens.dtype)
        for what, right, part in (
            (_HALF, (category == 1) | (category == 2), twice // 2),
            (_WHOLE, category == 2, twice - twice // 2),
        ):
            names.append(f"{name}/{what}")
            correct.append(right)
            tokens.append(part)
            truncated.append(cut)
            clusters.append(name)
    arrays = (np.stack(each, axis=-2) for each in (correct, tokens, truncated))
    return DrawMatrix(tuple(names), *arrays, clusters=tuple(clusters))


def _groups(draws: DrawMatrix) -> dict[str, list[int]]:
    """Group -> its rows in the matrix, in the order of their index."""
    if draws.clusters is None:
        raise UserError(f"problems such as {draws.problems[0]} belong to no group; a score of groups needs clusters")
    found: dict[str, list[int]] = {}
    for row, name in enumerate(draws.clusters):
        found.setdefault(name, []).append(row)
    numbers = [int(problem.rsplit("/", 1)[1]) for problem in draws.problems]
    if absent := sorted(set(range(min(numbers), max(numbers) + 1)).difference(numbers)):
        raise UserError(
            f"problems such as number {absent[0]} have no draws ({len(absent)} of {len(numbers) + len(absent)}); of a "
            "group without all its rows nobody knows which is the composed question: draw all of them"
        )
    for name, rows in found.items():
        if len(rows) != (rows_of_group(name) or len(rows)):
            raise UserError(
                f"group {name} has draws of {len(rows)} problems; nobody knows which is its composed question: draw "
                "all of them"
            )
        if len(rows) < 2:
            raise UserError(f"group {name} has {len(rows)} problem; expected steps and a composed question")
        rows.sort(key=numbers.__getitem__)
    return dict(sorted(found.items()))
