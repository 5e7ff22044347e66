from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from selfdistill.reporting.render.table import Cell, Row, View, html_page, html_table, latex, markdown

VIEW = View(
    "maths & <logic>, 50 %",
    "Variant",
    ["a_1", "b (out)"],
    [
        Row("one|two", [Cell("78.0", "[74, 81]", "paper 77.0", mark="best", order=78.0), Cell("5.0", quiet=True)]),
        Row(
            "three",
            [Cell("77.9", "[70, 80]", "paper 90.1", True, "tied", order=77.9), Cell("4.0", mark="best")],
            "2 of 3 seeds",
        ),
        Row("four", absent="not run"),
    ],
    ["four, seed 0: failed: <oom>"],
)


class Page(HTMLParser):
    """Tags with their attributes, and texts."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_markdown():
    assert markdown([VIEW], "How to read it.", "none").splitlines() == [
        "How to read it.",
        "",
        "### maths & \\<logic>, 50 %",
        "",
        "| Variant | a_1 | b (out) |",
        "|---|---:|---:|",
        "| one\\|two | **78.0** [74, 81] (paper 77.0) | 5.0 |",
        "| three (2 of 3 seeds) | 77.9≈ [70, 80] (paper 90.1!) | **4.0** |",
        "| four | not run | not run |",
        "",
        "* four, seed 0: failed: \\<oom>",
    ]


def test_latex():
    text = latex([VIEW], "How to read it: ≈.", "none")
    assert text.startswith("% Needs \\usepackage{booktabs}. How to read it")
    assert "\\caption{maths \\& $<$logic$>$, 50 \\%}" in text
    assert "\\begin{tabular}{lrr}\n\\toprule\nVariant & a\\_1 & b (out) \\\\\n\\midrule" in text
    assert "one$|$two & \\textbf{78.0} & 5.0 \\\\" in text
    assert " & {\\footnotesize paper 77.0} & {\\footnotesize } \\\\" in text
    assert "three (2 of 3 seeds) & \\underline{77.9} & \\textbf{4.0} \\\\" in text
    assert "four & \\multicolumn{2}{c}{\\emph{not run}} \\\\" in text
    assert "{\\footnotesize four, seed 0: failed: $<$oom$>$}" in text
    assert text.count("\\begin{") == text.count("\\end{") == 2
    rows = [line for line in text.splitlines() if line.endswith(" \\\\") and "multicolumn" not in line]
    assert {line.count(" & ") for line in rows} == {2}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\\b", "a\\textbackslash{}b"),
        ("x^2~{}#$", "x\\textasciicircum{}2\\textasciitilde{}\\{\\}\\#\\$"),
        ("50 %\n\r\u2028\\end{table}", "50 \\% \\textbackslash{}end\\{table\\}"),
        ("a\x00b\x1b\u202e", "a\\textbackslash{}u0000b\\textbackslash{}u001b\\textbackslash{}u202e"),
        ("Gr\u00f6\u00dfe \u2264 1\u00a0\u00b5", 'Gr\\"{o}\\ss{}e $\\le$ 1~$\\mu$'),
        ("\u65e5 \U0001f600", "[U+65E5] [U+1F600]"),
        ("`-z AZ ?'", "`-z AZ ?'"),
    ],
)
def test_latex_escapes(text, expected):
    assert f"\\caption{{{expected}}}" in latex([View(text, "V", ["c"], [])], "", "")


def test_no_row_of_latex_begins_with_an_argument_of_the_one_before():
    lines = latex([View("t", "V", ["c"], [Row("[x]", [Cell("1")]), Row("*", [Cell("2")])])], "", "").splitlines()
    assert "{}[x] & 1 \\\\" in lines
    assert "{}* & 2 \\\\" in lines


#: In a cell, a label, a title and a remark of Markdown; each is to be shown as it is, spaces at line breaks.
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "a | b || c",
    "a\\| b \\\\",
    "one\ntwo\r\nthree\u2028four",
    "[click](javascript:alert(1)) ![i](http://x) [a][b] <http://x>",
    "[a]: http://x.example",
    "``code` and **bold** _em_ __init__ ~~s~~ $x$",
    "&lt;b&gt; &#60; &amp",
    "# heading",
    "> quote",
    "1. list",
    "- list",
    "+ list",
    "=== ---",
    "--- | ---",
    "www.example.com and https://x.example/?a=1",
    "-0.5",
    "[38.1, 40.2] p < 0.001",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_any_text_as_it_is(text):
    view = View(text, text, [text], [Row(text, [Cell(text, text, text)]), Row("x", absent=text)], [text])
    tokens = (
        MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(markdown([view], "Lead.", ""))
    )
    assert not [t for t in tokens if t.type.startswith(("html", "blockquote", "ordered", "code", "fence", "hr"))]
    inside = [child for token in tokens for child in token.children or ()]
    assert {child.type for child in inside} <= {"text", "text_special"}
    shown = ["".join(child.content for child in token.children) for token in tokens if token.type == "inline"]
    plain = " ".join(text.split())
    assert shown == ["Lead.", plain, plain, plain, plain, f"{plain} {plain} ({plain})", "x", plain, plain]


def test_html_is_escaped_and_sortable():
    html = str(html_table(VIEW))
    assert "<logic>" not in html
    assert "<oom>" not in html
    page = Page(html)
    assert [attrs["aria-sort"] for tag, attrs in page.tags if tag == "th" and attrs["scope"] == "col"] == ["none"] * 3
    assert sum(tag == "button" for tag, _ in page.tags) == 3
    cells = [attrs for tag, attrs in page.tags if tag == "td"]
    assert [attrs.get("data-order") for attrs in cells] == ["78.0", None, "77.9", None, None]
    assert [attrs["class"] for attrs in cells] == ["best", " uncounted", "tied", "best", "absent"]
    assert cells[-1]["colspan"] == "2"
    assert "four, seed 0: failed: <oom>" in page.text
    assert "paper 90.1 !" in page.text


def test_the_page_holds_its_tables_and_loads_nothing():
    html = html_page("Tables", [VIEW, VIEW], "How.", "none")
    page = Page(html)
    assert sum(tag == "table" for tag, _ in page.tags) == 2
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert not [attrs for _, attrs in page.tags if "src" in attrs or "href" in attrs]
    assert html == html_page("Tables", [VIEW, VIEW], "How.", "none")


def test_where_there_is_nothing_that_is_said():
    assert markdown([], "How.", "Nothing was run.") == "Nothing was run.\n"
    assert latex([], "How.", "Nothing was run.") == "% Nothing was run.\n"
    text = Page(html_page("T", [], "How.", "Nothing was run.")).text
    assert "Nothing was run." in text
    assert "How." not in text
