import dataclasses
import re
import shlex
from urllib.parse import unquote

import pandas as pd
import pytest
from parsed_page import Page

from selfdistill.errors import UserError
from selfdistill.files import sha256_file
from selfdistill.reporting.pages.results import results_page
from selfdistill.reporting.read.accuracy import gather_scores
from selfdistill.reporting.render.csv_tables import write_csv
from selfdistill.reporting.tables.accuracy import gains_table, main_table
from selfdistill.reporting.tables.costs import costs_table

REMAKE = "snakemake --profile profiles/local --force {path}"


def page_of(study, **options) -> tuple[str, Page]:
    groups = gather_scores(study.runs, study.tasks)
    options = {"demonstration": True, "remake": REMAKE} | options
    html = results_page(
        study.runs,
        main_table(groups, study.tasks),
        gains_table(groups, study.tasks),
        costs_table(study.runs),
        **options,
    )
    return html, Page(html)


@pytest.fixture(scope="module")
def page(study):
    return page_of(study)


def test_every_link_has_its_anchor_and_ids_are_unique(page):
    _, parsed = page
    assert len(parsed.ids) == len(set(parsed.ids))
    assert parsed.links
    assert {unquote(link).removeprefix("#") for link in parsed.links} <= set(parsed.ids)
    assert all(link.startswith("#") for link in parsed.links)


def test_every_number_of_the_tables_links_to_its_origin(study, page):
    _, parsed = page
    numbers = [cell for cell in parsed.cells if cell]
    assert len(numbers) == 7 * 2 * (3 + 3)  # benchmarks with averages x tasks x rows of the main table and of the gains
    assert all(len(cell) == 1 for cell in numbers)
    for run in study.runs:
        for benchmark, path in run.draws.items():
            origin = f"from/{run.task}/{run.model}/{run.variant}/{benchmark}"
            assert f"#{origin}" in parsed.links
            text = parsed.text_of[origin]
            assert str(path) in text
            assert sha256_file(path) in text
            draws = study.tasks[run.task]["draws"]
            assert re.search(rf"60 problems . {draws} draws? = {60 * draws}, of which \d+ correct", text)
            assert f"snakemake --profile profiles/local --force {path}" in text


def test_tables_read_back_from_csv_give_the_same_page(study, page, tmp_path):
    groups = gather_scores(study.runs, study.tasks)
    tables = [main_table(groups, study.tasks), gains_table(groups, study.tasks), costs_table(study.runs)]
    for number, table in enumerate(tables):
        write_csv(tmp_path / f"{number}.csv", table)
    back = [pd.read_csv(tmp_path / f"{number}.csv") for number in range(3)]
    assert results_page(study.runs, *back, demonstration=True, remake=REMAKE) == page[0]


def test_each_run_shows_config_and_provenance_as_text(study, page):
    html, parsed = page
    for run in study.runs:
        text = parsed.text_of[f"run/{run.task}/{run.model}/{run.variant}/{run.seed}"]
        assert "note: a < b & c" in text
        assert "git_commit" in text
        assert "'a b'" in text
    assert "a &lt; b &amp; c" in html
    assert html.count("<details>") == 2 * len(study.runs)


def test_the_page_says_what_it_shows_and_what_not(page):
    _, parsed = page
    opening = " ".join(parsed.text_of["what"].split())
    assert "6 runs were made and evaluated" in opening
    assert "not evidence for the paper's ranking" in opening
    assert "on purpose by the base models' warm start" in opening
    assert "with one seed" in opening
    assert parsed.text.index("6 runs were made") < parsed.text.index("Main results")


def test_seeds_and_other_tasks_change_the_statement(seeded_study):
    _, parsed = page_of(seeded_study, demonstration=False)
    assert "averages over 2 seeds. Where a variant has two or more" in parsed.text
    assert "toy scale" not in parsed.text
    origin = " ".join(parsed.text_of["from/knights/tiny-b/rlcsd/knights-3"].split())
    assert "(seed 0)" in origin
    assert "(seed 1)" in origin


def test_the_page_needs_nothing_from_elsewhere(page):
    html, parsed = page
    loaded = [value for _, name, value in parsed.attributes if name in ("src", "srcset", "action", "data")]
    assert not loaded
    assert not any(tag in ("link", "script", "iframe", "img") for tag, _, _ in parsed.attributes)
    for outside in ("http:", "https:", "@import", "url("):
        assert outside not in html


def test_the_page_fits_phones_and_dark_rooms(page):
    html, parsed = page
    assert ("meta", "content", "width=device-width, initial-scale=1") in parsed.attributes
    assert "prefers-color-scheme: dark" in html
    assert html.count("<table>") + html.count('<table class="facts">\n') == html.count(
        '<div class="scroll" tabindex="0"'
    )


def test_variants_are_listed_with_what_they_are_and_what_they_change(crowded_study):
    _, parsed = page_of(crowded_study)
    opening = " ".join(parsed.text_of["what"].split())
    listed = opening.split("What it is ")[1].split(" What this shows")[0]
    places = [re.search(rf"(^| ){re.escape(variant)} ", listed).start() for variant in crowded_study.methods]
    assert places == sorted(places)
    assert "grpo reinforcement learning from the verifier alone: no teacher" in listed
    assert "rlcsd-gt_cot rlcsd with hints.source: gt_cot in place of self_rollout rlcsd-gt_one_sided" in listed
    assert "rlcsd-no_anchor rlcsd with anchor: false in place of true" in listed
    assert "opsd-own_rollout opsd, with no setting changed" in listed
    section = " ".join(parsed.text_of["variant/knights/tiny-qwen3/rlcsd-no_anchor"].split())
    assert "rlcsd-no_anchor is rlcsd with anchor: false in place of true." in section
    assert "in place of" not in parsed.text_of["variant/knights/tiny-qwen3/rlcsd"]


def test_changes_that_differ_between_tasks_say_so(crowded_study, tmp_path):
    runs = [run for run in crowded_study.runs if run.variant in ("rlcsd", "rlcsd-gt_cot")]
    text = runs[1].config.read_text()
    assert "k_max: 4" in text
    (tmp_path / "config.yaml").write_text(text.replace("k_max: 4", "k_max: 1"))
    runs[1] = dataclasses.replace(runs[1], config=tmp_path / "config.yaml")
    _, parsed = page_of(dataclasses.replace(crowded_study, runs=runs))
    listed = " ".join(parsed.text_of["what"].split())
    both = "hints.source: gt_cot in place of self_rollout"
    first = f"arithmetic, tiny-qwen3: rlcsd with {both}, hints.k_max: 1 in place of 4;"
    assert f"{first} knights, tiny-qwen3: rlcsd with {both}" in listed


def test_a_variant_without_its_method_points_to_its_config(crowded_study):
    runs = [run for run in crowded_study.runs if run.variant == "rlcsd-gt_cot"]
    _, parsed = page_of(dataclasses.replace(crowded_study, runs=runs))
    listed = " ".join(parsed.text_of["what"].split())
    assert "rlcsd: grpo whose token advantages are shifted by the contrast" in listed
    assert "rlcsd as it is was not run here, so see the resolved config" in listed


def test_variants_without_their_method_say_how_they_differ_from_one_another(crowded_study):
    runs = [run for run in crowded_study.runs if run.variant in ("rlcsd-gt_cot", "rlcsd-no_anchor")]
    _, parsed = page_of(dataclasses.replace(crowded_study, runs=runs))
    listed = " ".join(parsed.text_of["what"].split())
    assert "here rlcsd with anchor: true, hints.source: gt_cot" in listed
    assert "rlcsd with anchor: false, hints.source: self_rollout" in listed
    assert listed.count("grpo whose token advantages") == 1
    assert "in place of" not in listed


def test_a_loss_of_ones_own_is_named(study, tmp_path):
    (tmp_path / "config.yaml").write_text("implementation: my.losses:Mine\n")
    run = dataclasses.replace(study.runs[1], variant="mine", method="mine", config=tmp_path / "config.yaml")
    _, parsed = page_of(dataclasses.replace(study, runs=[run]))
    assert "a loss of one's own: my.losses:Mine" in " ".join(parsed.text_of["what"].split())


def test_methods_that_collapse_are_said_to_be_shown_as_they_are(page, crowded_study):
    assert "the collapse is what you see" not in page[1].text
    _, parsed = page_of(crowded_study)
    assert "opsd, opsd_ectr, rlsd_ectr are shown as they are" in " ".join(parsed.text_of["what"].split())


def test_base_without_config_or_provenance(study):
    runs = [dataclasses.replace(r, config=None, provenance=None) if r.variant == "base" else r for r in study.runs]
    _, parsed = page_of(dataclasses.replace(study, runs=runs))
    assert "No provenance of its own" in parsed.text_of["run/arithmetic/tiny-qwen3/base/0"]


def test_odd_names_stay_whole(study, tmp_path):
    """A name that is markup is shown as text, and a path with a space is quoted in the command."""
    variant, path = "<b>&grpo", tmp_path / "my draws.parquet"
    path.write_bytes(study.runs[0].draws["chain-3"].read_bytes())
    run = dataclasses.replace(study.runs[0], variant=variant, draws={**study.runs[0].draws, "chain-3": path})
    html, parsed = page_of(dataclasses.replace(study, runs=[run]), remake="make cell FILE={path}")
    assert variant in parsed.text
    assert "<b>" not in html
    assert {unquote(link).removeprefix("#") for link in parsed.links} <= set(parsed.ids)
    assert f"make cell FILE={shlex.quote(str(path))}" in parsed.text_of[f"from/arithmetic/tiny-qwen3/{variant}/chain-3"]
    assert "gains" not in parsed.ids  # nothing to compare with
    assert "Make it again" not in page_of(study, remake=None)[1].text


def test_broken_files_are_named(study, tmp_path):
    bad = tmp_path / "provenance.json"
    bad.write_text("{")
    runs = [dataclasses.replace(study.runs[0], provenance=bad)]
    with pytest.raises(UserError, match=r"provenance\.json: not JSON"):
        page_of(dataclasses.replace(study, runs=runs))
    for text, complaint in (("a: [", "not YAML"), ("- a", "expected keys and their values")):
        (tmp_path / "config.yaml").write_text(text)
        runs = [dataclasses.replace(study.runs[0], config=tmp_path / "config.yaml")]
        with pytest.raises(UserError, match=rf"config\.yaml: {complaint}"):
            page_of(dataclasses.replace(study, runs=runs))
    runs = [dataclasses.replace(study.runs[0], config=tmp_path / "gone.yaml")]
    with pytest.raises(UserError, match=r"gone\.yaml: cannot read it"):
        page_of(dataclasses.replace(study, runs=runs))
