"""Texts with named slots, as in `{problem}`. Braces of the text itself are doubled; braces of a value are safe."""

from collections.abc import Collection
from string import Formatter

from selfdistill.errors import UserError


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
        """Names of the slots, in order, as often as they occur."""
        return [slot for _, slot in self._pieces if slot is not None]

    @property
    def literals(self) -> list[str]:
        """What stands between the slots, in order."""
        return [literal for literal, _ in self._pieces if literal]

    def fill(self, **values: str) -> str:
        """Return the text with its slots filled; each must have a value."""
        return "".join(literal + (values[slot] if slot is not None else "") for literal, slot in self._pieces)
