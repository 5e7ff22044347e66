"""Reads how each table is to be read (templates/tables.yaml), also for captions while Snakemake plans."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

#: Behind a value that is tied with the best.
TIED_SIGN = "≈"
DASH = "\u2013"
#: The methods that only distil, and the contrastive plug-ins: these may collapse, and nothing is done about it.
SHOWN_AS_THEY_ARE = ("opsd", "sdpo", "opsd_ectr", "rlsd_ectr")


@dataclass(frozen=True)
class TableText:
    """Holds what is said of a table: see templates/tables.yaml."""

    title: str
    lead: str
    columns: str = ""
    empty: str = "Nothing was run."
    category: str = "Tables"

    @property
    def caption(self) -> str:
        """Returns what the report says of it."""
        return f"{self.lead} {self.columns}".strip()


def demonstration(tasks: Sequence[str], notes: Sequence[str] = ()) -> str:
    """Returns what ends every caption where some tasks have generated problems, in reStructuredText; else nothing.

    Args:
        tasks: those that do.
        notes: what is to be said of single tasks besides.
    """
    if not tasks:
        return ""
    said = (
        f"Generated problems and small models ({', '.join(tasks)}) are a demonstration of the pipeline, **not "
        "evidence for the paper's ranking of methods**. Where a method's training collapses, the collapse is shown."
    )
    return " ".join([said, *notes])


_FILE = yaml.safe_load((Path(__file__).parents[1] / "templates/tables.yaml").read_text(encoding="utf-8"))
#: Said of main.csv where the paper's values stand beside ours, where its logic results are among them, and where marks
#: are of single runs, and of two years of one competition.
PAPER, RATE, THESE_RUNS, CONTAMINATION = (_FILE[name] for name in ("paper", "rate", "these_runs", "contamination"))
TABLES = {
    name: TableText(**{key: value.format(**_FILE["phrases"]) for key, value in texts.items()})
    for name, texts in _FILE["tables"].items()
}
