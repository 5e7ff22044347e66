"""Words what results show and what they do not, the same on every page about them."""

from collections.abc import Sequence
from typing import Any

from selfdistill.reporting.read.runs import RunFiles
from selfdistill.reporting.render.texts import SHOWN_AS_THEY_ARE


def limits(runs: Sequence[RunFiles], *, demonstration: bool) -> dict[str, Any]:
    """Returns the values of templates/limits.html: demonstration, as_they_are (methods), fewest_seeds, most_seeds."""
    seeds: dict[tuple[str, str, str], set[int]] = {}
    for run in runs:
        seeds.setdefault((run.task, run.model, run.variant), set()).add(run.seed)
    methods = {run.method for run in runs}
    return {
        "demonstration": demonstration,
        "as_they_are": [method for method in SHOWN_AS_THEY_ARE if method in methods],
        "fewest_seeds": min(map(len, seeds.values())),
        "most_seeds": max(map(len, seeds.values())),
    }
