"""Asks a critic twice about a run's recorded wrong rollouts: plainly, and told that the format may be to blame.

    python -m selfdistill.training.leniency results/runs/<task>/<model>/<variant>/seed0 out [key=value ...]

What it calls right of what the grader called wrong is its leniency; the difference of the two is what the hint to the
format is worth. No training is needed: the rollouts are those of records.parquet. Keys are those of `critic`, in place
of the run's own; out keeps the answers, so that a second call asks only about what failed.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from scipy import stats

from selfdistill.critics.cache import FILE as CRITIQUES
from selfdistill.critics.findings import judges_right
from selfdistill.critics.request import Critique, Request
from selfdistill.errors import UserError
from selfdistill.files import write_json
from selfdistill.models.loading import load_tokenizer
from selfdistill.runs.records import read_records
from selfdistill.study.paths import MODEL, RUN_FILES
from selfdistill.study.training_settings import TrainingSettings
from selfdistill.tasks.schema import Problem
from selfdistill.training.external_models import noted_models
from selfdistill.training.local.critic import critic_of_run

_COLUMNS = ["problem_id", "problem", "answer", "correct", "token_ids"]
_KINDS = ("server", "model")
#: File of the findings.
FILE = "leniency.json"


def leniency(
    run: Path,
    out: Path,
    changes: Mapping[str, Any],
    report: Callable[[str], None],
    *,
    model: Path | None = None,
) -> dict[str, Any]:
    """Ask twice about each wrong rollout that a run recorded, and write out/leniency.json.

    Args:
        run: folder of a finished run.
        out: folder for the answers and the findings.
        changes: keys of `critic` in place of the run's own.
        report: takes one line of progress.
        model: folder of the critic's model, where it is one of this machine.

    Returns:
        `rollouts`; of `plain` and `hedged` each: `judged_right` (share of what was answered), `low` and `high` (its
        exact 95 % interval, rollouts taken as independent), `answered`, `failed`, `without_verdict`; `only_hedged` and
        `only_plain`: judged right by one of them alone; `p`: of the exact two-sided McNemar test that both are as many.

    Raises:
        UserError: for a run without wrong records, and for a critic that cannot be had.
    """
    if not (run / RUN_FILES["config"]).is_file():
        raise UserError(f"{run}: no finished run is there; give results/runs/<task>/<model>/<variant>/seed<k> of one")
    config = yaml.safe_load((run / RUN_FILES["config"]).read_text(encoding="utf-8"))
    config["critic"] = {**config.get("critic", {}), **changes, "max_failed_share": 1.0, "on_failure": "none"}
    settings = TrainingSettings.from_config(config)
    if settings.critic.kind not in _KINDS:
        raise UserError(
            f"critic.kind is {settings.critic.kind!r}; expected one of {', '.join(_KINDS)}, which can be lenient: give "
            "kind=server url=... model=... send_rollouts=true, for example"
        )
    requests = _wrong_rollouts(run)
    external = {"critic": model} if model is not None else {}
    if missing := settings.critic.models.keys() - external.keys():
        raise UserError(f"no folder of the {next(iter(missing))}'s model was given: add --model FOLDER")
    # A failure is kept for its step alone: each call is another one, so that it asks again.
    kept = out / CRITIQUES
    number = len(kept.read_bytes().splitlines()) if kept.exists() else 0
    found = {}
    for name, hedge in (("plain", False), ("hedged", True)):
        asked = replace(settings, critic=replace(settings.critic, hedge=hedge))
        noted = noted_models(out, external)
        with critic_of_run(asked, config["grader"], external, noted, out, report) as make:
            found[name] = make(None, None, None).of_step(number, requests, [None] * len(requests)).critiques
        report(f"{name}: " + ", ".join(f"{key} {value}" for key, value in _summary(found[name], requests).items()))
    result = {"rollouts": len(requests), **_compared(found["plain"], found["hedged"], requests)}
    write_json(out / FILE, result)
    return result


def _wrong_rollouts(run: Path) -> list[Request]:
    records = read_records(run / RUN_FILES["records"], _COLUMNS).to_pylist()
    tokenizer = load_tokenizer(run / MODEL)
    requests = []
    for row in records:
        if not row["correct"]:
            problem = Problem(row["problem_id"], "", row["problem"], row["answer"], "", "", 0, "")
            requests.append(Request(problem, tokenizer.decode(row["token_ids"], skip_special_tokens=True)))
    if not requests:
        raise UserError(
            f"{run / RUN_FILES['records']}: no wrong rollout is recorded; take a run with `records.every` whose "
            "teacher reads hints about wrong rollouts, as with a critic (of a run without hints nothing is recorded)"
        )
    return requests


def _summary(critiques: Sequence[Critique], requests: Sequence[Request]) -> dict[str, Any]:
    answered = [(c, r) for c, r in zip(critiques, requests, strict=True) if not c.failed or c.verdict]
    right = sum(judges_right(critique, request) for critique, request in answered)
    known = stats.binomtest(right, len(answered)).proportion_ci() if answered else None
    return {
        "judged_right": right / len(answered) if answered else None,
        "low": None if known is None else float(known.low),
        "high": None if known is None else float(known.high),
        "answered": len(answered),
        "failed": len(critiques) - len(answered),
        "without_verdict": sum(not critique.verdict for critique, _ in answered),
    }


def _compared(plain: Sequence[Critique], hedged: Sequence[Critique], requests: Sequence[Request]) -> dict[str, Any]:
    said = [[judges_right(c, r) for c, r in zip(each, requests, strict=True)] for each in (plain, hedged)]
    only_plain = sum(one and not other for one, other in zip(*said, strict=True))
    only_hedged = sum(other and not one for one, other in zip(*said, strict=True))
    unlike = only_plain + only_hedged
    return {
        "plain": _summary(plain, requests),
        "hedged": _summary(hedged, requests),
        "only_plain": only_plain,
        "only_hedged": only_hedged,
        "p": float(stats.binomtest(only_hedged, unlike).pvalue) if unlike else 1.0,
    }


def main(words: Sequence[str]) -> int:
    """Ask, and print what was found. Returns an exit status."""
    parser = argparse.ArgumentParser(prog="python -m selfdistill.training.leniency")
    parser.add_argument("run", type=Path, help="folder of a finished run: results/runs/<task>/<model>/<variant>/seed0")
    parser.add_argument("out", type=Path, help="folder for answers and findings")
    parser.add_argument("changes", nargs="*", help="key=value of the section critic, in place of the run's own")
    parser.add_argument("--model", type=Path, help="folder of the critic's model, where this machine reads it")
    told = parser.parse_args(words)
    try:
        if odd := [word for word in told.changes if "=" not in word]:
            raise UserError(f"{odd[0]}: expected key=value, a key of the section critic")
        changes = {key: yaml.safe_load(value) for key, _, value in (word.partition("=") for word in told.changes)}
        result = leniency(told.run, told.out, changes, print, model=told.model)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{told.out / FILE}: {result}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
