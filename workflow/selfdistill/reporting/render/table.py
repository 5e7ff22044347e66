"""Writes tables for readers: one shape, `View`, as Markdown, as LaTeX (booktabs) and as HTML that sorts."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from selfdistill.reporting.render.html import environment, render
from selfdistill.reporting.render.texts import TIED_SIGN
from selfdistill.texts import one_line

BEST, TIED = "best", "tied"


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: the value.
        detail: its interval.
        beside: what it is compared with.
        outside: that this does not fit.
        mark: BEST, TIED or nothing.
        quiet: of a benchmark that never counts.
        order: what a sort goes by (None: the text).
    """

    text: str
    detail: str = ""
    beside: str = ""
    outside: bool = False
    mark: str = ""
    quiet: bool = False
    order: float | None = None


@dataclass(frozen=True)
class Row:
    """label; its cells, one a column, or none where `absent` says why ("not run"); note: small print to the label.

    A `total` is of the rows before it, and stays at the end.
    """

    label: str
    cells: Sequence[Cell] = ()
    note: str = ""
    absent: str = ""
    total: bool = False


@dataclass(frozen=True)
class View:
    """A table: title, title of the first column, titles of the others, rows, and remarks below; prose: of sentences."""

    title: str
    head: str
    columns: list[str]
    rows: Sequence[Row]
    remarks: Sequence[str] = ()
    prose: bool = False


def markdown(views: Sequence[View], lead: str, empty: str) -> str:
    """All tables with their titles, below a line on how to read them; `empty` is what is said where there is none."""
    if not views:
        return f"{empty}\n"
    return "\n".join([f"{lead}\n", *(_markdown(view) for view in views)])


def latex(views: Sequence[View], lead: str, empty: str) -> str:
    r"""Writes views as tables for \input, each with its title as caption; they need \usepackage{booktabs}."""
    if not views:
        return f"% {empty}\n"
    return "\n".join([f"% Needs \\usepackage{{booktabs}}. {one_line(lead)}\n", *(_latex(view) for view in views)])


def html_table(view: View) -> Markup:
    """One table, to be put in a page; the page includes sortable.css and, once, sortable.js (`html_page` does)."""
    return Markup(environment().get_template("sortable_table.html").render(view=view))


def html_page(title: str, views: Sequence[View], lead: str, empty: str) -> str:
    """Return all tables as a page of their own."""
    tables = [(view.title, html_table(view)) for view in views]
    return render("tables.html", title=title, lead=lead if views else empty, tables=tables)


def _markdown(view: View) -> str:
    lines = [f"### {markdown_text(view.title)}", ""]
    lines.append(f"| {' | '.join(map(markdown_text, (view.head, *view.columns)))} |")
    lines.append("|---" + ("|---" if view.prose else "|---:") * len(view.columns) + "|")
    for row in view.rows:
        cells = [_markdown_cell(cell) for cell in row.cells] or [markdown_text(row.absent)] * len(view.columns)
        label = f"{row.label} ({row.note})" if row.note else row.label
        lines.append(f"| {' | '.join([markdown_text(label), *cells])} |")
    if view.remarks:
        lines += ["", *(f"* {markdown_text(remark)}" for remark in view.remarks)]
    return "\n".join(lines) + "\n"


def _markdown_cell(cell: Cell) -> str:
    text = markdown_text(cell.text)
    value = f"**{text}**" if cell.mark == BEST else f"{text}{TIED_SIGN}" if cell.mark == TIED else text
    beside = cell.beside and markdown_text(f"({cell.beside}{'!' if cell.outside else ''})")
    return " ".join(filter(None, (value, markdown_text(cell.detail), beside)))


def _latex(view: View) -> str:
    columns = [latex_text(title) for title in (view.head, *view.columns)]
    lines = ["\\begin{table}", "\\centering", f"\\caption{{{latex_text(view.title)}}}"]
    kind = f"p{{{0.85 / len(view.columns):.2f}\\linewidth}}" if view.prose else "r"
    lines += [f"\\begin{{tabular}}{{l{kind * len(view.columns)}}}", "\\toprule", f"{' & '.join(columns)} \\\\"]
    lines.append("\\midrule")
    for row in view.rows:
        label = _first_cell(f"{row.label} ({row.note})" if row.note else row.label)
        if row.absent:
            span = f"\\multicolumn{{{len(view.columns)}}}{{c}}{{\\emph{{{latex_text(row.absent)}}}}}"
            lines.append(f"{label} & {span} \\\\")
            continue
        lines.append(f"{' & '.join([label, *map(_latex_cell, row.cells)])} \\\\")
        for part in ("detail", "beside"):  # lines of their own, or no page would be wide enough
            if any(getattr(cell, part) for cell in row.cells):
                small = [f"{{\\footnotesize {latex_text(getattr(cell, part))}}}" for cell in row.cells]
                lines.append(f"{' & '.join(['', *small])} \\\\")
    lines += ["\\bottomrule", "\\end{tabular}"]
    lines += [f"\\\\[.5ex]{{\\footnotesize {latex_text(remark)}}}" for remark in view.remarks]
    return "\n".join([*lines, "\\end{table}"]) + "\n"


def _latex_cell(cell: Cell) -> str:
    text = latex_text(cell.text)
    return f"\\textbf{{{text}}}" if cell.mark == BEST else f"\\underline{{{text}}}" if cell.mark == TIED else text


def _first_cell(text: str) -> str:
    r"""The text at the beginning of a row, where \\ before it would take brackets or a star for its argument."""
    return f"{{}}{latex_text(text)}" if text.startswith(("[", "*")) else latex_text(text)


#: In Markdown (CommonMark with GitHub's tables, strikes and addresses) these begin something, where they stand so.
_MARKDOWN = re.compile(
    r"[\\`*~|$]|!(?=\[)|\](?=[(\[:])|<(?=[A-Za-z/!?])|&(?=#?\w+;)"
    r"|_(?![A-Za-z0-9])|(?<![A-Za-z0-9])_|:(?=//)|(?<=www)\."
)
#: And these at the beginning of a block: headings, quotes, lists, rules.
_MARKDOWN_BLOCK = re.compile(r"(?:\d+(?=[.)](?:\s|$))|(?=[#>=]|[+-](?:\s|$)|---))")


def markdown_text(text: str) -> str:
    """A text that Markdown shows as it is, in one line, in a cell or a block of its own: no HTML, no link, no table."""
    plain = _MARKDOWN.sub(r"\\\g<0>", one_line(text).strip())
    begins = _MARKDOWN_BLOCK.match(plain)
    return f"{begins[0]}\\{plain[begins.end() :]}" if begins else plain


_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_LATEX |= {sign: f"${sign}$" for sign in "<>|"}
_LATEX |= {sign: f"\\{sign}" for sign in "&%$#_{}"}
_LATEX |= {TIED_SIGN: r"$\approx$", "\u2013": "--", "\u2014": "---", "\u2212": "$-$", "\u00a0": "~", "\u202f": "~"}
_LATEX |= {"\u00d7": r"$\times$", "\u00b1": r"$\pm$", "\u00b0": r"$^\circ$", "\u00b5": r"$\mu$", "\u00b7": r"$\cdot$"}
_LATEX |= {"\u2192": r"$\to$", "\u2264": r"$\le$", "\u2265": r"$\ge$", "\u2026": r"\ldots{}", "\u2022": r"$\bullet$"}
_LATEX |= {"\u2018": "`", "\u2019": "'", "\u201c": "``", "\u201d": "''"}
_LATEX |= {"\u00df": r"\ss{}", "\u00e6": r"\ae{}", "\u00c6": r"\AE{}", "\u00f8": r"\o{}", "\u00d8": r"\O{}"}
#: Combining accents that every font of LaTeX has.
_COMBINING = "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327"
_ACCENTS = dict(zip(_COMBINING, "`'^~=u.\"rHvc", strict=True))
_NOT_PLAIN = re.compile(r"[^ !-;=?-\[\]`-z]|[#$%&]")


def latex_text(text: str) -> str:
    """Return a text that LaTeX sets as it is, in one line; characters that its fonts lack are told by their number."""
    return _NOT_PLAIN.sub(lambda found: _latex_character(found[0]), one_line(text))


def _latex_character(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    letter, *accents = unicodedata.normalize("NFD", character)
    if letter.isascii() and letter.isalpha() and len(accents) == 1 and accents[0] in _ACCENTS:
        return f"\\{_ACCENTS[accents[0]]}{{{letter}}}"
    return f"[U+{ord(character):04X}]"
