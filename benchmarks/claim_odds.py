"""How often each claim can come out if the paper is exactly right: simulated studies of its blocks, judged as ours are.

python benchmarks/claim_odds.py [--studies N] [--seeds 3 5]; run from the repository's root. Writes docs/claim_odds.csv
and its tables in docs/claims.md. Equal numbers give equal files.

The truth are the published cells of each version: every method has just these accuracies on the benchmark's very
problems. 0.6 of a draw's variance lies between problems, whose difficulties for two methods correlate by 0.9; a run's
average lies around its method's with a standard deviation of 1 point. Curves go where the paper's text says, by a
steady rate, with 3 % of noise a step; between runs the logarithm of a change has a standard deviation of 3 % and a
fifth of itself. What the paper prints no number for (rewards, tokens, most curves) is not judged.
"""

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from selfdistill.evaluation.draws import DrawMatrix
from selfdistill.evaluation.estimators import score_variances, scores_by_seed
from selfdistill.files import write_text
from selfdistill.randomness import generator
from selfdistill.reporting.claims.catalogue import CLAIMS
from selfdistill.reporting.claims.inputs import ClaimInputs
from selfdistill.reporting.claims.predicates import ENTROPY, LENGTH, REWARD, Against, Claim, Curve, Style
from selfdistill.reporting.claims.rlcsd import PAPER, STEPS
from selfdistill.reporting.claims.table import claims_table, summaries
from selfdistill.reporting.claims.verdicts import CLAIM_VERDICTS, NOT_REPRODUCED, NOT_RUN, REPRODUCED
from selfdistill.reporting.read.accuracy import Result, VariantScores
from selfdistill.reporting.read.published import (
    BENCHMARKS,
    CONTRAST,
    MODELS,
    problems,
    published_ablation,
    published_gain,
    published_rows,
    published_study,
)
from selfdistill.study.hint_settings import HINT_SETTINGS, SECOND_VERSION

CSV, PAGE = Path("docs/claim_odds.csv"), Path("docs/claims.md")
BEGIN, END = "<!-- odds: made by benchmarks/claim_odds.py -->", "<!-- end of odds -->"
STUDIES, SEEDS = 100, (3, 5)
BETWEEN, SHARED, RUN_SD = 0.6, 0.9, 0.01
NOISE, CHANGE_SD, CHANGE_SHARE = 0.03, 0.03, 0.2
DRAWS = {"math": 12, "logic": 1}
FAMILIES = {"math": "maths", "logic": "knights"}
MAIN = {
    "v1": ("base", "grpo", "opsd", "sdpo", "srpo", "rlsd", "rlcsd", "rlcsd-lr5e6"),
    "v2": ("base", "grpo-v2", "opsd", "sdpo", "srpo-v2", "rlsd-v2", "rlcsd-v2"),
}
#: Benchmarks out of distribution.
OUTSIDE = ("kk_9", "kk_10", "kk_11")
ABLATED = ("one_wrong_hint", "self_hint", "no_anchor", "single_path")
#: (version, model, task) -> variant -> metric -> first and last value, as the papers' texts have them.
CURVES = {
    ("v1", "qwen3_4b", "math"): {
        "grpo": {},
        "sdpo": {ENTROPY: (0.35, 0.7), LENGTH: (8500, 10700)},
        "srpo": {ENTROPY: (0.35, 0.7)},
        "opsd": {ENTROPY: (0.35, 0.41)},
        "rlsd": {LENGTH: (8800, 7200)},
        "rlsd_ectr": {LENGTH: (8800, 8000)},
        "rlcsd": {ENTROPY: (0.35, 0.33), LENGTH: (8300, 8300)},
        "rlcsd-one_sided_solution": {LENGTH: (8300, 5900)},
        "rlcsd-one_sided_own_rollout": {LENGTH: (8300, 5900)},
    },
    ("v1", "qwen3_4b", "logic"): {
        "grpo": {},
        "sdpo": {ENTROPY: (0.29, 1.2)},
        "srpo": {ENTROPY: (0.29, 1.2)},
        "opsd": {ENTROPY: (0.29, 1.2), LENGTH: (7000, 15700)},
        "opsd_ectr": {ENTROPY: (0.29, 0.38)},
    },
    ("v2", "qwen3_8b", "math"): {
        "grpo-v2": {ENTROPY: (0.321, 0.183)},
        "rlcsd-v2": {ENTROPY: (0.321, 0.183), LENGTH: (9423, 9617)},
    },
}


def truth(version: str, model: str, task: str) -> dict[str, dict[str, float]]:
    """Variant -> benchmark -> its published share; variants of a study that has averages only are moved as a whole."""
    cells = {
        variant: {
            cell.benchmark: cell.value / 100 for cell in published_rows(model, variant, version) if cell.task == task
        }
        for variant in MAIN[version]
    }
    cells = {variant: {b: v for b, v in of.items() if b != "average"} for variant, of in cells.items() if of}
    ours = "rlcsd" if version == "v1" else "rlcsd-v2"
    moved: dict[str, tuple[str, float]] = {}
    for name in ABLATED:
        found, whole = (published_ablation(task, model, v, version=version) for v in (f"{ours}-{name}", ours))
        if found and whole:
            moved[f"{ours}-{name}"] = (ours, found.value - whole.value)
    if version == "v1":
        for method, (solution, own, contrastive) in HINT_SETTINGS.items():
            if gain := published_gain(task, model, method, version):
                if method == "rlcsd":  # here the contrastive one is in the main table
                    moved |= dict.fromkeys((solution, own), (contrastive, -gain.value))
                else:
                    moved |= {own: (solution, 0.0), contrastive: (solution, gain.value)}
    else:
        for one_sided, contrastive in SECOND_VERSION.values():
            for variant in (one_sided, contrastive):
                at = {b: published_study(CONTRAST, task, model, variant, version, b) for b in cells[ours]}
                if all(at.values()):
                    cells[variant] = {b: cell.value / 100 for b, cell in at.items()}
    return cells | {v: {b: p + points / 100 for b, p in cells[of].items()} for v, (of, points) in moved.items()}


class Block:
    """One task and model: problems that stay, of which studies are drawn."""

    def __init__(self, version: str, model: str, task: str) -> None:
        self.version, self.model, self.task = version, model, task
        self.cells = truth(version, model, task)
        self.benchmarks = [name for at, name in BENCHMARKS.values() if at == task and name != "average"]
        sizes = problems()
        self.chances = {
            (variant, name): _chances((version, model, variant, name), share, sizes[name])
            for variant, of in self.cells.items()
            for name, share in of.items()
        }

    def study(self, rng: np.random.Generator, seeds: int) -> ClaimInputs:
        """What one study of so many seeds a method would have."""
        settings = {
            "metric": f"mean@{DRAWS[self.task]}",
            "benchmarks": {
                n: {"distribution": "out" if n in ("kk_9", "kk_10", "kk_11") else "in"} for n in self.benchmarks
            },
        }
        curves = CURVES.get((self.version, self.model, self.task), {})
        return ClaimInputs(
            self.task,
            self.model,
            FAMILIES[self.task],
            settings,
            {variant: self._scores(rng, variant, seeds) for variant in self.cells},
            {
                variant: {seed: _run(rng, of, STEPS[self.task]) for seed in range(seeds)}
                for variant, of in curves.items()
            },
            pd.DataFrame(columns=["task", "model", "variant", "seed", "token_class"]),
            (),
            STEPS[self.task],
        )

    def _scores(self, rng: np.random.Generator, variant: str, seeds: int) -> VariantScores:
        moves = rng.normal(0, RUN_SD, size=(seeds, 1)) * (variant != "base")
        results = {}
        for name in self.benchmarks:
            chance = self.chances[variant, name]
            moved = chance + moves / (chance * (1 - chance)).mean() * chance * (1 - chance)
            correct = rng.random((seeds, len(chance), DRAWS[self.task])) < np.clip(moved, 0, 1)[:, :, None]
            metric = f"mean@{DRAWS[self.task]}"
            draws = DrawMatrix(tuple(map(str, range(len(chance)))), correct, correct, correct)
            scored = scores_by_seed(correct, metric), score_variances(correct, metric)
            results[name] = Result(draws, metric, *scored)
        return VariantScores(self.task, self.model, variant, results)


def _chances(key: tuple[str, ...], share: float, count: int) -> np.ndarray:
    """Chances of a benchmark's problems, whose mean is the published share."""
    version, model, _, name = key
    shared = generator("difficulty", version, model, name).normal(size=count)
    ease = math.sqrt(SHARED) * shared + math.sqrt(1 - SHARED) * generator("ease", *key).normal(size=count)
    total = 1 / BETWEEN - 1
    low, high, chances = 1e-4, 1 - 1e-4, ease
    for _ in range(40):  # the mean of the beta distribution with which these very problems have the share
        middle = (low + high) / 2
        chances = stats.beta.ppf(stats.norm.cdf(ease), middle * total, (1 - middle) * total)
        low, high = (middle, high) if chances.mean() < share else (low, middle)
    return chances


def _run(rng: np.random.Generator, curves: Mapping[str, tuple[float, float]], steps: int) -> list[dict]:
    """The metrics of a run, whose reward rises; what is not said stays as it was."""
    done = np.arange(steps) / (steps - 1)
    values = {REWARD: 0.6 + 0.1 * done + 0.02 * rng.normal(size=steps)}
    for metric in (ENTROPY, LENGTH):
        first, last = curves.get(metric, (1.0, 1.0))
        change = math.log(last / first)
        change += rng.normal(0, math.hypot(CHANGE_SD, CHANGE_SHARE * change))
        values[metric] = first * np.exp(change * done) * (1 + NOISE * rng.normal(size=steps))
    return [{"step": n + 1, **{metric: float(of[n]) for metric, of in values.items()}} for n in range(steps)]


def odds(studies: int, seeds: Sequence[int], models: Sequence[str] = tuple(MODELS)) -> pd.DataFrame:
    """A row for each part and block, and for each claim (part "claim"): share of studies with each verdict."""
    rows = []
    for version in MAIN:
        claims = [_told(claim, version) for claim in CLAIMS if claim.paper == PAPER and version in claim.versions]
        blocks = [Block(version, model, task) for task in DRAWS for model in models]
        for count in seeds:
            tables = list(_tables(version, claims, blocks, count, studies))
            rows += _shares(version, count, claims, tables)
    return pd.DataFrame(rows)


def _told(claim: Claim, version: str) -> Claim:
    """A claim with those of its parts that the version gives a number for, each on the tasks that have it."""
    parts = []
    for part in claim.parts:
        if not isinstance(part.predicate, Curve | Against | Style):
            parts.append(part)
        elif not isinstance(part.predicate, Style):
            told = [
                FAMILIES[task]
                for (of, _, task), curves in CURVES.items()
                if of == version and part.predicate.metric in curves.get(part.variant, {})
            ]
            families = tuple(family for family in told if not part.families or family in part.families)
            parts += [replace(part, families=families)] if families else []
    return replace(claim, parts=tuple(parts))


def _tables(
    version: str, claims: Sequence[Claim], blocks: Sequence[Block], seeds: int, studies: int
) -> Iterator[pd.DataFrame]:
    for number in range(studies):
        rng = generator("study", version, seeds, number)
        yield claims_table([block.study(rng, seeds) for block in blocks], claims=claims)


def _shares(version: str, seeds: int, claims: Sequence[Claim], tables: Sequence[pd.DataFrame]) -> Iterator[dict]:
    whole = pd.concat(tables)
    whole = whole[whole["verdict"] != NOT_RUN]
    keys = ["claim", "part", "variant", "task", "model"]
    for key, rows in whole.groupby(keys, sort=False):
        about = {"version": version, "seeds": seeds, **dict(zip(keys, key, strict=True)), "studies": len(tables)}
        kind = rows["of_kind"].replace("", np.nan).dropna()
        yield about | {
            "reproduced": (rows["verdict"] == REPRODUCED).mean(),
            "not_reproduced": (rows["verdict"] == NOT_REPRODUCED).mean(),
            "of_kind": (kind == REPRODUCED).mean() if len(kind) else math.nan,
        }
    # Of what can be simulated: the parts that the paper has no number for are left out.
    verdicts = [
        {each["name"]: each["verdict"] for each in summaries(t[t["verdict"] != NOT_RUN], claims)} for t in tables
    ]
    for claim in claims:
        found = pd.Series([study[claim.name] for study in verdicts])
        if (found == NOT_RUN).all():
            continue
        about = {"version": version, "seeds": seeds, "claim": claim.name, "part": "claim", "studies": len(tables)}
        yield about | {word: (found == word).mean() for word in CLAIM_VERDICTS}


def tables_of(measured: pd.DataFrame) -> str:
    """Two tables in Markdown: of parts, over models, and of claims; in each cell a share for each number of seeds."""
    counts = sorted(measured["seeds"].unique())
    parts = measured[measured["part"] != "claim"]
    tasks = list(dict.fromkeys(parts["task"]))
    lines = [f"| Part | {' | '.join(tasks)} |", "|---|" + "---|" * len(tasks)]
    for (claim, part, variant), rows in parts.groupby(["claim", "part", "variant"], sort=False):
        cells = []
        for task in tasks:
            of = [rows[(rows["seeds"] == n) & (rows["task"] == task)] for n in counts]
            shares, refuted = (_cell([_range(each[word]) for each in of]) for word in ("reproduced", "not_reproduced"))
            cells.append(shares if refuted in ("", "0") else f"{shares}, refuted {refuted}")
        lines.append(f"| {claim} {part}, {variant} | {' | '.join(cells)} |")
    words = [word for word in CLAIM_VERDICTS if measured[word].fillna(0).any()]
    lines += ["", f"| Claim | {' | '.join(words)} |", "|---|" + "---|" * len(words)]
    claims = measured[measured["part"] == "claim"]
    for (claim, version), rows in claims.groupby(["claim", "version"], sort=False):
        name = claim if len(claims.loc[claims["claim"] == claim, "version"].unique()) == 1 else f"{claim}, {version}"
        of = [rows[rows["seeds"] == n].iloc[0] for n in counts]
        lines.append(f"| {name} | {' | '.join(_cell([f'{100 * each[word]:.0f}' for each in of]) for word in words)} |")
    return "\n".join(lines)


def _cell(shares: Sequence[str]) -> str:
    """One share for each number of seeds; one for all where they are the same."""
    return shares[0] if len(set(shares)) == 1 else "; ".join(shares)


def _range(shares: pd.Series) -> str:
    known = 100 * shares.dropna()
    if known.empty:
        return ""
    low, high = f"{known.min():.0f}", f"{known.max():.0f}"
    return low if low == high else f"{low}\N{EN DASH}{high}"


def main() -> None:
    """Measure, and write file and page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=STUDIES)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    args = parser.parse_args()
    measured = odds(args.studies, args.seeds)
    write_text(CSV, measured.to_csv(index=False, float_format="%.4g"))
    page = PAGE.read_text(encoding="utf-8")
    start, end = page.index(BEGIN) + len(BEGIN), page.index(END)
    write_text(PAGE, f"{page[:start]}\n{tables_of(pd.read_csv(CSV))}\n{page[end:]}")


if __name__ == "__main__":
    main()
