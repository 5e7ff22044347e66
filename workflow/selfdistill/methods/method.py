"""Declares what a method's class says besides its loss, as attributes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from selfdistill.methods.setting import Settings, setting

#: A dash pattern of matplotlib: "solid", or an offset and (on, off, ...) in multiples of the line width.
Line = str | tuple[int, tuple[float, ...]]
DASHES: tuple[Line, ...] = ("solid", (0, (5, 1.5)), (0, (3, 1.2, 1, 1.2)), (0, (1, 1)))
HATCHES = ("", "////", "....", "xxxx")


@dataclass(frozen=True)
class Look:
    """Says how a method is drawn: colour (hex), line style, and hatch of its bars."""

    colour: str
    line: Line = "solid"
    hatch: str = ""


@dataclass(frozen=True)
class MethodSettings(Settings):
    """Base of the settings of a method: the keys of `objective`. A class with its defaults is the published method.

    Attributes:
        description: one line for readers of a report.
        published: what else was published with it: changes to the defaults of a run, by section.
        papers: arXiv ids, with section and equations where they are known.
        look: how it is drawn; None is the look of methods that have none.
        reads_evidence: whether its loss reads a hinted teacher's log-probs of the sampled tokens and nothing else of
            it, which is what `controls` can change.
        costs_like: the method whose published seconds a step stand for its own; "" is itself.
    """

    at: ClassVar[tuple[str, ...]] = ("objective",)
    description: ClassVar[str] = ""
    published: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    papers: ClassVar[tuple[str, ...]] = ()
    look: ClassVar[Look | None] = None
    reads_evidence: ClassVar[bool] = False
    costs_like: ClassVar[str] = ""

    @property
    def compares_rollouts(self) -> bool:
        """Returns whether the loss of a rollout depends on the others of its group; if not, a group may have one."""
        return True

    @classmethod
    def origin(cls) -> str:
        """Return the first words of a message about these settings."""
        return f"method {cls.__name__}"


@dataclass(frozen=True)
class ClippedPolicySettings(MethodSettings):
    """Settings of a policy gradient with a clipped ratio, whole or as a part of a loss (grpo's surrogate)."""

    epsilon_low: float = setting(0.2, "Clip of the policy ratio below 1.", above=0, maximum=1)
    epsilon_high: float = setting(0.2, "Clip of the policy ratio above 1.", above=0)
    dual_clip: float = setting(3.0, "Bound of the ratio where the advantage is negative.", above=1)
