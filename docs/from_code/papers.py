"""Passages of the papers' pages and of the page on outputs: methods and claims of a paper, tables of a report."""

from collections.abc import Sequence

from selfdistill.methods.catalogue import shipped
from selfdistill.reporting.claims.catalogue import CLAIMS
from selfdistill.reporting.claims.discovery import CLAIMS as SEARCH_CLAIMS
from selfdistill.reporting.render.texts import TABLES

NONE = "\u2013"  # a dash


def methods_of(names: Sequence[str]) -> str:
    """Returns a table of shipped methods, with the papers that each names."""
    lines = ["| Method | What it does | Papers |", "|---|---|---|"]
    for name in names:
        kind = shipped()[name]
        lines.append(f"| `{name}` | {kind.description} | {'; '.join(kind.papers) or NONE} |")
    return "\n".join(lines)


def claims_of(prefix: str) -> str:
    """Returns the table of the claims whose name begins so: what is said, and what was published."""
    lines = ["| Claim | Version | The paper says | Published |", "|---|---|---|---|"]
    for claim in CLAIMS:
        if claim.name.startswith(prefix):
            numbers = "; ".join(dict.fromkeys(filter(None, claim.published.values()))) or NONE
            versions = ", ".join(filter(None, claim.versions)) or NONE
            lines.append(f"| **{claim.name}** | {versions} | {claim.sentence} | {_cell(numbers)} |")
    return "\n".join(lines)


def claims_on_searches() -> str:
    """Returns the table of the claims on searches at test time."""
    lines = ["| Claim | Questions | The paper says | Published |", "|---|---|---|---|"]
    lines += [f"| **{c.name}** | {c.set} | {c.sentence} | {_cell(c.published)} |" for c in SEARCH_CLAIMS]
    return "\n".join(lines)


def tables_of_report() -> str:
    """Returns the table of the tables that a report may have."""
    lines = ["| File | What it is |", "|---|---|"]
    lines += [f"| `{name}.csv` | {text.title} |" for name, text in TABLES.items()]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
