"""The token view: a page of recorded rollouts whose tokens are coloured by what teacher and method made of them.

All numbers are in the page, in half precision; the page draws one rollout at a time. What the page's size does not hold
is left out, after `token_choice`: methods and models have their turns first, then variants and seeds. The page names
the runs of which it holds only a part, or nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup

from selfdistill.reporting.read.runs import RunFiles, check_unique
from selfdistill.reporting.render.html import render
from selfdistill.reporting.tokens.choice import Candidate, choose
from selfdistill.reporting.tokens.packing import Packed, as_json, json_bytes, pack
from selfdistill.runs.records import read_records

#: Bytes of a page's rollouts, at most.
LIMIT = 4_000_000
#: A colour scale ends here at least.
_LEAST_SCALE = 2e-3


def token_page(runs: Sequence[RunFiles], task: str, sizes: Mapping[str, pd.DataFrame], *, limit: int = LIMIT) -> str:
    """The page of one task's runs, those without a recorded rollout left out.

    sizes: name of a run -> `token_packing.rollout_sizes` of its records, for each run that has some, so that only the
    records of those that have room are read; limit: bytes of all rollouts' data. Raises UserError for records that
    cannot be read.
    """
    check_unique(runs)
    recorded = [run for run in runs if run.task == task and run.name in sizes]
    candidates = [candidate for run in recorded for candidate in _candidates(run, sizes[run.name])]
    chosen: dict[str, list[int]] = {}
    for candidate in choose(candidates, limit):
        chosen.setdefault(candidate.run.name, []).append(candidate.number)
    # One file after another: all records of a study take gigabytes.
    rollouts = [each for run in recorded if run.name in chosen for each in _rollouts(run, sorted(chosen[run.name]))]
    counts = Counter(_label(candidate.run) for candidate in candidates)
    here = {_label(run): len(chosen.get(run.name, [])) for run in recorded}
    packed = ",".join(each.text for each in rollouts)
    return render(
        "tokens.html",
        title=f"Token view: {task}",
        shown=len(rollouts),
        left_out=len(candidates) - len(rollouts),
        absent=[name for name in counts if not here[name]],
        parts=[(name, here[name], count) for name, count in counts.items() if 0 < here[name] < count],
        megabytes=f"{limit / 1e6:g}",
        data=Markup(f'{{"scales":{as_json(_scales(rollouts))},"rollouts":[{packed}]}}'),
    )


def _label(run: RunFiles) -> str:
    return f"{run.model}, {run.variant}, seed {run.seed}"


def _candidates(run: RunFiles, rollouts: pd.DataFrame) -> list[Candidate]:
    """A run's rollouts, those first that show most of it: one of every step, then a second one of each."""
    label = json_bytes(_label(run))
    places: Counter[int] = Counter()
    found = []
    for number, (step, size) in enumerate(zip(rollouts["step"].tolist(), rollouts["bytes"].tolist(), strict=True)):
        found.append((places[step], step, Candidate(run, number, size + label)))
        places[step] += 1
    return [candidate for *_, candidate in sorted(found, key=lambda each: each[:2])]


def _rollouts(run: RunFiles, numbers: Sequence[int]) -> list[Packed]:
    table = read_records(run.records).take(numbers)
    return [pack(row, _label(run)) for row in table.to_pylist()]


def _scales(rollouts: Sequence[Packed]) -> dict[str, float]:
    """Where each kind of colour scale ends: a size that one token in a hundred exceeds, over all rollouts shown.

    One scale for all gaps, so that colours of the one-sided and the contrastive signal can be compared.
    """
    kinds = ("nats", "advantage", "divergence")
    return {kind: _end_of_scale([each.sizes[kind] for each in rollouts if kind in each.sizes]) for kind in kinds}


def _end_of_scale(values: Sequence[np.ndarray]) -> float:
    sizes = np.abs(np.concatenate([*values, []]))
    sizes = sizes[np.isfinite(sizes)]
    end = float(np.quantile(sizes, 0.99)) if len(sizes) else 0.0
    return max(round(end, 3), _LEAST_SCALE)
