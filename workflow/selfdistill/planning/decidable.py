"""Says which claims a matrix can decide, and with how many seeds, before anything is submitted.

Accuracies are asked on these very problems. Where the paper prints what a part compares, that is taken as the truth;
where no difference would satisfy it, none; else, and of curves, the least number of seeds is named. Nothing of this is
measured: a run's average is taken to lie around its method's with a standard deviation of one point.
"""

import math
from dataclasses import dataclass

from selfdistill.evaluation.power import ASSUMED_SEED_SD, BETWEEN, Design, Variances, needed
from selfdistill.planning.estimates import benchmark_sizes
from selfdistill.reporting.claims.catalogue import CLAIMS
from selfdistill.reporting.claims.predicates import LEAST_SEEDS, Claim, Gap, Highest, Part
from selfdistill.reporting.read.published import VERSIONS, published_ablation, published_gain, published_rows
from selfdistill.study.hint_settings import HINT_SETTINGS, SECOND_VERSION
from selfdistill.study.matrix import BASE
from selfdistill.study.study import Study

#: More seeds than these are as good as none.
MOST_SEEDS = 50
#: Accuracy at which draws are taken to vary.
USUAL = 0.7

Block = tuple[str, str]


@dataclass(frozen=True)
class Outlook:
    """Holds what a matrix can say of one claim.

    Attributes:
        claim: whose.
        parts: how many parts, each on each block, it is asked in.
        lacking: those of them that lack a variant, and which these are.
        seeds: the fewest of any that lacks none; 0 where all do.
        needs: seeds that each of these takes (inf: no number that is worth having).
        known: for each of these whether that is by published numbers, and not the least that can say anything.
    """

    claim: Claim
    parts: int
    lacking: int
    absent: tuple[str, ...]
    seeds: int
    needs: tuple[float, ...]
    known: tuple[bool, ...]

    @property
    def decided(self) -> int:
        """Returns how many parts the matrix has seeds enough for."""
        return sum(need <= self.seeds for need in self.needs)


def outlooks(study: Study) -> list[Outlook]:
    """Return the outlook of each claim that any block of the matrix is asked about, and has a variant for."""
    blocks: dict[Block, dict[str, set[int]]] = {}
    for run in study.runs():
        blocks.setdefault((run.task, run.model), {}).setdefault(run.variant, set()).add(run.seed)
    found = [_outlook(study, claim, blocks) for claim in CLAIMS]
    return [outlook for outlook in found if outlook.parts > outlook.lacking]


def as_text(outlooks_of: list[Outlook]) -> str:
    """Return a line a claim for people; empty where no claim is asked."""
    if not outlooks_of:
        return ""
    lines = ["Claims that this matrix can decide (80 % power, on these problems; docs/claims.md)"]
    for each in outlooks_of:
        able = f"{each.decided} of {each.parts - each.lacking} parts"
        seeds = f"{each.seeds} seed{'s' if each.seeds > 1 else ''}"
        perhaps = "" if all(each.known) or not each.decided else "perhaps "
        said = f"{perhaps}{able}" if each.seeds > 1 else "seen in one run at most"
        lacks = f"; {each.lacking} more lack {_listed(each.absent)}" if each.lacking else ""
        lines.append(f"  {each.claim.name.ljust(9)} {seeds.ljust(8)} {said}; {_needs(each)}{lacks}")
    lines.append(
        "  At least: how runs differ is not known of curves, tokens and gains, nor where no number is published.\n"
        "  For these docs/claims.md has how often each comes out if the paper is right."
    )
    return "\n".join(lines)


def _needs(outlook: Outlook) -> str:
    by_numbers = [need for need, known in zip(outlook.needs, outlook.known, strict=True) if known]
    guessed = len(outlook.needs) - len(by_numbers)
    finite = [need for need in by_numbers if math.isfinite(need)]
    said = []
    if finite:
        least, most = f"{min(finite):.0f}", f"{max(finite):.0f}"
        share = f"{len(finite)} of {len(outlook.needs)}" if len(finite) < len(outlook.needs) else "all"
        said.append(f"{least if least == most else f'{least} to {most}'} seeds would do for {share}")
    if guessed:
        said.append(f"{LEAST_SEEDS} seeds at least{f' for {guessed}' if by_numbers else ''}")
    if len(finite) < len(by_numbers):
        said.append("none for the rest" if said else "no number of seeds would do")
    return ", ".join(said)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} others" if len(names) > 3 else "")


def _outlook(study: Study, claim: Claim, blocks: dict[Block, dict[str, set[int]]]) -> Outlook:
    parts, lacking, absent, seeds, needs, known = 0, 0, {}, [], [], []
    for part in claim.parts:
        for (task, model), variants in blocks.items():
            if not part.asked(study.config["tasks"][task]["grader"], variants):
                continue
            parts += 1
            if lost := [name for name in part.needs if name not in variants]:
                lacking += 1
                absent |= dict.fromkeys(lost)
                continue
            seeds.append(min(len(variants[name]) for name in part.needs if name != BASE))
            found = _seeds_for(study, part, task, model)
            needs.append(found or LEAST_SEEDS)
            known.append(found is not None)
    return Outlook(claim, parts, lacking, tuple(absent), min(seeds, default=0), tuple(needs), tuple(known))


def _seeds_for(study: Study, part: Part, task: str, model: str) -> float | None:
    """Seeds that a part takes: by its published gaps, by no gap at all where that would satisfy it, else not known."""
    predicate = part.predicate
    if not isinstance(predicate, Gap | Highest):
        return None
    needs = []
    for other in predicate.others:
        gap = _published_gap(task, model, predicate.variant, other)
        if gap is None and not predicate.tolerant:
            return None
        bounds = [bound for bound in (predicate.above, predicate.below) if math.isfinite(bound)]
        distance = min(abs((gap or 0.0) - bound) for bound in bounds)
        needs.append(_seeds_of_gap(study, task, distance / 100, sum(n != BASE for n in (predicate.variant, other))))
    return max(needs)


def _published_gap(task: str, model: str, variant: str, other: str) -> float | None:
    """The published average of a variant minus that of another, of the latest version that has both; in points."""
    for version in reversed(VERSIONS):
        ours, theirs = (_average(task, model, name, version) for name in (variant, other))
        if ours is not None and theirs is not None:
            return ours - theirs
    for version, settings in zip(VERSIONS, (HINT_SETTINGS, SECOND_VERSION), strict=True):
        for method, (*one_sided, contrastive) in settings.items():
            gain = published_gain(task, model, method, version)
            if gain and variant == contrastive and other in one_sided:
                return gain.value
    return None


def _average(task: str, model: str, variant: str, version: str) -> float | None:
    """From the main tables, or from those of the ablations."""
    cells = [
        cell for cell in published_rows(model, variant, version) if (cell.task, cell.benchmark) == (task, "average")
    ]
    found = cells[0] if cells else published_ablation(task, model, variant, version=version)
    return found.value if found else None


def _seeds_of_gap(study: Study, task: str, distance: float, trained: int) -> float:
    settings = study.config["tasks"][task]
    own = settings["benchmarks"]
    counted = [name for name, about in study.benchmarks(task).items() if about["counted"] and name in own]
    sizes = benchmark_sizes(study, task, counted)
    none, draw = (0.0,) * len(sizes), 2 * (1 - BETWEEN) * USUAL * (1 - USUAL)
    variances = Variances(none, none, (draw,) * len(sizes), trained * ASSUMED_SEED_SD**2)
    seeds = needed(distance, variances, Design(tuple(sizes), settings["draws"], 1), problems="fixed").seeds
    return seeds if seeds <= MOST_SEEDS else math.inf
