"""Words the line that a trainer prints after each step."""

from collections.abc import Mapping
from typing import Any

from selfdistill.training.updates import skipped_text


def progress_line(step: int, steps: int, metrics: Mapping[str, Any], seconds_per_step: float) -> str:
    """Describe a step in one line.

    Args:
        step: number of the step, counted from 1.
        steps: of the whole run.
        metrics: of the step; accuracies of a validation are shown where it has any.
        seconds_per_step: mean over this attempt's steps.

    Returns:
        Reward, length, entropy, pace and what is left of the run, and what was skipped or validated.
    """
    left = seconds_per_step * (steps - step)
    line = (
        f"step {step}/{steps}  reward {metrics['reward/mean']:.3f}  length {metrics['response/length_mean']:.1f}  "
        f"entropy {metrics['actor/entropy']:.3f}  {seconds_per_step:.2f} s/step  {left:.0f} s left"
    )
    accuracies = {name: value for name, value in metrics.items() if name.startswith("val/")}
    validated = [f"{name.removeprefix('val/')} {100 * value:.0f} %" for name, value in accuracies.items()]
    return "  ".join(filter(None, [line, skipped_text(metrics), *validated]))
