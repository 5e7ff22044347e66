"""Checks a critic's answer: its closing verdict, an answer that it should not reveal, an empty text."""

import re

from selfdistill.critics.request import Critique, Request
from selfdistill.tasks.boxed import last_boxed
from selfdistill.tasks.critic_prompts import without_verdict
from selfdistill.tasks.maths_text import cleaned, decided
from selfdistill.tasks.thinking import without_thinking

#: A letter that answers: behind such a word, or in brackets. "A step is wrong" gives no answer.
_LETTER = (
    r"(?:(?i:\b(?:option|choice|answer|answer is|answer to be|pick|choose|select|is))[\s:*\"'(]{{1,4}}|\(){0}(?!\w)"
)
_THOUSANDS = re.compile(r"(?<=\d)(?:,|\{,\}|\\,)(?=\d{3})")
_FRACTION = re.compile(r"\\[dt]?frac\{(\w{1,20})\}\{(\w{1,20})\}")
_ROUND_SIGNS = re.compile(r"(?<!\s)\s++([-+*/=^])\s++|([,(])\s++|(?<!\s)\s++(\))")


def written(
    request: Request, answer: str, *, tokens: int, seconds: float, truncated: bool, shown_gold: bool
) -> Critique:
    """Return a critic's answer as a critique, with the reason that it counts under.

    Args:
        request: what was asked.
        answer: the critic's whole text; what it thought before it answered is taken out.
        tokens: that it wrote.
        seconds: that it took.
        truncated: whether it was cut at its limit of tokens.
        shown_gold: whether the critic was shown the dataset's solution: its text may then hold the answer.
    """
    text, verdict = without_verdict(without_thinking(answer, "remove"))
    facts = {"tokens": tokens, "seconds": seconds, "verdict": verdict, "truncated": truncated}
    if not any(c.isprintable() and not c.isspace() for c in text):
        if judges_right(bare := Critique(reason="judged_right", **facts), request):
            return bare  # it was asked what is wrong, and says: nothing
        return Critique(reason="empty", detail="the critic's answer holds no critique", **facts)
    leak = not shown_gold and not request.correct and holds_answer(text, request)
    critique = Critique(text, leak=leak, **facts)
    if truncated:
        reason = "truncated"
    elif judges_right(critique, request):
        reason = "judged_right"
    else:
        reason = "leak" if leak else "ok"
    return Critique(text, reason, leak=leak, **facts)


def judges_right(critique: Critique, request: Request) -> bool:
    """Returns whether a critic calls a wrong answer right."""
    return critique.verdict == "right" and not request.correct


def holds_answer(text: str, request: Request) -> bool:
    r"""Returns whether it tells the right answer: in its last box, or as a word that neither problem nor response has.

    A short answer ("7") stands in many a working, so this counts too much rather than too little. Letters of options
    count where they are named as one.
    """
    gold = _plain(request.problem.answer)
    if not gold:
        return False
    boxed = last_boxed(text)
    if boxed is not None and (_plain(boxed) == gold or decided(cleaned(boxed), cleaned(gold))):
        return True
    if len(gold) == 1 and gold.isalpha():
        return re.search(_LETTER.format(gold), text) is not None and not re.search(
            _LETTER.format(gold), request.response
        )
    word = re.compile(rf"(?<![\w.]){re.escape(gold.casefold())}(?!\w|\.\d)")
    known = request.problem.problem, request.response
    return _has(word, text) and not any(_has(word, each) for each in known)


def _has(word: re.Pattern[str], text: str) -> bool:
    return word.search(_plain(text).casefold()) is not None


def _plain(text: str) -> str:
    """Text without dollar signs, thousands' commas, spaces round signs and more than one in a row; fractions as a/b."""
    text = _THOUSANDS.sub("", _FRACTION.sub(r"\1/\2", text.replace("$", "")))
    return " ".join(_ROUND_SIGNS.sub(r"\1\2\3", text).split())
