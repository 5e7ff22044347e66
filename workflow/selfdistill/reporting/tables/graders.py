"""Computes graders.csv: the deciding grader and a task's second grader on the same draws."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from selfdistill.evaluation.draws import read_second
from selfdistill.reporting.read.runs import RunFiles
from selfdistill.reporting.render.cells import number_cell
from selfdistill.reporting.render.table import Row, View

_SHARES = {
    "accuracy": "Accuracy",
    "second_accuracy": "By the second grader",
    "first_alone": "Right by the first alone",
    "second_alone": "Right by the second alone",
}
COLUMNS = ["task", "model", "variant", "benchmark", "grader", "second_grader", "n_seeds", "draws", *_SHARES]


def graders_table(runs: Sequence[RunFiles], graders: Mapping[str, tuple[str, str]]) -> pd.DataFrame:
    """A row for each task, model, variant and benchmark whose draws have a second verdict; percent of
    the draws that have both.

    Args:
        runs: with their draws.
        graders: task -> its grader and its second one, of tasks that have one.

    Raises:
        UserError: for draws that cannot be read.
    """
    cells: dict[tuple[str, str, str, str], list[tuple[np.ndarray, np.ndarray]]] = {}
    for run in runs:
        for benchmark, path in run.draws.items() if run.task in graders else ():
            if (verdicts := read_second(path)) is not None:
                cells.setdefault((run.task, run.model, run.variant, benchmark), []).append(verdicts)
    rows = []
    for (task, model, variant, benchmark), seeds in cells.items():
        first, second = (np.concatenate(each) for each in zip(*seeds, strict=True))
        shares = (first, second, first & ~second, second & ~first)
        rows.append(
            [task, model, variant, benchmark, *graders[task], len(seeds), len(first)]
            + [100 * float(share.mean()) for share in shares]
        )
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(_SHARES, float))


def graders_views(table: pd.DataFrame) -> list[View]:
    """Return a view for each task, model and benchmark."""
    views = []
    for (task, model, benchmark), rows in table.groupby(["task", "model", "benchmark"], sort=False):
        named = rows.iloc[0]
        place = f"{task}, {model}" if benchmark == task else f"{task}, {model}: {benchmark}"
        title = f"{place}: {named['grader']} and {named['second_grader']}"
        lines = [
            Row(each["variant"], [number_cell(each[name], ".1f") for name in _SHARES], note=f"{each['draws']:,} draws")
            for each in rows.to_dict("records")
        ]
        views.append(View(title, "Variant", list(_SHARES.values()), lines))
    return views
