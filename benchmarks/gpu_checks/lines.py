"""What a section says: one number a line, with its goal."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Line:
    """One number.

    Attributes:
        what: was measured, in words.
        found: the number; None where it could not be had, which `note` explains.
        unit: of it.
        at_most: the goal; None without one.
        note: what else there is to say.
        details: further numbers, in the JSON alone.
    """

    what: str
    found: float | None
    unit: str = ""
    at_most: float | None = None
    note: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without goal or number. A NaN meets none."""
        return None if self.at_most is None or self.found is None else self.found <= self.at_most

    def as_json(self) -> dict[str, Any]:
        """Return all of it."""
        return {**asdict(self), "met": self.met}
