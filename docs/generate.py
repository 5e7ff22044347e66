"""Writes what is made from the code, pages, schemas and tables: `make docs`. A test holds them in step."""

from pathlib import Path

from from_code.claims import table_of_claims
from from_code.drawings import drawing_of_rooms, drawing_of_rules
from from_code.methods import measures, published_values
from from_code.metrics import metrics_page
from from_code.passages import ROOT, with_passage
from from_code.settings import defaults_file, objective_keys, objectives_schema, preset_switches, run_keys, run_schema

from selfdistill.methods.setting import fields
from selfdistill.study.run_settings import RunSettings

DOCS = ROOT / "docs"
SCHEMAS = ROOT / "workflow" / "schemas"


def whole_pages() -> dict[Path, str]:
    """Returns the pages that are made as a whole; Snakemake, which draws its rules, reads some of them."""
    return {
        DOCS / "metrics.md": metrics_page(),
        SCHEMAS / "objectives.schema.yaml": objectives_schema(),
        SCHEMAS / "run.schema.yaml": run_schema(),
        ROOT / "config" / "defaults.yaml": defaults_file(),
    }


def pages() -> dict[Path, str]:
    """Returns every page that is made, or holds a passage that is, by its path."""
    made = whole_pages()
    passages = {
        DOCS / "architecture.md": {"rooms": drawing_of_rooms, "rules": drawing_of_rules},
        DOCS / "claims.md": {"claims": table_of_claims},
        DOCS / "methods.md": {"published": published_values},
        ROOT / "config" / "README.md": {
            "run": lambda: run_keys({field.name for field in fields(RunSettings)} - {"verl"}),
            "verl": lambda: run_keys({"verl"}),
            "presets": preset_switches,
            "objectives": objective_keys,
            "preflight": measures,
        },
    }
    for path, parts in passages.items():
        made[path] = path.read_text(encoding="utf-8")
        for name, text in parts.items():
            made[path] = with_passage(made[path], name, text())
    return made


if __name__ == "__main__":
    for make in (whole_pages, pages):
        for path, text in make().items():
            path.write_text(text, encoding="utf-8")
