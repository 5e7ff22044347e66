"""Writes the data report as a table (CSV) and as a page (HTML)."""

import dataclasses
import os
from collections.abc import Sequence

import pandas as pd

from selfdistill.reporting.render.csv_tables import write_csv
from selfdistill.reporting.render.html import render, write_page
from selfdistill.tasks.data_report import Finding


def write_report(findings: Sequence[Finding], csv: str | os.PathLike, html: str | os.PathLike) -> None:
    """Write findings: one row each, and one section a file."""
    table = pd.DataFrame([dataclasses.asdict(finding) for finding in findings]).astype({"value": "Int64"})
    write_csv(csv, table)
    sections: dict[str, list[Finding]] = {}
    for finding in findings:
        sections.setdefault(f"{finding.dataset}/{finding.split}", []).append(finding)
    write_page(html, render("data.html", title="What is known of the data", sections=sections))
