"""The data report as a table (CSV) and as a page (HTML)."""

import dataclasses
import os
from collections.abc import Sequence

import pandas as pd

from selfdistill.files import write_text
from selfdistill.reporting.tables import write_csv
from selfdistill.tasks.data_report import Finding

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Data</title>
<style>
body {{ font-family: sans-serif; margin: 2em; color: #222 }}
table {{ border-collapse: collapse; margin-bottom: 2em }}
th, td {{ border-bottom: 1px solid #ddd; padding: 0.25em 0.75em; text-align: left; vertical-align: top }}
td:nth-child(3) {{ text-align: right; font-variant-numeric: tabular-nums }}
</style>
</head>
<body>
<h1>What is known of the data</h1>
{tables}
</body>
</html>
"""


def write_report(findings: Sequence[Finding], csv: str | os.PathLike, html: str | os.PathLike) -> None:
    """Write findings: one row each, and one section a file."""
    table = pd.DataFrame([dataclasses.asdict(finding) for finding in findings]).astype({"value": "Int64"})
    write_csv(csv, table)
    parts = []
    for (dataset, split), part in table.groupby(["dataset", "split"], sort=False):
        shown = part[["finding", "data_source", "value", "note"]].to_html(index=False, border=0, na_rep="")
        parts.append(f"<h2>{dataset}/{split}</h2>\n{shown}")  # names of a checked pattern; to_html escapes the rest
    write_text(html, _PAGE.format(tables="\n".join(parts)))
