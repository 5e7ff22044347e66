import dataclasses
import re
import shlex
from html.parser import HTMLParser
from urllib.parse import unquote

import pandas as pd
import pytest

from selfdistill.errors import UserError
from selfdistill.files import sha256_file
from selfdistill.reporting.pages import results_page
from selfdistill.reporting.tables import gains_table, main_table, read_groups, write_csv

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Ids, links, attributes, text, cells of tables; fails on tags that do not nest."""

    def __init__(self, html: str):
        super().__init__()
        self.ids, self.links, self.attributes, self.words, self.cells = [], [], [], [], []
        self.text_of: dict[str, str] = {}
        self._open: list[tuple[str, str | None]] = []
        self.feed(html)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "a":
            self.links.append(attributes["href"])
        if tag == "td":
            self.cells.append([])
        if tag == "a" and self.inside("td"):
            self.cells[-1].append(attributes["href"])
        if tag not in VOID:
            self._open.append((tag, attributes.get("id")))

    def handle_endtag(self, tag):
        assert self._open.pop()[0] == tag

    def handle_data(self, data):
        self.words.append(data)
        for _, name in self._open:
            if name:
                self.text_of[name] = self.text_of.get(name, "") + data

    def inside(self, tag):
        return any(open_tag == tag for open_tag, _ in self._open)

    @property
    def text(self):
        return " ".join("".join(self.words).split())


def page_of(study, **options) -> tuple[str, Page]:
    groups = read_groups(study.runs, study.tasks)
    options = {"demonstration": True} | options
    html = results_page(study.runs, main_table(groups, study.tasks), gains_table(groups, study.tasks), **options)
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
    groups = read_groups(study.runs, study.tasks)
    tables = [main_table(groups, study.tasks), gains_table(groups, study.tasks)]
    for number, table in enumerate(tables):
        write_csv(tmp_path / f"{number}.csv", table)
    back = [pd.read_csv(tmp_path / f"{number}.csv") for number in range(2)]
    assert results_page(study.runs, *back, demonstration=True) == page[0]


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
    assert "direct answers on purpose" in opening
    assert "with one seed" in opening
    assert parsed.text.index("6 runs were made") < parsed.text.index("Main results")


def test_seeds_and_other_tasks_change_the_statement(seeded_study):
    _, parsed = page_of(seeded_study, demonstration=False)
    assert "averages over up to 2 seeds" in parsed.text
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
    assert html.count("<table>") == html.count('<div class="scroll" tabindex="0"')


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


def test_broken_files_are_named(study, tmp_path):
    bad = tmp_path / "provenance.json"
    bad.write_text("{")
    runs = [dataclasses.replace(study.runs[0], provenance=bad)]
    with pytest.raises(UserError, match=r"provenance\.json: not JSON"):
        page_of(dataclasses.replace(study, runs=runs))
    runs = [dataclasses.replace(study.runs[0], config=tmp_path / "gone.yaml")]
    with pytest.raises(UserError, match=r"gone\.yaml: cannot read it"):
        page_of(dataclasses.replace(study, runs=runs))
