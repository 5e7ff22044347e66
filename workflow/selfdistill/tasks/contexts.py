"""Builds what a teacher reads besides the problem: a context's parts, and the templates that hold them.

A template is a body and a section for each part that it can show (docs/methods.md, Contexts). A part that there is
none of leaves its section out; without any part the prompt stays what the student reads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from selfdistill.study.teacher_settings import HINT_MODES
from selfdistill.study.templates import HIDDEN, PARTS, check_shown, read_wording, wording


class Message(NamedTuple):
    """One turn of a chat: its role (system, user or assistant) and its text."""

    role: str
    content: str


@dataclass(frozen=True)
class Hint:
    """Privileged text of a teacher, part by part; None where there is no such part.

    Attributes:
        solution: a worked solution: the dataset's, or a response to the same problem; right or wrong.
        answer: the final answer, right or wrong.
        feedback: what the environment said of the rollout that is scored.
        critique: what a reviewer says of it, a wrong one.
        praise: what a reviewer says of it, a right one.
        attempt: the rollout itself, as text.
    """

    solution: str | None = None
    answer: str | None = None
    feedback: str | None = None
    critique: str | None = None
    praise: str | None = None
    attempt: str | None = None

    @property
    def parts(self) -> dict[str, str]:
        """Returns the parts that there are, by name, in the order of PARTS."""
        found = {name: getattr(self, name) for name in PARTS}
        return {name: text for name, text in found.items() if text is not None}

    def shown(self, mode: str) -> "Hint":
        """Return what a mode of HINT_MODES shows of it. Raises ValueError for another one."""
        if mode not in HINT_MODES:
            raise ValueError(f"hint mode {mode!r} is not one of {', '.join(HINT_MODES)}")
        return replace(self, **dict.fromkeys(HIDDEN[mode]))


class ContextTemplate:
    """The words around the parts of a context."""

    def __init__(self, body: str, sections: Mapping[str, str], where: str = "template"):
        """Takes what `study.templates.wording` takes, which checks the texts, and raises UserError as it does."""
        self._where, self._wording = where, wording(body, sections, where)

    @classmethod
    def read(cls, path: str) -> "ContextTemplate":
        """Read a template of one's own. Raises UserError as `study.templates.read_wording`."""
        made = cls.__new__(cls)
        made._where, made._wording = path, read_wording(path)
        return made

    @property
    def literals(self) -> list[str]:
        """Returns the template's own words, between its slots."""
        body, sections = self._wording
        return [literal for each in (body, *sections.values()) for literal in each.literals]

    @property
    def phrases(self) -> list[str]:
        """Returns the template's own lines, each once, for a vocabulary that is to have them whole."""
        return list(dict.fromkeys(line for text in self.literals for line in text.split("\n") if line.strip()))

    def check(self, part: str) -> None:
        """Raise UserError unless the template can show a part."""
        check_shown(self._wording.sections, (part,), self._where)

    def prompt(self, prompt: str, problem: str, hint: Hint) -> str:
        """Return the user's message of a teacher.

        Args:
            prompt: what the student reads, which is returned as it is where the hint has no part.
            problem: the bare question.
            hint: the parts to be shown.

        Raises:
            UserError: for a part that the template has no section for.
        """
        if not (parts := hint.parts):
            return prompt
        for part in parts:
            self.check(part)
        sections = {
            name: section.fill(**{name: parts[name]}) if name in parts else ""
            for name, section in self._wording.sections.items()
        }
        return self._wording.body.fill(prompt=prompt, problem=problem.rstrip(), **sections)

    def messages(self, messages: Sequence[Message], problem: str, hint: Hint) -> list[Message]:
        """Return a teacher's chat: the student's, system message and earlier turns included, with another last message.

        Args:
            messages: what the student reads.
            problem: the bare question.
            hint: the parts to be shown.
        """
        *earlier, last = messages
        return [*earlier, Message("user", self.prompt(last.content, problem, hint))]


#: Sections under headings behind the student's own message, as SDPO has them (arXiv 2601.20802); the words are ours.
SECTIONS = ContextTemplate(
    "{prompt}{solution}{answer}{feedback}{critique}\n\nNow solve the original question correctly.",
    {
        "solution": "\nA correct solution:\n\n{solution}",
        "answer": "\nThe correct final answer:\n\n{answer}",
        "feedback": "\nFeedback on your earlier attempt, which failed:\n\n{feedback}",
        "critique": "\nA reviewer's remarks on your earlier attempt, which failed:\n\n{critique}",
    },
    "template sections",
)

_REVIEW = "\n\nA reviewer read an earlier attempt at this problem and found its answer "
#: A review of the rollout that is scored, behind the student's own message (docs/departures.md, TC-RLSD); ours.
CRITIQUE = ContextTemplate(
    "{prompt}{attempt}{feedback}{critique}{praise}\n\nNow solve the problem again.",
    {
        "attempt": "\n\nAn earlier attempt at this problem:\n=== Attempt begins ===\n{attempt}\n=== Attempt ends ===",
        "feedback": "\n\nFeedback on your earlier attempt, which failed:\n{feedback}",
        "critique": _REVIEW + "wrong.\n=== Review begins ===\n{critique}\n=== Review ends ===",
        "praise": _REVIEW + "right.\n=== Review begins ===\n{praise}\n=== Review ends ===",
    },
    "template critique",
)
