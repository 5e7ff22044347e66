"""Holds each sentence of docs/findings.md that says what a number is, beside what it rests on.

A sentence is written by hand; a test asks whether it is still on the page, and whether the archive still says so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from from_code.findings import (
    MARGIN,
    PRIMARY,
    RLCSD,
    SECOND,
    SIDE,
    TASK,
    Question,
    answer,
    correct,
    metric_mean,
    selected_shares,
    verdict,
)
from selfdistill.evaluation.comparisons import holm
from selfdistill.evaluation.estimators import Difference
from selfdistill.study.study import Study

NONE = "no difference that matters"


@dataclass(frozen=True)
class Statement:
    """A part of a sentence of the page.

    Attributes:
        words: as they stand on the page.
        holds: whether the archive, or the configuration, says so.
    """

    words: str
    holds: Callable[[], bool]


def points(name: str) -> float:
    """Returns the difference that a question found, in points."""
    return _found(name)[0]


def said(name: str) -> str:
    """Returns the verdict on a question, corrected with those that it was asked with."""
    return _found(name)[1]


def _found(name: str) -> tuple[float, str]:
    questions = _round_of(name)
    differences = [answer(question)[0] for question in questions]
    corrected = holm([each.p_value for each in differences])
    index = [question.name for question in questions].index(name)
    return differences[index].value, verdict(differences[index], float(corrected[index]))


def _round_of(name: str) -> Sequence[Question]:
    """Gives the questions that one was asked with."""
    return next(each for each in (PRIMARY, SIDE, SECOND) if any(question.name == name for question in each))


def _interval(name: str) -> Difference:
    return answer(next(question for question in _round_of(name) if question.name == name))[0]


def _otherwise(variant: str) -> int:
    """How many problems are answered otherwise than by rlcsd of the same seed, at most."""
    return max(int((right != correct()[TASK, RLCSD][seed]).sum()) for seed, right in correct()[TASK, variant].items())


def _end(variant: str) -> float:
    """Share of right answers after the last step, in percent, mean of seeds."""
    return 100 * float(np.mean([each.mean() for each in correct()[TASK, variant].values()]))


def statements(study: Study) -> list[Statement]:
    """Returns the statements; study: that of config/findings.yaml."""
    tau = {name: study.resolve(TASK, "tiny_qwen3", name, 0)["objective"]["tau"] for name in (RLCSD, "rlcsd-v2")}
    selected, results, _ = selected_shares(RLCSD)
    times = metric_mean("rlcsd-other_problems", "signal/selected_share") / metric_mean(RLCSD, "signal/selected_share")
    return [
        Statement(
            "No gain: no difference that matters, and grpo is the one ahead",
            lambda: said("Q1") == NONE and points("Q1") < 0,
        ),
        Statement(
            "a tenth of the tokens are selected, nearly all of them results of steps",
            lambda: abs(selected - 10) < 2 and results > 90,
        ),
        Statement("It costs accuracy, so where the evidence sits matters", lambda: said("Q2") == "higher"),
        Statement(
            "without any (S8: empty hints, which select nothing) a run ends as high as with it",
            lambda: said("S8") == NONE and metric_mean("rlcsd-empty_hints", "signal/selected_share") == 0,
        ),
        Statement(
            "It costs about as much, though it moves evidence",
            lambda: said("Q3") == "higher" and abs(points("Q3") - points("Q2")) < 0.5,
        ),
        Statement(
            "is worth several times what the costliest control takes away (S7), to grpo and to rlcsd",
            lambda: (
                min(points("S12"), points("S13")) > 3 * points("S7")
                and points("S7") == max(points(q.name) for q in (*PRIMARY, *SIDE) if q.name not in ("S12", "S13"))
            ),
        ),
        Statement("both end above the 92 %", lambda: min(_end("grpo-lr_x5"), _end("rlcsd-lr_x5")) > 92),
        Statement("Between the two at that rate the answer is open", lambda: said("Q4") == "open"),
        Statement("Its settings end where those of version 1 do, within the margin", lambda: said("Q5") == NONE),
        Statement("as registered, S3 and N1 too would have been", lambda: said("S3") == said("N1") == "open"),
        Statement(
            "which select four times as many tokens, runs end within the margin of the method",
            lambda: abs(times - 4) < 0.5 and said("S2") == said("S6") == NONE,
        ),
        Statement(
            "What is lost with the permutation\n  (Q2, S4) is the place",
            lambda: said("Q2") == "higher" and said("S4") == "lower",
        ),
        Statement(
            "which is told from 0, and its interval reaches past the margin",
            lambda: said("N2") == "higher" and _interval("N2").high > MARGIN,
        ),
        Statement("it costs nearly\n  what it costs in Q2", lambda: 0.5 < points("N2") / points("Q2") < 1),
        Statement("**Shuffled rewards gain nothing** (S14, S15)", lambda: max(points("S14"), points("S15")) <= 0),
        Statement(
            "(S9 to S11): no difference that matters", lambda: all(said(name) == NONE for name in ("S9", "S10", "S11"))
        ),
        Statement(
            "Version 2's tau is 65 times version 1's, and it selects nearly the same tokens",
            lambda: tau["rlcsd-v2"] / tau[RLCSD] == 65 and selected_shares("rlcsd-v2")[2] > 90,
        ),
        Statement("Of the verdicts after seven, S1 and N2 were open", lambda: said("S1") == said("N2") == "higher"),
        Statement(
            "With one mean, evidence in the wrong place costs nothing against grpo, and nothing against the right",
            lambda: all(said(name) == NONE for name in ("F1", "F2", "F4")),
        ),
        Statement(
            "**Contrast against grpo, with one mean** (F3): no difference that matters", lambda: said("F3") == NONE
        ),
        Statement(
            "**No part of version 2 matters here by itself** (V1 to V7). Means within rollouts (V7) come out lowest",
            lambda: (
                all(said(f"V{n}") == NONE for n in range(1, 8))
                and points("V7") == min(points(f"V{n}") for n in range(1, 8))
            ),
        ),
        Statement("a loss of 1.8 points is within", lambda: round(_interval("V7").low, 1) == -1.8),
        Statement(
            "the trained models answer the same but for\n  one problem of 2,000",
            lambda: (
                max(map(_otherwise, ("rlcsd-initial", "rlcsd-shifts", "rlcsd-population", "rlcsd-live"))) == 1
                and len(correct()[TASK, RLCSD][0]) == 2000
            ),
        ),
    ]
