"""Writes what is made from the code, pages, schemas and tables: `make docs`. A test holds them in step."""

from pathlib import Path

from from_code import findings
from from_code.claims import table_of_claims
from from_code.drawings import drawing_of_packages, drawing_of_rules
from from_code.methods import measures, published_values
from from_code.metrics import metrics_page
from from_code.papers import claims_of, claims_on_searches, methods_of, tables_of_report
from from_code.passages import ROOT, with_passage
from from_code.settings import (
    defaults_file,
    discovery_keys,
    objective_keys,
    objectives_schema,
    preset_switches,
    run_keys,
    run_schema,
)

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
    made = whole_pages() | {
        DOCS / "figures" / "packages.svg": drawing_of_packages(),
        DOCS / "figures" / "rules.svg": drawing_of_rules(),
    }
    passages = {
        DOCS / "claims.md": {"claims": table_of_claims},
        DOCS / "findings.md": findings.passages(),
        DOCS / "methods.md": {"published": published_values},
        DOCS / "outputs.md": {"tables": tables_of_report},
        DOCS / "papers/opd.md": {
            "opd_methods": lambda: methods_of(("opd", "opd_divergence")),
            "opd_claims": lambda: claims_of("OPD-"),
        },
        DOCS / "papers/rlcsd.md": {
            "rlcsd_methods": lambda: methods_of(("rlcsd", "opsd_ectr", "rlsd_ectr")),
            "rlcsd_claims": lambda: claims_of("C"),
        },
        DOCS / "papers/rlsd.md": {
            "rlsd_methods": lambda: methods_of(("rlsd", "rlsd_ectr")),
            "rlsd_claims": lambda: claims_of("RLSD-"),
        },
        DOCS / "papers/sdpo.md": {
            "sdpo_methods": lambda: methods_of(("sdpo", "sdpo_official")),
            "sdpo_claims": lambda: claims_of("SDPO-"),
        },
        DOCS / "papers/tc_rlsd.md": {
            "tc_rlsd_methods": lambda: methods_of(("rlsd_add", "rlsd_hybrid")),
            "tc_rlsd_claims": lambda: claims_of("TC-"),
        },
        DOCS / "papers/test_time.md": {"test_time_claims": claims_on_searches},
        ROOT / "config" / "README.md": {
            "run": lambda: run_keys({field.name for field in fields(RunSettings)} - {"verl"}),
            "verl": lambda: run_keys({"verl"}),
            "presets": preset_switches,
            "objectives": objective_keys,
            "preflight": measures,
            "discovery": discovery_keys,
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
