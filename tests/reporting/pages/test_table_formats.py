import dataclasses

import pandas as pd
import pytest
from token_records import record, run_with, words

from selfdistill.reporting.claims.discovery import claims_on_searches
from selfdistill.reporting.claims.inputs import gather
from selfdistill.reporting.claims.table import claims_table
from selfdistill.reporting.pages.table_formats import VIEWS, read_missing, write_formats
from selfdistill.reporting.read.accuracy import gather_scores
from selfdistill.reporting.read.runs import MissingRun
from selfdistill.reporting.render.csv_tables import write_csv
from selfdistill.reporting.render.table import markdown
from selfdistill.reporting.render.texts import TABLES
from selfdistill.reporting.tables.ablations import ablations_table, hints_table, plugin_table
from selfdistill.reporting.tables.accuracy import gains_table, main_lead, main_table
from selfdistill.reporting.tables.audit import audit_table
from selfdistill.reporting.tables.behaviour import behaviour_table
from selfdistill.reporting.tables.costs import costs_table
from selfdistill.reporting.tables.critiques import critiques_table
from selfdistill.reporting.tables.critiques_audit import critiques_audit_table
from selfdistill.reporting.tables.discovery import discovery_table, needed_table
from selfdistill.reporting.tables.drift import drift_table
from selfdistill.reporting.tables.graders import graders_table
from selfdistill.reporting.tables.groups import groups_table
from selfdistill.reporting.tables.pictures import pictures_table
from selfdistill.reporting.tables.pooled import pooled_table
from selfdistill.reporting.tables.power import power_table
from selfdistill.reporting.tables.preflight import preflight_table
from selfdistill.reporting.tables.problems import flips_table, problems_table
from selfdistill.reporting.tables.rlsd_audit import rlsd_audit_table
from selfdistill.reporting.tables.sdpo_audit import sdpo_audit_table
from selfdistill.reporting.tables.sdpo_code import sdpo_code_table
from selfdistill.reporting.tables.windows import windows_table
from selfdistill.reporting.tables.within import within_table
from selfdistill.reporting.tokens.diagnosis import diagnosis_table
from selfdistill.reporting.tokens.rollout_tables import certain_table, signs_table
from selfdistill.reporting.tokens.summaries import summarise

MISSING = [
    MissingRun("knights", "tiny-a", "rlsd", 0, "rlsd", "failed", "=out of memory"),
    MissingRun("knights", "big", "grpo", 1, "grpo", "not run"),
]


@pytest.fixture(scope="module")
def rollouts(tmp_path_factory):
    rows = [record(words(20, key=i), key=i, prompt=i, advantage=(-1.0) ** i) for i in range(4)]
    run = run_with(tmp_path_factory.mktemp("records"), rows)
    return [(run, summarise(run.records).rollouts)]


@pytest.fixture(scope="module")
def tables(seeded_study, rollouts):
    runs, tasks = seeded_study.runs, seeded_study.tasks
    scores = gather_scores(runs, tasks)
    main = main_table(scores, tasks)
    return {
        "main": main,
        "gains": gains_table(scores, tasks),
        "pooled": pooled_table(scores, tasks),
        "problems": problems_table(scores, tasks),
        "flips": flips_table(scores, tasks),
        "plugin": plugin_table(scores, tasks),
        "hints": hints_table(scores, tasks),
        "ablations": ablations_table(scores, tasks, {run.variant: run.method for run in runs}),
        "beside": behaviour_table(main, runs),
        "power": power_table(scores, tasks),
        "audit": audit_table(),
        "drift": drift_table(),
        "windows": windows_table(runs, tasks).round(4),
        "signs": signs_table(rollouts),
        "certain": certain_table(rollouts),
        "costs": costs_table(runs),
        "claims": claims_table(gather(scores, runs, tasks, dict.fromkeys(tasks, "knights"), MISSING)),
        "within": within_table(runs),
        "graders": graders_table(runs, {}),
        "preflight": preflight_table([]),
        "discovery": discovery_table([]),
        "discovery_needed": needed_table([]),
        "discovery_claims": claims_on_searches(discovery_table([]), needed_table([])),
        "diagnosis": diagnosis_table([]),
        "sdpo_code": sdpo_code_table([]),
        "rlsd_audit": rlsd_audit_table(),
        "groups": groups_table([], {}),
        "pictures": pictures_table([]),
        "sdpo_audit": sdpo_audit_table(),
        "critiques": critiques_table(runs),
        "critiques_audit": critiques_audit_table(),
    }


def test_every_table_has_a_text_and_views(tables):
    assert VIEWS.keys() == tables.keys() == TABLES.keys() - {"tokens"}


@pytest.mark.parametrize("name", VIEWS)
def test_a_csv_alone_makes_every_format(seeded_study, tables, tmp_path, name):
    files = {ending: tmp_path / f"{name}.{ending}" for ending in ("markdown", "latex", "html")}
    write_csv(tmp_path / f"{name}.csv", tables[name])
    write_formats(name, tmp_path / f"{name}.csv", MISSING, seeded_study.tasks, files)
    text = files["markdown"].read_text()
    views = VIEWS[name](tables[name], MISSING, seeded_study.tasks)
    if views:
        assert text.partition("\n\n### ")[2] == markdown(views, "", "").partition("### ")[2]
        lead = main_lead(tables["main"]) if name == "main" else TABLES[name].lead
        assert text.partition("\n\n### ")[0].endswith(lead)
    else:
        assert text == f"{TABLES[name].empty}\n"
    assert files["latex"].read_text().count("\\begin{tabular}") == len(views)
    assert TABLES[name].title.replace("'", "&#39;") in files["html"].read_text()


def test_missing_runs_are_read_back(tmp_path):
    write_csv(tmp_path / "missing.csv", pd.DataFrame([dataclasses.asdict(run) for run in MISSING]))
    assert read_missing(tmp_path / "missing.csv") == MISSING
    write_csv(
        tmp_path / "missing.csv", pd.DataFrame([], columns=[field.name for field in dataclasses.fields(MissingRun)])
    )
    assert read_missing(tmp_path / "missing.csv") == []
