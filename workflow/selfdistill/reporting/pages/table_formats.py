"""Writes any table as Markdown, LaTeX and HTML, from its CSV alone."""

import os
from collections.abc import Mapping, Sequence

from selfdistill.files import write_text
from selfdistill.reporting.claims.discovery import search_claims_views
from selfdistill.reporting.claims.table import claims_views
from selfdistill.reporting.read.accuracy import Tasks
from selfdistill.reporting.read.runs import MissingRun
from selfdistill.reporting.render.cells import gains_views, main_views
from selfdistill.reporting.render.csv_tables import read_csv, with_texts
from selfdistill.reporting.render.table import html_page, latex, markdown
from selfdistill.reporting.render.texts import TABLES
from selfdistill.reporting.tables.ablations import ablations_views, hints_views, plugin_views
from selfdistill.reporting.tables.accuracy import main_lead
from selfdistill.reporting.tables.audit import audit_line, audit_views
from selfdistill.reporting.tables.behaviour import behaviour_views
from selfdistill.reporting.tables.costs import cost_views, total_line
from selfdistill.reporting.tables.critiques import critiques_views
from selfdistill.reporting.tables.critiques_audit import critiques_audit_line, critiques_audit_views
from selfdistill.reporting.tables.discovery import discovery_views, needed_views
from selfdistill.reporting.tables.drift import drift_line, drift_views
from selfdistill.reporting.tables.graders import graders_views
from selfdistill.reporting.tables.groups import groups_views
from selfdistill.reporting.tables.pictures import pictures_views
from selfdistill.reporting.tables.pooled import pooled_views
from selfdistill.reporting.tables.power import power_views
from selfdistill.reporting.tables.preflight import preflight_views
from selfdistill.reporting.tables.problems import flips_views, problems_views
from selfdistill.reporting.tables.rlsd_audit import rlsd_audit_line, rlsd_audit_views
from selfdistill.reporting.tables.sdpo_audit import sdpo_audit_line, sdpo_audit_views
from selfdistill.reporting.tables.sdpo_code import sdpo_code_views
from selfdistill.reporting.tables.windows import windows_views
from selfdistill.reporting.tables.within import within_views
from selfdistill.reporting.tokens.diagnosis import diagnosis_views
from selfdistill.reporting.tokens.rollout_tables import certain_views, signs_views

#: Table -> what makes its views of the CSV, of the runs that are missing, and of the tasks.
VIEWS = {
    "main": main_views,
    "gains": gains_views,
    "pooled": pooled_views,
    "problems": problems_views,
    "flips": flips_views,
    "plugin": plugin_views,
    "hints": hints_views,
    "ablations": ablations_views,
    "beside": behaviour_views,
    "power": power_views,
    "audit": lambda table, missing, tasks: audit_views(table),
    "windows": lambda table, missing, tasks: windows_views(table),
    "drift": lambda table, missing, tasks: drift_views(table),
    "signs": lambda table, missing, tasks: signs_views(table),
    "certain": lambda table, missing, tasks: certain_views(table),
    "costs": lambda table, missing, tasks: cost_views(table),
    "claims": lambda table, missing, tasks: claims_views(table),
    "within": lambda table, missing, tasks: within_views(table),
    "graders": lambda table, missing, tasks: graders_views(table),
    "preflight": lambda table, missing, tasks: preflight_views(table),
    "sdpo_code": lambda table, missing, tasks: sdpo_code_views(table),
    "discovery": lambda table, missing, tasks: discovery_views(table),
    "discovery_needed": lambda table, missing, tasks: needed_views(table),
    "discovery_claims": lambda table, missing, tasks: search_claims_views(table),
    "sdpo_audit": lambda table, missing, tasks: sdpo_audit_views(table),
    "critiques": lambda table, missing, tasks: critiques_views(table),
    "critiques_audit": lambda table, missing, tasks: critiques_audit_views(table),
    "rlsd_audit": lambda table, missing, tasks: rlsd_audit_views(table),
    "groups": lambda table, missing, tasks: groups_views(table),
    "pictures": lambda table, missing, tasks: pictures_views(table),
    "diagnosis": lambda table, missing, tasks: diagnosis_views(table),
}
#: Tables above which something is said that depends on what they hold.
_LEADS = {
    "main": main_lead,
    "audit": lambda table: f"{audit_line(table)} {TABLES['audit'].lead}",
    "drift": lambda table: f"{drift_line(table)} {TABLES['drift'].lead}",
    "costs": lambda table: f"{total_line(table)} {TABLES['costs'].lead}",
    "critiques_audit": lambda table: f"{critiques_audit_line(table)} {TABLES['critiques_audit'].lead}",
    "sdpo_audit": lambda table: f"{sdpo_audit_line(table)} {TABLES['sdpo_audit'].lead}",
    "rlsd_audit": lambda table: f"{rlsd_audit_line(table)} {TABLES['rlsd_audit'].lead}",
}


def read_missing(path: str | os.PathLike) -> list[MissingRun]:
    """Return the runs of missing.csv."""
    return [MissingRun(**row) for row in with_texts(read_csv(path), "why").to_dict("records")]


def write_formats(
    name: str,
    csv: str | os.PathLike,
    missing: Sequence[MissingRun],
    tasks: Tasks,
    files: Mapping[str, str | os.PathLike],
) -> None:
    """Write a table in all formats for readers.

    Args:
        name: one of VIEWS.
        csv: the table.
        missing: runs that were asked for and are not in it.
        tasks: settings of the tasks.
        files: where `markdown`, `latex` and `html` go.
    """
    table, text = read_csv(csv), TABLES[name]
    views = VIEWS[name](table, missing, tasks)
    lead = _LEADS[name](table) if name in _LEADS else text.lead
    write_text(files["markdown"], markdown(views, lead, text.empty))
    write_text(files["latex"], latex(views, lead, text.empty))
    write_text(files["html"], html_page(text.title, views, lead, text.empty))
