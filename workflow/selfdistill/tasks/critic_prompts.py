"""Words what a critic is asked: to read a graded rollout, and to say what is wrong with it.

It is told the verdict, and that the checker reads the last box by its pattern. It is not invited to judge again: a
critic that is (`hedge`) excuses real errors as faults of the format (docs/departures.md, TC-RLSD).
"""

import re

from selfdistill.study.critique_modes import PROMPT_SLOTS, WRITTEN, read_prompt
from selfdistill.study.templates import Template
from selfdistill.tasks.schema import Problem

_OPENING = """You review a student's solution to a problem.

Problem:
{problem}

The student's solution:
=== Solution begins ===
{response}
=== Solution ends ===

Its final answer was checked and is {verdict}.
The checker reads the last \\boxed{{}} by its pattern alone."""
_HEDGE = "If the answer is right and only its format is to blame, say so."
_GOLD = """

A correct solution, which the student must not see:
{solution}
Its final answer:
{answer}"""
_TASKS = {
    "critique": """
Say which steps are right. Name the first wrong step, and why it is wrong. Hint at how to repair it.
Do not state the final answer.""",
    "step_aligned": """
Repeat the right steps word for word, up to the first wrong one. Write that one as it should be, and stop.
Do not quote the wrong step. Do not state the final answer.""",
    "critique_gold": """
Say which steps are right. Name the first wrong step, and why it is wrong. Hint at how to repair it.
Do not copy the correct solution. Do not state the final answer.""",
}
_RIGHT = """
Say which steps carry the solution. Do not state the final answer."""
_CLOSING = """Write at most {words} words.
End with the line "Verdict: right" or "Verdict: wrong"."""
#: The line that a critique is to end with.
VERDICTS = ("Verdict: right", "Verdict: wrong")
_LINE = re.compile(
    r"[^\w\n]*+(?:\d{1,2}[.)][^\w\n]*+)?(?:(?:my|the|final|overall|closing|own)\s++)*verdict\b([^\n]*)", re.IGNORECASE
)
#: A label whose word stands on a later line.
_BROKEN = re.compile(r"(\bverdict[^\w\n]*+)\n\s*+(?=\W{0,9}(?:right|wrong|correct|incorrect)\b)", re.IGNORECASE)
_RULED_OFF = re.compile(r"[-=*_#\s]*")
_SAYS = {"right": "right", "correct": "right", "wrong": "wrong", "incorrect": "wrong"}
#: What turns the word behind it round, and what leaves open what is meant.
_NOT = ("not", "isn", "aren", "doesn", "never", "neither", "nor")
_VAGUE = ("partially", "partly", "mostly", "almost", "nearly", "largely", "half", "or", "unclear", "if", "but")
#: Words of a verdict at most: more are a sentence that begins with it.
_LONGEST_VERDICT = 12
_WORDS_PER_TOKEN = 0.6


class CriticPrompt:
    """The user's message of a critic."""

    def __init__(self, mode: str, *, hedge: bool = False, path: str | None = None):
        """Take the words for a mode.

        Args:
            mode: one of WRITTEN.
            hedge: whether the critic is told that the format may be to blame (the lenient-bias test).
            path: a text file of one's own in place of the library's words.

        Raises:
            UserError: as `study.critique_modes.read_prompt`.
        """
        self._right = None
        #: Of a text of one's own its pieces in order, which its lines alone (`phrases`) do not tell; else nothing.
        self.own: list[object] = []
        if path is not None:
            self._text = read_prompt(path, mode)
            self.own = [self._text.pieces]
            return
        told = _OPENING + (f"\n{_HEDGE}" if hedge else "") + (_GOLD if mode == "critique_gold" else "")
        self._text = Template(f"{told}\n{_TASKS[mode]}\n{_CLOSING}", PROMPT_SLOTS, "critic's prompt")
        self._right = Template(f"{told}\n{_RIGHT}\n{_CLOSING}", PROMPT_SLOTS, "critic's prompt")

    @property
    def phrases(self) -> list[str]:
        """Returns the prompt's own lines, each once, for a vocabulary that is to have them whole."""
        texts = [*self._text.literals, *(self._right.literals if self._right else ())]
        return list(dict.fromkeys(line for text in texts for line in text.split("\n") if line.strip()))

    def message(self, problem: Problem, response: str, *, right: bool, max_tokens: int) -> str:
        """Return the message for a rollout.

        Args:
            problem: what was asked.
            response: the rollout's text.
            right: the grader's verdict.
            max_tokens: the most that the critic may write, of which it is told in words.
        """
        text = self._right if right and self._right is not None else self._text
        return text.fill(
            problem=problem.problem.rstrip(),
            response=response.strip("\n"),
            verdict="right" if right else "wrong",
            words=str(max(int(max_tokens * _WORDS_PER_TOKEN), 1)),
            solution=problem.solution or "(none)",
            answer=problem.answer,
        )


def without_verdict(text: str) -> tuple[str, str]:
    """Return a critique without its verdict lines, and the verdict: "right", "wrong", or "" where there is none.

    A verdict line begins with the word, whatever stands round it ("**Final verdict:** the answer is not right."), and
    says one of the two in a few words. The last such line counts.
    """
    kept: list[str] = []
    verdict = ""
    for line in _BROKEN.sub(r"\1 ", text).split("\n"):
        found = _LINE.match(line)
        if said := _verdict(found[1]) if found else "":
            verdict = said
            while kept and _RULED_OFF.fullmatch(kept[-1]):
                kept.pop()
        else:
            kept.append(line)
    return "\n".join(kept).strip(), verdict


def _verdict(words: str) -> str:
    """What a few words behind "verdict" say; "" where they say nothing, both, or neither quite."""
    told = re.findall(r"[^\W\d_]+", words.casefold())
    if len(told) > _LONGEST_VERDICT or any(word in _VAGUE for word in told):
        return ""
    said, turned = set(), False
    for word in told:
        turned = turned or word in _NOT
        if word in _SAYS:
            meant = _SAYS[word]
            said.add({"right": "wrong", "wrong": "right"}[meant] if turned else meant)
            turned = False
    return said.pop() if len(said) == 1 else ""


_PROMPTS = [CriticPrompt(mode, hedge=hedge) for mode in WRITTEN for hedge in (False, True)]
#: What a word-level tokenizer should keep whole, so that a toy can be a critic.
PHRASES = [*dict.fromkeys(phrase for prompt in _PROMPTS for phrase in prompt.phrases), *VERDICTS, "right", "wrong"]
