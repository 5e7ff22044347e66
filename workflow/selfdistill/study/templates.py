"""Reads texts with named slots, as in `{problem}`, and checks them while a study is planned.

Braces of the text itself are doubled; braces of a value are safe. What the parts of a context are: tasks/contexts.py.
"""

import unicodedata
from collections.abc import Collection, Mapping
from pathlib import Path
from string import Formatter
from typing import Any, NamedTuple

from selfdistill.errors import UserError
from selfdistill.yaml_files import mapping_of

#: Parts that a hint may have, and what each mode of showing it leaves out.
PARTS = ("solution", "answer", "feedback", "critique", "praise", "attempt")
HIDDEN: dict[str, tuple[str, ...]] = {"solution_answer": (), "answer_only": ("solution",), "solution": ("answer",)}
#: The library's own templates, and the parts that each can show.
SHOWN = {"reference": PARTS[:2], "sections": PARTS[:4], "critique": ("feedback", "critique", "praise", "attempt")}
#: Slots of a teacher's message besides those of the parts: the student's message, the bare question.
ASKED = ("prompt", "problem")
_LONGEST = 100_000  # bytes of a file: some ten times the longest prompt that anybody writes by hand


class Template:
    """A text with named slots."""

    def __init__(self, text: str, slots: Collection[str], where: str):
        """Read a text.

        Args:
            text: with slots in braces.
            slots: the names that slots may have.
            where: file and key of the text, for messages.

        Raises:
            UserError: for a slot of another name or with a format, and for a brace that opens or closes none.
        """
        try:
            pieces = list(Formatter().parse(text))
        except ValueError as error:
            raise UserError(f"{where}: {error}; write a brace that is no slot's as {{{{ or }}}}") from None
        known = ", ".join(f"{{{slot}}}" for slot in slots)
        for _, slot, form, conversion in pieces:
            if slot is not None and (slot not in slots or form or conversion):
                raise UserError(
                    f"{where}: unknown slot {{{slot}}}; expected one of {known} (a brace that is no slot's is doubled)"
                    if slot not in slots
                    else f"{where}: slot {{{slot}}} has a format or a conversion, expected its name alone; remove it"
                )
        self._pieces: list[tuple[str, str | None]] = []
        before = ""
        for literal, slot, _, _ in pieces:  # a doubled brace ends a piece of its own
            before += literal
            if slot is not None:
                self._pieces.append((before, slot))
                before = ""
        self._pieces.append((before, None))

    @property
    def slots(self) -> list[str]:
        """Returns the names of the slots, in order, as often as they occur."""
        return [slot for _, slot in self._pieces if slot is not None]

    @property
    def literals(self) -> list[str]:
        """Returns what stands between the slots, in order."""
        return [literal for literal, _ in self._pieces if literal]

    @property
    def pieces(self) -> list[tuple[str, str | None]]:
        """Returns the whole text: what stands before each slot, and the slot; None behind the last."""
        return list(self._pieces)

    def fill(self, **values: str) -> str:
        """Return the text with its slots filled; each must have a value."""
        return "".join(literal + (values[slot] if slot is not None else "") for literal, slot in self._pieces)


class Wording(NamedTuple):
    """The words around a hint: a message, and a section for each part that it can show."""

    body: Template
    sections: dict[str, Template]


def wording(body: str, sections: Mapping[str, str], where: str) -> Wording:
    """Return the checked texts of a teacher's message.

    Args:
        body: of the user's message, with slots {prompt} (the student's message) or {problem} (the bare question), and
            one for each section.
        sections: part -> its section, in which the slot of that name stands for the text.
        where: the file, for messages.

    Raises:
        UserError: for unknown parts or slots, a section without its text, and one that the body has not just once; for
            a body that has the problem not just once.
    """
    if unknown := [name for name in sections if name not in PARTS]:
        raise UserError(f"{where}: unknown part {unknown[0]!r}; expected body and some of {', '.join(PARTS)}")
    found = Wording(
        Template(body, (*ASKED, *sections), f"{where}: body"),
        {name: Template(text, (name,), f"{where}: {name}") for name, text in sections.items()},
    )
    for name, section in found.sections.items():
        for place, slots in ((name, section.slots), ("body", found.body.slots)):
            _once(slots, name, f"{where}: {place}")
    asked = [f"{{{slot}}}" for slot in found.body.slots if slot in ASKED]
    if not asked:
        raise UserError(f"{where}: body does not ask anything; give it a slot {{prompt}} or {{problem}}")
    if len(asked) > 1:
        raise UserError(f"{where}: body has slots {' and '.join(asked)}, expected the problem once; remove one")
    return found


def read_wording(path: str) -> Wording:
    """Read the words around a hint from a file of one's own.

    YAML (.yaml, .yml): `body`, and a section by the name of each part. Any other file is the message itself, with a
    slot for the problem and for each part, each once. Raises UserError for one that cannot be read or is no template.
    """
    text = read_text(path, "hints.template")
    if path.endswith((".yaml", ".yml")):
        content = mapping_of(text, path, "write body and parts as texts")
        if wrong := [key for key, value in content.items() if not isinstance(value, str)]:
            raise UserError(f"{path}: {wrong[0]}: expected text; write it in quotes or as a block")
        if "body" not in content:
            raise UserError(f"{path}: key 'body' is missing; give the message with its slots")
        return wording(content.pop("body"), content, path)
    slots = Template(text, (*ASKED, *PARTS), path).slots
    for slot in slots:
        if slot not in ASKED:
            _once(slots, slot, path)
    return wording(text, {name: f"{{{name}}}" for name in PARTS if name in slots}, path)


def check_shown(sections: Collection[str], parts: Collection[str], where: str) -> None:
    """Raise UserError unless a template has a place for each of these parts."""
    shows = ", ".join(sections) or "none"
    for part in parts:
        if part not in sections:
            raise UserError(
                f"{where}: has no section for {part}, which the run's teacher is to read (hints.source, .mode, "
                f".feedback, .attempt); add a slot {{{part}}}, or choose another hints.template (this one shows "
                f"{shows})",
                keys=["hints.source"],
            )


def shown_parts(hints: Mapping[str, Any], right: str = "none") -> tuple[str, ...]:
    """Return which parts a teacher's context may have.

    Args:
        hints: settings of that section.
        right: setting `critic.right`.
    """
    of_solution = tuple(name for name in PARTS[:2] if name not in HIDDEN[hints["mode"]])
    of_critic = ("critique", *(("praise",) if right != "none" else ()))
    of_source = {"none": (), "critique": of_critic}.get(hints["source"], of_solution)
    feedback = ("feedback",) if hints.get("feedback", "never") != "never" else ()
    return (*of_source, *feedback, *(("attempt",) if hints.get("attempt") else ()))


def question_text(given: str) -> str:
    """Return the text of a student's message, `chat.template`: what is given, if it holds the slot, else a file's.

    Raises UserError for a file that cannot be read, and for a text whose only slot is not {problem}, once.
    """
    text = given if "{problem}" in given else read_text(given, "chat.template")
    where = "chat.template" if text == given else f"chat.template: {given}"
    _once(Template(text, ("problem",), where).slots, "problem", where)
    return text


def read_text(path: str, where: str) -> str:
    """Return what a file of the user's holds, without the line break at its end.

    Args:
        path: of the file.
        where: the setting that names it, for messages.

    Raises:
        UserError: for a file that cannot be read, is no UTF-8 or has bytes that no prompt should have.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_LONGEST + 1)  # of a device there may be no end
        size = max(len(data), Path(path).stat().st_size)
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        told = getattr(error, "strerror", None) or error
        raise UserError(
            f"{where}: {path or 'an empty name'}: cannot be read ({told}); expected the path of a text file, from the "
            "working directory"
        ) from None
    if size > _LONGEST:
        raise UserError(f"{where}: {path}: has {size:,} bytes, expected at most {_LONGEST:,}; is it a template?")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{where}: {path}: line {line} holds bytes that are no UTF-8; save it as UTF-8") from None
    for place, character in enumerate(text):
        if character == "\ufeff" or (unicodedata.category(character) == "Cc" and character not in "\n\t"):
            line = text.count("\n", 0, place) + 1
            raise UserError(
                f"{where}: {path}: line {line} holds the character U+{ord(character):04X}, expected text with line "
                "feeds alone; save it without a byte order mark and without carriage returns"
            )
    return text.removesuffix("\n")


def _once(slots: Collection[str], name: str, where: str) -> None:
    if (count := list(slots).count(name)) != 1:
        raise UserError(f"{where} has the slot {{{name}}} {count} times, expected once; change it")
