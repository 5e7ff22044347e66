"""Finds the one-sided variants that stand beside the contrastive one of the same method, for the study of hints."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from selfdistill.study.matrix import Run


@dataclass(frozen=True)
class Contrast:
    """One-sided variants and the contrastive one, and the metrics that the paper shows of them (metrics.jsonl)."""

    one_sided: tuple[str, ...]
    contrastive: str
    metrics: tuple[str, ...]

    def shown(self, variants: Collection[str]) -> list[str]:
        """Return the variants to draw, one-sided first; empty unless there is one of each side."""
        found = [variant for variant in self.one_sided if variant in variants]
        return [*found, self.contrastive] if found and self.contrastive in variants else []


#: Method -> its variants in the three hint settings: one-sided with the dataset's solution, one-sided with an own
#: rollout, contrastive (config/README.md).
HINT_SETTINGS = {
    "opsd": ("opsd", "opsd-own_rollout", "opsd_ectr"),
    "rlsd": ("rlsd", "rlsd-own_rollout", "rlsd_ectr"),
    "rlcsd": ("rlcsd-one_sided_solution", "rlcsd-one_sided_own_rollout", "rlcsd"),
}
#: Method -> its variants in the plug-in study of the paper's second version: there all read the dataset's solution, so
#: one-sided has one setting.
SECOND_VERSION = {
    "opsd": ("opsd", "opsd_ectr-v2"),
    "rlsd": ("rlsd-v2", "rlsd_ectr-v2"),
    "rlcsd": ("rlcsd-v2-one_sided", "rlcsd-v2"),
}
#: Both: a method, its one-sided variants and, last, its contrastive one.
PLUGINS = (*HINT_SETTINGS.items(), *SECOND_VERSION.items())
#: The paper's figure of the contrast: entropy and reward of opsd, length of rlsd and of rlcsd.
_METRICS = {
    "opsd": ("actor/entropy", "reward/mean"),
    "rlsd": ("response/length_mean",),
    "rlcsd": ("response/length_mean",),
}
CONTRASTS = tuple(
    Contrast(tuple(one_sided), contrastive, _METRICS[method]) for method, (*one_sided, contrastive) in PLUGINS
)


def has_contrast(runs: Sequence[Run]) -> bool:
    """Returns whether any task and model has both sides of a contrast."""
    blocks: dict[tuple[str, str], set[str]] = {}
    for run in runs:
        blocks.setdefault((run.task, run.model), set()).add(run.variant)
    return any(contrast.shown(variants) for variants in blocks.values() for contrast in CONTRASTS)
