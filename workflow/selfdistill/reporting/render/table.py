"""Tables for readers: one shape, `View`, written as Markdown, as LaTeX (booktabs) and as HTML that sorts."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from selfdistill.files import write_text
from selfdistill.reporting.render.html import environment, render

BEST, TIED = "best", "tied"
#: Behind a value that is tied with the best, in texts.
TIED_SIGN = "≈"


@dataclass(frozen=True)
class Cell:
    """text: the value; detail: its interval; beside: what it is compared with, and outside: that this does not fit;
    mark: BEST, TIED or nothing; quiet: of a benchmark that never counts; order: what a sort goes by (None: the text).
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
    """A table: title, title of the first column, titles of the others, rows, and remarks below."""

    title: str
    head: str
    columns: list[str]
    rows: Sequence[Row]
    remarks: Sequence[str] = field(default=())


def markdown(views: Sequence[View], lead: str, empty: str) -> str:
    """All tables with their titles, below a line on how to read them; `empty` is what is said where there is none."""
    if not views:
        return f"{empty}\n"
    return "\n".join([f"{lead}\n", *(_markdown(view) for view in views)])


def latex(views: Sequence[View], lead: str, empty: str) -> str:
    r"""The same as tables for \input, each with its title as caption; they need \usepackage{booktabs}."""
    if not views:
        return f"% {empty}\n"
    return "\n".join([f"% Needs \\usepackage{{booktabs}}. {lead}\n", *(_latex(view) for view in views)])


def html_table(view: View) -> Markup:
    """One table, to be put in a page; the page includes sortable.css and, once, sortable.js (`html_page` does)."""
    return Markup(environment().get_template("sortable_table.html").render(view=view))


def html_page(title: str, views: Sequence[View], lead: str, empty: str) -> str:
    """All tables as a page of their own."""
    tables = [(view.title, html_table(view)) for view in views]
    return render("tables.html", title=title, lead=lead if views else empty, tables=tables)


def write_views(
    files: Mapping[str, str], prefix: str, title: str, views: Sequence[View], lead: str, empty: str
) -> None:
    """Write the tables in all formats; files: has `prefix` + "markdown", "latex" and "html" (a rule's output)."""
    write_text(files[f"{prefix}markdown"], markdown(views, lead, empty))
    write_text(files[f"{prefix}latex"], latex(views, lead, empty))
    write_text(files[f"{prefix}html"], html_page(title, views, lead, empty))


def _markdown(view: View) -> str:
    lines = [f"### {view.title}", ""]
    lines.append(f"| {_piped(view.head)} | {' | '.join(map(_piped, view.columns))} |")
    lines.append("|---" + "|---:" * len(view.columns) + "|")
    for row in view.rows:
        cells = [_markdown_cell(cell) for cell in row.cells] or [row.absent] * len(view.columns)
        label = f"{row.label} ({row.note})" if row.note else row.label
        lines.append(f"| {_piped(label)} | {' | '.join(map(_piped, cells))} |")
    if view.remarks:
        lines += ["", *(f"* {remark}" for remark in view.remarks)]
    return "\n".join(lines) + "\n"


def _markdown_cell(cell: Cell) -> str:
    value = f"**{cell.text}**" if cell.mark == BEST else f"{cell.text}{TIED_SIGN}" if cell.mark == TIED else cell.text
    beside = cell.beside and f"({cell.beside}{'!' if cell.outside else ''})"
    return " ".join(filter(None, (value, cell.detail, beside)))


def _piped(text: str) -> str:
    return text.replace("|", "\\|")


def _latex(view: View) -> str:
    columns = [_escaped(title) for title in (view.head, *view.columns)]
    lines = ["\\begin{table}", "\\centering", f"\\caption{{{_escaped(view.title)}}}"]
    lines += [f"\\begin{{tabular}}{{l{'r' * len(view.columns)}}}", "\\toprule", f"{' & '.join(columns)} \\\\"]
    lines.append("\\midrule")
    for row in view.rows:
        label = _escaped(f"{row.label} ({row.note})" if row.note else row.label)
        if row.absent:
            span = f"\\multicolumn{{{len(view.columns)}}}{{c}}{{\\emph{{{_escaped(row.absent)}}}}}"
            lines.append(f"{label} & {span} \\\\")
            continue
        lines.append(f"{' & '.join([label, *map(_latex_cell, row.cells)])} \\\\")
        for part in ("detail", "beside"):  # lines of their own, or no page would be wide enough
            if any(getattr(cell, part) for cell in row.cells):
                small = [f"{{\\footnotesize {_escaped(getattr(cell, part))}}}" for cell in row.cells]
                lines.append(f"{' & '.join(['', *small])} \\\\")
    lines += ["\\bottomrule", "\\end{tabular}"]
    lines += [f"\\\\[.5ex]{{\\footnotesize {_escaped(remark)}}}" for remark in view.remarks]
    return "\n".join([*lines, "\\end{table}"]) + "\n"


def _latex_cell(cell: Cell) -> str:
    text = _escaped(cell.text)
    return f"\\textbf{{{text}}}" if cell.mark == BEST else f"\\underline{{{text}}}" if cell.mark == TIED else text


_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_LATEX |= {"<": "$<$", ">": "$>$", TIED_SIGN: r"$\approx$", "\u2013": "--", "\u2212": "$-$"}
_LATEX |= {sign: f"\\{sign}" for sign in "&%$#_{}"}


def _escaped(text: str) -> str:
    return re.sub("|".join(map(re.escape, _LATEX)), lambda match: _LATEX[match[0]], text)
