"""Lists the places in the configuration that may hold settings of a run, in their order."""

from collections.abc import Mapping
from dataclasses import dataclass

from selfdistill.schemas import KeyPath


@dataclass(frozen=True)
class Layer:
    """A place in the configuration that may hold settings of a run.

    Attributes:
        at: keys that lead to it; names in braces are those of the run.
        names_preset: whether its `preset` is read. A preset cannot choose itself, and a method's published values are
            the same in both.
    """

    at: tuple[str, ...]
    names_preset: bool = True

    def path(self, names: Mapping[str, str]) -> KeyPath:
        """Return the keys that lead to the layer of one run."""
        return tuple(key.format(**names) for key in self.at)


#: Weakest first. What a preset says of all runs gives way to published values; what it says of one loss is about that
#: loss, and wins over them.
LAYERS = (
    Layer(("defaults",)),
    Layer(("presets", "{preset}", "all"), names_preset=False),
    Layer(("methods", "{method}"), names_preset=False),
    Layer(("presets", "{preset}", "implementations", "{implementation}"), names_preset=False),
    Layer(("tasks", "{task}", "run")),
    Layer(("models", "{model}", "run")),
    Layer(("overrides", "all")),
    Layer(("overrides", "tasks", "{task}")),
    Layer(("overrides", "methods", "{method}")),
    Layer(("variants", "{variant}", "set")),
)

#: Those that are about neither a method nor a preset nor a variant.
OF_ANY_METHOD = tuple(
    layer for layer in LAYERS if not {"{preset}", "{method}", "{implementation}", "{variant}"} & set(layer.at)
)
