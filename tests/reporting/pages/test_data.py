import pandas as pd
from parsed_page import Page

from selfdistill.reporting.pages.data import write_report
from selfdistill.tasks.data_report import Finding

FOUND = [
    Finding("a", "train", "", "rows", 12),
    Finding("a", "train", "", "origin", None, "a <b> & c"),
    Finding("b", "val", "x-3", "rows", 0),
]


def test_findings_become_a_table_and_a_page_with_a_section_a_file(tmp_path):
    write_report(FOUND, tmp_path / "report.csv", tmp_path / "report.html")
    table = pd.read_csv(tmp_path / "report.csv")
    assert list(table["value"].fillna(-1)) == [12, -1, 0]
    html = (tmp_path / "report.html").read_text()
    parsed = Page(html)
    assert html.index("<h2>a/train</h2>") < html.index("<h2>b/val</h2>")
    assert html.count("<table") == 2
    assert "a <b> & c" in parsed.text
    assert "rowsx-30" in parsed.text.replace(" ", "")
    assert "rows12" in parsed.text.replace(" ", "")
    assert "None" not in parsed.text
