"""docs/metrics.md: every metric that a trainer logs."""

from from_code.passages import NOTE
from selfdistill.runs.metrics import METRICS

GROUPS = {
    "Rollouts and validation": ("reward/", "response/", "rollout/", "val/"),
    "Updates": ("actor/",),
    "Hints": ("hints/",),
    "Critiques": ("critique/",),
    "Teacher and signal": ("teacher/", "signal/"),
    "Guards": ("guard/",),
    "Cost": ("tokens/", "timing_s/", "memory/"),
}


def metrics_page() -> str:
    """Returns docs/metrics.md: every name that a trainer logs, by group."""
    lines = [
        "# The metrics of a run",
        "",
        NOTE,
        "",
        "`results/runs/<task>/<model>/<variant>/seed<k>/metrics.jsonl` has one JSON object a training step; step 0",
        "is the validation before any update. Both trainers log the same names. Where a step makes several updates,",
        "tokens and counts of non-finite updates are summed, of names in `_max` the largest value stands, and of all",
        "others the mean. `null` stands for a number that was not finite. The names are declared in",
        "[runs/metrics.py](../workflow/selfdistill/runs/metrics.py).",
    ]
    for title, prefixes in GROUPS.items():
        lines += ["", f"## {title}", "", "| name | unit | meaning | logged by |", "|---|---|---|---|"]
        lines += [
            f"| `{m.name}` | {m.unit} | {m.meaning.replace('|', chr(92) + '|')} | {m.logged_by} |"
            for m in METRICS
            if m.name.startswith(prefixes)
        ]
    return "\n".join(lines) + "\n"
