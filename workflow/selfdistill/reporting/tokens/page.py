"""Writes the token view: recorded rollouts whose tokens are coloured by what teacher and method made of them.

All numbers are in the page, in half precision; the page draws one rollout at a time. Of each run it has rollouts of the
newest and of the oldest recorded step, as many as ROLLOUTS; what the page's size does not hold is left out, and the
page names the runs of which it holds only a part, or nothing.
"""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from selfdistill.reporting.read.runs import RunFiles, check_unique
from selfdistill.reporting.render.html import render
from selfdistill.reporting.tokens.packing import Packed, as_json, pack
from selfdistill.runs.records import read_records

#: Rollouts of a run, at most: half of them of its newest recorded step, half of its oldest.
ROLLOUTS = 8
#: Bytes of a page's rollouts, at most.
LIMIT = 4_000_000
#: A colour scale ends here at least.
_LEAST_SCALE = 2e-3


def token_page(runs: Sequence[RunFiles], task: str, *, limit: int = LIMIT) -> str:
    """Return the page of one task's runs, those without a recorded rollout left out.

    Every run has a first rollout before any has a second one, a method's own runs and low seeds before others; one for
    which there is no room gives way to shorter ones.

    Args:
        runs: with their records.
        task: whose page it is.
        limit: bytes of all rollouts' data.

    Raises:
        UserError: a run listed twice, records that cannot be read.
    """
    check_unique(runs)
    recorded = [run for run in runs if run.task == task and run.records is not None]
    # One file after another: all records of a study take gigabytes.
    samples = {run.name: _sample(run) for run in recorded}
    recorded = [run for run in recorded if samples[run.name][0]]
    kept: dict[str, list[tuple[int, Packed]]] = {run.name: [] for run in recorded}
    order = sorted(recorded, key=lambda run: (run.variant != run.method, run.seed))
    room = limit
    for turn in range(ROLLOUTS):
        for run in order:
            _, rollouts = samples[run.name]
            if turn < len(rollouts) and (size := len(rollouts[turn][1].text.encode())) <= room:
                kept[run.name].append(rollouts[turn])
                room -= size
    shown = [rollout for run in recorded for _, rollout in sorted(kept[run.name], key=lambda each: each[0])]
    counts = [(_label(run), len(kept[run.name]), samples[run.name][0]) for run in recorded]
    return render(
        "tokens.html",
        title=f"Token view: {task}",
        shown=len(shown),
        left_out=sum(count for *_, count in counts) - len(shown),
        absent=[name for name, here, _ in counts if not here],
        parts=[(name, here, count) for name, here, count in counts if 0 < here < count],
        most=ROLLOUTS,
        megabytes=f"{limit / 1e6:g}",
        data=Markup(f'{{"scales":{as_json(_scales(shown))},"rollouts":[{",".join(each.text for each in shown)}]}}'),
    )


def _label(run: RunFiles) -> str:
    return f"{run.model}, {run.variant}, seed {run.seed}"


def _sample(run: RunFiles) -> tuple[int, list[tuple[int, Packed]]]:
    """Counts a run's recorded rollouts, and picks some of the newest and of the oldest step, with their numbers."""
    steps = np.asarray(read_records(run.records, ("step",))["step"])
    if not len(steps):
        return 0, []
    ends = [np.flatnonzero(steps == step)[: ROLLOUTS // 2].tolist() for step in {steps.max(): 0, steps.min(): 0}]
    numbers = [numbers[turn] for turn in range(ROLLOUTS // 2) for numbers in ends if turn < len(numbers)]
    rows = read_records(run.records).take(numbers).to_pylist()
    return len(steps), [(number, pack(row, _label(run))) for number, row in zip(numbers, rows, strict=True)]


def _scales(rollouts: Sequence[Packed]) -> dict[str, float]:
    """Says where each kind of colour scale ends: a size that one token in a hundred exceeds, over all rollouts shown.

    One scale for all gaps, so that colours of the one-sided and the contrastive signal can be compared.
    """
    kinds = ("nats", "advantage", "divergence")
    return {kind: _end_of_scale([each.sizes[kind] for each in rollouts if kind in each.sizes]) for kind in kinds}


def _end_of_scale(values: Sequence[np.ndarray]) -> float:
    sizes = np.abs(np.concatenate([*values, []]))
    sizes = sizes[np.isfinite(sizes)]
    end = float(np.quantile(sizes, 0.99)) if len(sizes) else 0.0
    return max(round(end, 3), _LEAST_SCALE)
