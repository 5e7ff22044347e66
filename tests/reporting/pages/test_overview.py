import base64
import dataclasses
import itertools
import re
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
from parsed_page import Page

from selfdistill.errors import UserError
from selfdistill.reporting.claims.catalogue import CLAIMS
from selfdistill.reporting.claims.table import COLUMNS
from selfdistill.reporting.pages.overview import overview_page
from selfdistill.reporting.read.accuracy import gather_scores
from selfdistill.reporting.read.runs import MissingRun
from selfdistill.reporting.render.csv_tables import write_csv
from selfdistill.reporting.tables.accuracy import main_table
from selfdistill.reporting.tables.audit import audit_table
from selfdistill.reporting.tables.costs import costs_table

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="72pt" height="9pt"><text>{}</text></svg>'


def claim(name="C1", verdict="reproduced", **about):
    row = dict.fromkeys(COLUMNS, "") | {"claim": name, "part": "p", "statement": f"{name} says", "task": "knights"}
    row |= {"model": "tiny-a", "variant": "rlcsd", "statistic": "rlcsd - grpo", "unit": "points", "verdict": verdict}
    row |= {"estimate": 1.25, "low": 0.5, "high": 2.0, "n_seeds": 2, "why": f"why {name}"}
    row |= {"low_kind": -1.5, "high_kind": 4.0, "needs": 4.0, "corrected": True, "of_kind": verdict}
    return row | about


CLAIMED = pd.DataFrame(
    [
        claim(figure="figures/knights/dynamics.svg"),
        claim("C1", "inconclusive", figure="figures/knights/contrast.svg", why="the interval lies partly above 0"),
        claim("C2", "not reproduced", figure="figures/knights/tokens.svg", of_kind="inconclusive", corrected=False),
        claim("C2", "not run", estimate=float("nan"), unit="", why="grpo: failed: <no> memory", n_seeds=0),
    ]
)
MISSING = [MissingRun("knights", "tiny-a", "sdpo", seed, "sdpo", "failed", "out of <b>") for seed in (1, 0)]
FINDINGS = pd.DataFrame(
    [
        ("knights", "val", None, "origin", None, "generated: knights, seed 7"),
        ("knights", "val", None, "rows", 300, None),
        ("knights", "val", "knights-3", "rows", 100, None),
        ("knights", "val", None, "empty prompts", 0, None),
        ("knights", "val", None, "characters per answer, longest", 40, None),
        ("knights", "val", None, "problems also in knights-train, exactly", 3, "a (= b)"),
    ],
    columns=["dataset", "split", "data_source", "finding", "value", "note"],
).astype({"value": "Int64"})


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "figures"
    paths = [folder / "dynamics/tiny-a.svg", folder / "knights/contrast.svg"]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_text(SVG.format(path.stem))
    return paths


@pytest.fixture(scope="module")
def parts(seeded_study, figures):
    groups = gather_scores(seeded_study.runs, seeded_study.tasks)
    return {
        "claims": CLAIMED,
        "main": main_table(groups, seeded_study.tasks),
        "audit": audit_table(),
        "costs": costs_table(seeded_study.runs),
        "findings": FINDINGS,
        "figures": figures,
        "demonstration": True,
    }


def page_of(study, parts, missing=MISSING, runs=None, **changes):
    html = overview_page(study.runs if runs is None else runs, missing, study.tasks, **{**parts, **changes})
    return html, Page(html)


@pytest.fixture(scope="module")
def page(seeded_study, parts):
    return page_of(seeded_study, parts)


def section(parsed, name):
    return " ".join(parsed.text_of[name].split())


def test_claims_come_first_a_row_each_with_the_papers_number(page):
    _, parsed = page
    sections = ("claims", "main", "figures", "missing", "audit", "runs", "data", "costs", "workflow", "limits")
    assert [name for name in parsed.ids if name in sections] == list(sections)
    text = section(parsed, "claims")
    assert "2 of 2 claims open" in text
    (c1, c2), rows = (next(c for c in CLAIMS if c.name == name) for name in ("C1", "C2")), text.split("Part by part")[0]
    for claim in (c1, c2):
        assert f"{claim.name} {claim.sentence}v1 {claim.published['v1']}" in rows
    assert "knights: +1.2 [+0.5, +2.0] points" in rows
    assert "of 2 parts: 1 reproduced, 1 inconclusive (1 interval too wide); 4 seeds would decide it" in rows
    assert "1 of them by themselves only, not beside the others (Holm)" in rows
    assert "These are toys" in text
    assert f"{len(CLAIMS) - 2} claims not run" in text


def test_a_judged_part_has_estimate_interval_verdict_and_reason(page):
    _, parsed = page
    text = section(parsed, "claim/C1")
    assert "C1 saysknights, tiny-a+1.2 [+0.5, +2.0] pointsrlcsd - grpo; 2 seedsreproducedreproducedwhy C1below" in text
    assert "not reproducedby itself, not beside the other partsinconclusive" in section(parsed, "claim/C2")


def test_parts_that_were_not_run_say_why(page):
    _, parsed = page
    text = section(parsed, "claim/C2")
    assert "1 part not run C2 says (knights, tiny-a): grpo: failed: <no> memory" in text
    assert text.count("memory") == 1  # and not among the judged ones


def test_a_claim_links_to_its_figure_on_the_page_or_on_the_site(page):
    _, parsed = page
    assert "#figure/figures/dynamics/tiny-a.svg" in parsed.links  # that of the task, which is the model's here
    assert "#figure/figures/knights/contrast.svg" in parsed.links
    assert "figures/knights/tokens.svg" in parsed.marked
    assert not any("tokens" in link for link in parsed.links)


def test_reasons_of_missing_seeds_are_left_to_their_section(seeded_study, parts):
    why = (
        "the interval lies partly above 1 (p = 0.3); rlcsd: 2 of 3 seeds (seed 2 failed: no memory, seed 3 not run: x)"
    )
    _, parsed = page_of(seeded_study, parts, claims=pd.DataFrame([claim(why=why)]))
    text = section(parsed, "claim/C1")
    assert "partly above 1 (p = 0.3); rlcsd: 2 of 3 seeds" in text
    assert "no memory" not in text


def test_links_lead_somewhere_and_ids_are_unique(page):
    html, parsed = page
    assert len(parsed.ids) == len(set(parsed.ids))
    assert all(link.startswith("#") for link in parsed.links)
    assert {unquote(link).removeprefix("#") for link in parsed.links} <= set(parsed.ids)
    assert all(value.startswith("data:") for _, name, value in parsed.attributes if name in ("src", "srcset"))
    assert not re.search(r"https?:|@import|url\(", html)


def test_runs_and_what_is_missing_are_named(page, seeded_study):
    _, parsed = page
    opening = parsed.text.split("Claims Main table")[0]
    assert "32 runs of self-distillation" in opening
    assert "4 variants, 2 seeds. 2 runs of the matrix are missing: which, and why." in opening
    assert "Not evidence for the paper's ranking" in opening
    assert "sdpoknights, tiny-a0, 1failedout of <b>" in section(parsed, "missing")
    rows = section(parsed, "runs")
    for run in seeded_study.runs:
        assert run.name in rows
        assert f"results.html#run/{run.task}/{run.model}/{run.variant}/{run.seed}" in map(unquote, parsed.marked)


def test_nothing_missing_has_no_section(seeded_study, parts):
    _, parsed = page_of(seeded_study, parts, missing=[])
    assert "missing" not in parsed.ids
    assert "missing" not in parsed.text.split("Claims Main table")[0]


def test_provenance_stands_in_the_list_of_runs(seeded_study, parts, tmp_path):
    facts = tmp_path / "provenance.json"
    facts.write_text(
        '{"git_commit": "abcdef0123456789", "git_dirty": true, "config_hash": "1234567890abcdef", "wall_seconds": 90,'
        ' "weights_sha256": "fedcba9876543210", "gpu_hours": 0.5, "hardware": {"gpu": "H20", "cpu": "x"}}'
    )
    run = dataclasses.replace(seeded_study.runs[2], provenance=facts)
    _, parsed = page_of(seeded_study, parts, runs=[seeded_study.runs[0], run])
    assert f"{run.name}abcdef0123 and changes1234567890fedcba98761 min 30 s0.50H20" in section(parsed, "runs")
    facts.write_text("{")
    with pytest.raises(UserError, match=r"provenance\.json: not JSON"):
        page_of(seeded_study, parts, runs=[run])


def test_data_says_what_should_not_be_there(page, seeded_study, parts):
    _, parsed = page
    text = section(parsed, "data")
    assert "knights/val: 300 problems; problems also in knights-train, exactly: 3 (generated: knights, seed 7)" in text
    clean = FINDINGS[~FINDINGS["finding"].str.startswith("problems")]
    assert "300 problems; nothing odd" in section(page_of(seeded_study, parts, findings=clean)[1], "data")
    assert "nothing is known of the problems" in section(page_of(seeded_study, parts, findings=None)[1], "data")


def test_figures_are_inside_the_page_no_wider_than_they_are(page):
    html, parsed = page
    sources = [value for tag, name, value in parsed.attributes if (tag, name) == ("img", "src")]
    svgs = [base64.b64decode(source.partition("base64,")[2]).decode() for source in sources]
    assert svgs == [SVG.format("tiny-a"), SVG.format("contrast")]
    assert html.count("max-width: 96px") == 2  # 72 points
    assert [value for tag, name, value in parsed.attributes if (tag, name) == ("img", "loading")] == ["lazy"] * 2
    assert "Training dynamics: tiny-a" in section(parsed, "figures")
    assert "What the contrast of hints does: knights" in section(parsed, "figures")


def test_without_curves_there_are_no_figures(seeded_study, parts):
    assert "None: no run here has metrics" in section(page_of(seeded_study, parts, figures=[])[1], "figures")


def test_costs_and_audit_are_told(page):
    _, parsed = page
    assert "GPU-hours" in section(parsed, "costs")
    assert "cells that no count of correct draws can give" in section(parsed, "audit")


def test_a_report_without_costs_has_no_empty_table(seeded_study, parts):
    none = parts["costs"].iloc[:0]
    assert section(page_of(seeded_study, parts, costs=none)[1], "costs") == "What it cost Nothing was measured."


def test_many_parts_runs_and_losses_are_folded(seeded_study, parts):
    """A page of 260 runs opens as short as one of ten."""
    few, _ = page_of(seeded_study, parts, runs=seeded_study.runs[:10])
    assert few.count("<details open>") == 2  # runs, missing
    many = [
        dataclasses.replace(run, seed=run.seed + 10 * number)
        for number, run in itertools.product(range(8), seeded_study.runs)
    ]
    claims = pd.DataFrame([claim(each.name) for each in CLAIMS for _ in range(8)])
    missing = [dataclasses.replace(MISSING[0], variant=f"v{n}") for n in range(21)]
    html, parsed = page_of(seeded_study, parts, runs=many, claims=claims, missing=missing)
    assert " open>" not in html
    assert "256 runs" in parsed.text
    assert len(html) < 1_000_000


def test_tables_read_back_from_files_give_the_same_page(seeded_study, parts, page, tmp_path):
    for name in ("claims", "main", "audit", "costs"):
        write_csv(tmp_path / f"{name}.csv", parts[name])
    FINDINGS.to_csv(tmp_path / "findings.csv", index=False)
    back = {path.stem: pd.read_csv(path) for path in Path(tmp_path).glob("*.csv")}
    assert page_of(seeded_study, parts, **back)[0] == page[0]


def test_a_run_listed_twice_is_refused(seeded_study, parts):
    with pytest.raises(UserError, match="listed twice"):
        page_of(seeded_study, parts, runs=[seeded_study.runs[0]] * 2)
