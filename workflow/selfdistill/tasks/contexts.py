"""What a teacher reads besides the problem: the parts of a context, and the templates that put them into a prompt.

A template is a body and a section for each part that it can show (docs/methods.md, Contexts). A part that there is
none of leaves its section out; without any part the prompt stays what the student reads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

from selfdistill.errors import UserError
from selfdistill.study.run_settings import HINT_MODES
from selfdistill.tasks.templates import Template
from selfdistill.yaml_files import mapping_of

#: By mode: what is left out of a hint.
_HIDDEN: dict[str, tuple[str, ...]] = {"solution_answer": (), "answer_only": ("solution",), "solution": ("answer",)}


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
        critique: what a reviewer says of it.
    """

    solution: str | None = None
    answer: str | None = None
    feedback: str | None = None
    critique: str | None = None

    @property
    def parts(self) -> dict[str, str]:
        """The parts that there are, by name, in the order of PARTS."""
        found = {name: getattr(self, name) for name in PARTS}
        return {name: text for name, text in found.items() if text is not None}

    def shown(self, mode: str) -> "Hint":
        """Return what a mode of HINT_MODES shows of it. Raises ValueError for another one."""
        if mode not in HINT_MODES:
            raise ValueError(f"hint mode {mode!r} is not one of {', '.join(HINT_MODES)}")
        return replace(self, **dict.fromkeys(_HIDDEN[mode]))


PARTS = tuple(field.name for field in fields(Hint))
#: Slots of a body besides those of the parts: the student's message, the bare question.
_ASKED = ("prompt", "problem")


class ContextTemplate:
    """The words around the parts of a context."""

    def __init__(self, body: str, sections: Mapping[str, str], where: str = "template"):
        """Read the texts of a template.

        Args:
            body: of the user's message, with slots {prompt} (the student's message) or {problem} (the bare question),
                and one for each section.
            sections: part -> its section, in which the slot of that name stands for the text.
            where: the file, for messages.

        Raises:
            UserError: for unknown parts or slots, a section without its text, and one that the body has not just once.
        """
        if unknown := [name for name in sections if name not in PARTS]:
            raise UserError(f"{where}: unknown part {unknown[0]!r}; expected body and some of {', '.join(PARTS)}")
        self._where = where
        self._body = Template(body, (*_ASKED, *sections), f"{where}: body")
        self._sections = {name: Template(text, (name,), f"{where}: {name}") for name, text in sections.items()}
        for name, section in self._sections.items():
            for place, slots in ((name, section.slots), ("body", self._body.slots)):
                if slots.count(name) != 1:
                    raise UserError(
                        f"{where}: {place} has the slot {{{name}}} {slots.count(name)} times, expected once; change it"
                    )
        if not set(_ASKED) & set(self._body.slots):
            raise UserError(f"{where}: body does not ask anything; give it a slot {{prompt}} or {{problem}}")

    @property
    def phrases(self) -> list[str]:
        """The template's own lines, each once, for a vocabulary that is to have them whole."""
        texts = [literal for each in (self._body, *self._sections.values()) for literal in each.literals]
        return list(dict.fromkeys(line for text in texts for line in text.split("\n") if line.strip()))

    def check(self, part: str) -> None:
        """Raise UserError unless the template can show a part."""
        if part not in self._sections:
            raise UserError(
                f"{self._where}: has no section for {part}, which the run's teacher is to read; add one, or choose "
                f"another hints.template (this one shows {', '.join(self._sections)})"
            )

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
            for name, section in self._sections.items()
        }
        return self._body.fill(prompt=prompt, problem=problem.rstrip(), **sections)

    def messages(self, messages: Sequence[Message], problem: str, hint: Hint) -> list[Message]:
        """Return a teacher's chat: the student's, system message and earlier turns included, with another last message.

        Args:
            messages: what the student reads.
            problem: the bare question.
            hint: the parts to be shown.
        """
        *earlier, last = messages
        return [*earlier, Message("user", self.prompt(last.content, problem, hint))]


def read_template(path: str) -> ContextTemplate:
    """Read a template of the user's own: YAML with `body`, and a section by the name of each part that it shows.

    Raises UserError for a file that cannot be read or is no template.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"hints.template: {path}: cannot be read ({error}); expected YAML with body and parts"
        ) from None
    content = mapping_of(text, path, "write body and parts as texts")
    if wrong := [key for key, value in content.items() if not isinstance(value, str)]:
        raise UserError(f"{path}: {wrong[0]}: expected text; write it in quotes or as a block")
    if "body" not in content:
        raise UserError(f"{path}: key 'body' is missing; give the message with its slots")
    return ContextTemplate(content.pop("body"), content, path)


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
