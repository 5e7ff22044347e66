"""What docs/findings.md says of runs, from the archive docs/findings and from nothing else."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import stats

from from_code.c2_plan import c2_plan
from from_code.passages import ROOT
from selfdistill.errors import UserError
from selfdistill.evaluation.comparisons import holm
from selfdistill.evaluation.estimators import Difference, paired_difference
from selfdistill.evaluation.power import pooled_seed_variance
from selfdistill.evaluation.variance import Term
from selfdistill.reporting.archive import DRAWS, TEXTS, TOKENS, read, study_of
from selfdistill.study.matrix import BASE, Run
from selfdistill.study.study import Study

ARCHIVE = ROOT / "docs" / "findings"
CONFIG = ROOT / "config" / "findings.yaml"
#: A difference within these many points on the whole interval is none that matters here.
MARGIN = 2.0
RLCSD = "rlcsd"


def study() -> Study:
    """Returns the study of the configuration."""
    return study_of([str(CONFIG)])


def block(name: str) -> Mapping[str, list]:
    """Returns axis -> values of a block of the configuration."""
    return study().blocks[f"matrix.blocks.{name}"]


#: Of the questions, and of the control whose teacher does not read.
TASK, UNREAD = block("main")["tasks"][0], block("unread")["tasks"][0]

Cell = tuple[str, str, int]


@dataclass(frozen=True)
class Question:
    """One variant against another.

    Attributes:
        name: in tables.
        asked: in words.
        first, second: variants; the answer is the first minus the second.
        task: on whose problems.
    """

    name: str
    asked: str
    first: str
    second: str
    task: str = TASK


#: Named before any of it was run; Holm's correction is over these five.
PRIMARY = (
    Question("Q1", "Does contrast beat grpo?", "rlcsd", "grpo"),
    Question("Q2", "Does it need its evidence on the right tokens?", "rlcsd", "rlcsd-permuted"),
    Question("Q3", "Does the misalignment of June matter?", "rlcsd", "rlcsd-misaligned"),
    Question("Q4", "At five times the rate, does contrast beat grpo?", "rlcsd-lr_x5", "grpo-lr_x5"),
    Question("Q5", "Do the settings of version 2 do other than those of version 1?", "rlcsd-v2", "rlcsd"),
)
SIDE = (
    Question("S1", "Evidence of any rollout", "rlcsd", "rlcsd-permuted_in_batch"),
    Question("S2", "Its sign at random", "rlcsd", "rlcsd-random_signs"),
    Question("S3", "As many tokens, at random", "rlcsd", "rlcsd-random_tokens"),
    Question("S4", "grpo with as many tokens moved at random, against grpo", "rlcsd-random_tokens", "grpo"),
    Question("S5", "Noise of its size", "rlcsd", "rlcsd-noise"),
    Question("S6", "Wrong hints of other problems", "rlcsd", "rlcsd-other_problems"),
    Question("S7", "A wrong hint as the correct one", "rlcsd", "rlcsd-wrong_as_correct"),
    Question("S8", "Empty hints on both sides", "rlcsd", "rlcsd-empty_hints"),
    Question("S9", "A live teacher", "rlcsd", "rlcsd-live"),
    Question("S10", "One wrong hint", "rlcsd", "rlcsd-k1"),
    Question("S11", "Two wrong hints", "rlcsd", "rlcsd-k2"),
    Question("S12", "Five times the rate, grpo", "grpo-lr_x5", "grpo"),
    Question("S13", "Five times the rate, rlcsd", "rlcsd-lr_x5", "rlcsd"),
    Question("S14", "Shuffled rewards against no training, grpo", "grpo-shuffled", BASE),
    Question("S15", "Shuffled rewards against no training, rlcsd", "rlcsd-shuffled", BASE),
    Question("N1", "A teacher that does not read: contrast against grpo", "rlcsd", "grpo", UNREAD),
    Question("N2", "The same: evidence on the right tokens", "rlcsd", "rlcsd-permuted", UNREAD),
)


#: The second round: named when the answers above were known, before any of it was run.
SECOND = (
    Question("F1", "With one mean, evidence in the wrong place against grpo", "rlcsd-permuted-single_path", "grpo"),
    Question(
        "F2", "With one mean, the right place against the wrong", "rlcsd-single_path", "rlcsd-permuted-single_path"
    ),
    Question("F3", "With one mean, contrast against grpo", "rlcsd-single_path", "grpo"),
    Question("F4", "F2 where the teacher does not read", "rlcsd-single_path", "rlcsd-permuted-single_path", UNREAD),
    Question("V1", "Version 2's tau, 1.3", "rlcsd-tau1.3", "rlcsd"),
    Question("V2", "Its eta, 0.5", "rlcsd-eta0.5", "rlcsd"),
    Question("V3", "Its teacher, the initial model", "rlcsd-initial", "rlcsd"),
    Question("V4", "Its correct hint, the dataset's solution", "rlcsd-gt_cot", "rlcsd"),
    Question("V5", "Its advantages where A = 0, shifted", "rlcsd-shifts", "rlcsd"),
    Question("V6", "Its deviation, a population's", "rlcsd-population", "rlcsd"),
    Question("V7", "Its loss, means within rollouts", "rlcsd-rollout_means", "rlcsd"),
)


def check_questions() -> None:
    """Raise UserError where questions and configuration are about different variants."""
    asked = {
        (each.task, name) for each in (*PRIMARY, *SIDE, *SECOND) for name in (each.first, each.second) if name != BASE
    }
    there = {(run.task, run.variant) for run in planned() if run.variant != BASE}
    for (task, variant), have, lack in (
        *((each, "a question", f"{CONFIG.name} does not run it") for each in sorted(asked - there)),
        *((each, CONFIG.name, "no question is about it") for each in sorted(there - asked)),
    ):
        raise UserError(
            f"{variant} on {task}: in {have}, but {lack}; change one (docs/from_code/findings.py, {CONFIG})"
        )


@cache
def several() -> list[str]:
    """Returns the variants with the most seeds that keep the task's own rate."""
    changed = study().config["variants"]
    return [each for each in block("main")["variants"] if "optimizer" not in changed.get(each, {}).get("set", {})]


@cache
def planned() -> tuple[Run, ...]:
    """Returns the runs of the configuration."""
    return tuple(study().runs())


@cache
def drawn() -> dict[tuple[str, str, int], np.ndarray]:
    """Returns (task, variant, seed) -> whether each problem was solved, [P], of all that is in the archive."""
    table = read(ARCHIVE, DRAWS, ["task", "variant", "seed", "problem_id", "correct"]).to_pandas()
    runs = table.sort_values("problem_id").groupby(["task", "variant", "seed"])
    return {key: rows["correct"].to_numpy(dtype=float) for key, rows in runs}


@cache
def blocks() -> dict[str, list[Cell]]:
    """Returns the runs that each block of the configuration asks for."""
    return {
        name: [(t, v, s) for t in block["tasks"] for v in block["variants"] for s in block["seeds"]]
        for name, block in study().config["matrix"]["blocks"].items()
    }


def whole(cells: Sequence[Cell]) -> list[int]:
    """Returns the seeds of a block of which every run is in the archive; no other counts."""
    return [seed for seed in dict.fromkeys(s for _, _, s in cells) if all(c in drawn() for c in cells if c[2] == seed)]


@cache
def correct() -> dict[tuple[str, str], dict[int, np.ndarray]]:
    """Returns (task, variant) -> seed -> whether each problem was solved, [P], of seeds that are whole."""
    found: dict[tuple[str, str], dict[int, np.ndarray]] = {}
    for cells in blocks().values():
        seeds = whole(cells)
        for task, variant, seed in cells:
            if seed in seeds:
                found.setdefault((task, variant), {})[seed] = drawn()[task, variant, seed]
    return found


def shared_seeds(task: str, *variants: str) -> list[int]:
    """Returns the seeds in which all of these trained variants are there, which the configuration asks for together."""
    trained = [correct().get((task, variant), {}) for variant in variants if variant != BASE]
    return sorted(set.intersection(*map(set, trained))) if trained else []


def scores(task: str, variant: str, seeds: Sequence[int]) -> np.ndarray:
    """Returns [S, P]; of the untrained model those of its first seeds, as many as there are."""
    of = correct()[task, variant]
    return np.stack([of[seed] for seed in seeds if seed in of])


def answer(question: Question) -> tuple[Difference, int] | None:
    """Returns the difference, in points, and the number of seeds; None where fewer than two are there.

    Of secondary questions, whose seeds are too few to show how runs vary, runs vary at least as those of `several` do.
    """
    seeds = shared_seeds(question.task, question.first, question.second)
    if len(seeds) < 2:
        return None
    sides = [[scores(question.task, name, seeds)] for name in (question.first, question.second)]
    of_runs = None if question in PRIMARY else _of_runs()
    trained = (question.first != BASE, question.second != BASE)
    found = paired_difference(*sides, trained=trained, of_runs=of_runs)
    return Difference(100 * found.value, 100 * found.low, 100 * found.high, found.p_value), len(seeds)


@cache
def _of_runs() -> Term | None:
    """How a run varies around its method, of the variants with the most seeds and the task's own rate."""
    runs = [list(correct().get((TASK, name), {}).values()) for name in several()]
    return pooled_seed_variance([[np.stack(each)] for each in runs]) if all(len(each) > 1 for each in runs) else None


def verdict(found: Difference, corrected: float) -> str:
    """Returns what the rule of the page makes of a difference."""
    if corrected < 0.05:
        return "higher" if found.value > 0 else "lower"
    return "no difference that matters" if found.low > -MARGIN and found.high < MARGIN else "open"


def answers_of(questions: Sequence[Question]) -> str:
    """Returns a table of answers, Holm's correction over those that have one."""
    found = [answer(question) for question in questions]
    corrected = iter(holm([each[0].p_value for each in found if each]))
    lines = [
        "| | Question | First minus second | Seeds | Points [95 %] | p, Holm | Verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for question, each in zip(questions, found, strict=True):
        head = f"| {question.name} | {question.asked} | {question.first} minus {question.second} "
        if each is None:
            lines.append(f"{head}| - | not run | - | - |")
            continue
        difference, seeds = each
        p_value = float(next(corrected))
        interval = f"{difference.value:+.1f} [{difference.low:+.1f}, {difference.high:+.1f}]"
        lines.append(f"{head}| {seeds} | {interval} | {p_value:.3f} | {verdict(difference, p_value)} |")
    return "\n".join(lines)


def primary_answers() -> str:
    """Returns the five questions that were named first."""
    return answers_of(PRIMARY)


def side_answers() -> str:
    """Returns all others."""
    return answers_of(SIDE)


def second_answers() -> str:
    """Returns the second round."""
    return answers_of(SECOND)


@cache
def _metrics() -> dict[tuple[str, str], list[list[dict]]]:
    found: dict[tuple[str, str], list[list[dict]]] = {}
    for row in read(ARCHIVE, TEXTS).to_pylist():
        if row["name"] == "metrics":
            steps = [json.loads(line) for line in row["text"].splitlines()]
            found.setdefault((row["task"], row["variant"]), []).append(steps)
    return found


def _mean(steps: Sequence[dict], name: str) -> float:
    values = [step[name] for step in steps if step.get(name) is not None]
    return float(np.mean(values)) if values else float("nan")


def levels() -> str:
    """Returns a row for each variant: where it ended, how its seeds spread, how fast it learned, what it selected."""
    metrics = _metrics()
    lines = [
        "| Task | Variant | Seeds | Right at the end, % | SD of seeds | Right in training, all steps, % | Selected, % "
        "| Gradient norm |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for task, variant in dict.fromkeys((run.task, run.variant) for run in planned()):
        runs = correct().get((task, variant), {})
        if not runs:
            lines.append(f"| {task} | {variant} | 0 | not run | | | | |")
            continue
        ends = np.array([100 * each.mean() for each in runs.values()])
        spread = f"{ends.std(ddof=1):.1f}" if len(ends) > 1 else "-"
        trained = metrics.get((task, variant), [])
        of_runs = [[_mean(steps, name) for steps in trained] for name in _WATCHED]
        cells = [
            f"{scale * np.nanmean(each):.{digits}f}" if np.isfinite(each).any() else "-"
            for each, (scale, digits) in zip(of_runs, _WATCHED.values(), strict=True)
        ]
        lines.append(f"| {task} | {variant} | {len(ends)} | {ends.mean():.1f} | {spread} | {' | '.join(cells)} |")
    return "\n".join(lines)


_WATCHED = {"reward/mean": (100, 1), "signal/selected_share": (100, 0), "actor/grad_norm": (1, 2)}


def metric_mean(variant: str, name: str) -> float:
    """Returns a metric of a variant's training on the questions' task, mean over steps and then over seeds."""
    return float(np.mean([_mean(steps, name) for steps in _metrics()[TASK, variant]]))


def ran() -> str:
    """Returns what was planned and what is in the archive."""
    lines = ["| Block | Runs planned | In the archive | Seeds of which every variant is there |", "|---|---|---|---|"]
    for name, cells in blocks().items():
        seeds = whole(cells)
        lines.append(f"| {name} | {len(cells)} | {sum(cell in drawn() for cell in cells)} | {len(seeds)} |")
    return "\n".join(lines)


def gate() -> str:
    """Returns what the pre-flights found beside their limits."""
    lines = ["| Task | Measure | Found | Limit | Met |", "|---|---|---|---|---|"]
    for task in (TASK, UNREAD):
        path = ARCHIVE / f"preflight-{task}-tiny_qwen3.json"
        for each in json.loads(path.read_text(encoding="utf-8"))["findings"]:
            bound = {"least": "at least", "most": "at most"}[each["bound"]]
            met = "yes" if each["met"] else "**no**"
            lines.append(f"| {task} | {each['measure']} | {each['found']:.3f} | {bound} {each['limit']:g} | {met} |")
    return "\n".join(lines)


def design() -> str:
    """Returns how often a difference of two points is found, in studies that are simulated.

    Problems are solved with chances around 0.70 and 0.72 (Beta), in the same order for both; a run's
    chances are moved by its seed. Found: p below 0.01, which Holm asks of the smallest of five.
    """
    lines = ["| SD of a run around its method, points | 3 seeds | 10 seeds |", "|---|---|---|"]
    for sd in (0.5, 1.0, 2.0):
        shares = [np.mean([_found(seeds, sd / 100, number) for number in range(200)]) for seeds in (3, 10)]
        lines.append(f"| {sd:g} | {' | '.join(f'{share:.0%}' for share in shares)} |")
    return "\n".join(lines)


def _found(seeds: int, sd: float, number: int) -> bool:
    rng = np.random.default_rng((seeds, round(1000 * sd), number))
    ease = rng.beta(0.5, 0.2, size=2000)
    sides = []
    for mean in (0.72, 0.70):
        chances = np.clip(ease - ease.mean() + mean + rng.normal(0, sd, size=(seeds, 1)), 0, 1)
        sides.append([(rng.random((seeds, 2000)) < chances).astype(float)])
    return paired_difference(*sides).p_value < 0.01


def spread() -> str:
    """Returns the measured spread of seeds, and the differences that such intervals see in four of five studies.

    By normal quantiles: half a 95 % interval times (1.96 + 0.84) / 1.96, and (2.58 + 0.84) / 1.96 at a level of 0.01.
    """
    lines = [
        "| Pair | SD of seeds, first, second, points | SD of their differences | Seen at 0.05 | Seen at 0.01 |",
        "|---|---|---|---|---|",
    ]
    for question in PRIMARY:
        if (found := answer(question)) is None:
            continue
        seeds = shared_seeds(question.task, question.first, question.second)
        ends = [100 * scores(question.task, name, seeds).mean(axis=1) for name in (question.first, question.second)]
        half = (found[0].high - found[0].low) / 2
        cells = [each.std(ddof=1) for each in (*ends, ends[0] - ends[1])] + [half * 2.80 / 1.96, half * 3.42 / 1.96]
        first, second, *others = (f"{each:.1f}" for each in cells)
        lines.append(f"| {question.first}, {question.second} | {first}, {second} | {' | '.join(others)} |")
    return "\n".join(lines)


def selection() -> str:
    """Returns which tokens the settings select, of the same rollouts: those of step 1, before any update."""
    lines = [
        "| Setting | Seeds | Selected, % | Of these results of steps, % | Shared with rlcsd, % of both together |",
        "|---|---|---|---|---|",
    ]
    for variant in ("rlcsd", "rlcsd-v2", "rlcsd-k1", "rlcsd-permuted"):
        if of_seeds := _selected_by_seed(variant):
            cells = [_with_interval([each[part] for each in of_seeds]) for part in range(3)]
            lines.append(f"| {variant} | {len(of_seeds)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def selected_shares(variant: str) -> list[float]:
    """Returns the three shares of `selection` in percent, means of seeds."""
    return [100 * float(np.mean(each)) for each in zip(*_selected_by_seed(variant), strict=True)]


def _selected_by_seed(variant: str) -> list[tuple[float, float, float]]:
    marked = _marked()
    return [
        _selected(rows, other)
        for (name, seed), rows in marked.items()
        if name == variant and (other := marked.get((RLCSD, seed)))
    ]


@cache
def _marked() -> dict[tuple[str, int], dict[tuple[int, int], dict]]:
    """Variant and seed -> prompt and rollout -> what was recorded at step 1."""
    marked: dict[tuple[str, int], dict[tuple[int, int], dict]] = {}
    for row in read(ARCHIVE, TOKENS).to_pylist():
        if row["task"] == TASK:
            marked.setdefault((row["variant"], row["seed"]), {})[row["prompt"], row["rollout"]] = row
    return marked


def _selected(rows: dict, other: dict) -> tuple[float, float, float]:
    """Share of tokens selected, share of those that are results of steps, and overlap with another setting's."""
    here = there = both = tokens = results = 0
    for place in rows.keys() & other.keys():
        mine, theirs = (np.array(each[place]["selected"]) for each in (rows, other))
        assert rows[place]["tokens"] == other[place]["tokens"], "runs of one seed begin with the same rollouts"
        after = np.array([False, *(token == "=" for token in rows[place]["tokens"][:-1])])
        tokens, here, there = tokens + len(mine), here + mine.sum(), there + theirs.sum()
        both, results = both + (mine & theirs).sum(), results + (mine & after).sum()
    return here / tokens, results / max(here, 1), both / max(here + there - both, 1)


def _with_interval(values: Sequence[float]) -> str:
    """Mean of seeds in percent, with a t interval."""
    each = 100 * np.array(values)
    if len(each) < 2 or each.std() == 0:
        return f"{each.mean():.0f}"
    half = stats.t.ppf(0.975, len(each) - 1) * each.std(ddof=1) / np.sqrt(len(each))
    return f"{each.mean():.0f} [{each.mean() - half:.0f}, {each.mean() + half:.0f}]"


def passages() -> dict[str, Callable[[], str]]:
    """Returns what makes each passage of the page; of runs, only where there is an archive."""
    check_questions()
    made: dict[str, Callable[[], str]] = {"design": design, "c2": c2_plan}
    if (ARCHIVE / DRAWS).is_file():
        made |= {
            "ran": ran,
            "gate": gate,
            "levels": levels,
            "primary": primary_answers,
            "side": side_answers,
            "second": second_answers,
            "spread": spread,
            "selection": selection,
        }
    return made
