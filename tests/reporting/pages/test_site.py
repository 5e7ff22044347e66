from pathlib import Path
from urllib.parse import unquote

import pytest
from parsed_page import Page

from selfdistill.errors import UserError
from selfdistill.reporting.pages.site import write_site

PAGE = '<!doctype html>\n<html lang="en">\n<body class="x">\n<p>{}</p>\n</body>\n</html>\n'


@pytest.fixture
def files(tmp_path):
    def made(name, content):
        path = tmp_path / "results" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    overview = 'see <a data-href="results.html#run/a%20b">run</a> and <a data-href="figures/k/d.svg">figure</a>'
    return {
        "pages": {
            "Overview": {"place": "index.html", "file": made("pages/overview.html", PAGE.format(overview))},
            "Results": {"place": "results.html", "file": made("pages/results.html", PAGE.format("numbers"))},
            "Tokens": {
                "place": "tokens/k.html",
                "file": made("pages/tokens/k.html", PAGE.format('<a data-href="index.html">up</a>')),
            },
        },
        "figures": [
            made("figures/k/d.svg", "<svg/>"),
            made("figures/k/d.png", "png"),
            made("figures/e/m.svg", "<svg/>"),
        ],
        "tables": [made("tables/main.csv", "a\n1\n"), made("tables/main.html", PAGE.format("sorted"))],
    }


def read(site):
    return {str(path.relative_to(site)): path for path in Path(site).rglob("*") if path.is_file()}


def test_every_link_and_image_is_there_and_relative(files, tmp_path):
    write_site(tmp_path / "site", **files)
    found = read(tmp_path / "site")
    assert set(found) == {
        *("index.html", "results.html", "tokens/k.html", "figures.html", "tables.html", "figures/k/d.svg"),
        *("figures/k/d.png", "figures/e/m.svg", "tables/main.csv", "tables/main.html"),
    }
    for place, path in found.items():
        if place.endswith(".html"):
            parsed = Page(path.read_text())
            assert not parsed.marked
            loaded = [value for _, name, value in parsed.attributes if name == "src"]
            for link in map(unquote, [*parsed.links, *loaded]):
                target = (path.parent / link.partition("#")[0]).resolve()
                assert target in [each.resolve() for each in found.values()], f"{place}: {link}"


def test_pages_lead_to_each_other_and_say_where_one_is(files, tmp_path):
    write_site(tmp_path / "site", **files)
    titles = ["Overview", "Results", "Tokens", "Figures", "Tables"]
    for place, here in (("index.html", "Overview"), ("tokens/k.html", "Tokens"), ("tables.html", "Tables")):
        parsed = Page((tmp_path / "site" / place).read_text())
        up = "../" if "/" in place else ""
        places = ("index.html", "results.html", "tokens/k.html", "figures.html", "tables.html")
        assert parsed.links[:5] == [up + each for each in places]
        assert parsed.attributes.count(("a", "aria-current", "page")) == 1
        assert [title for title in titles if title in parsed.text] == titles
        current = [i for i, each in enumerate(parsed.attributes) if each == ("a", "aria-current", "page")]
        assert parsed.attributes[current[0] - 1] == ("a", "href", up + places[titles.index(here)])
    listed = Page((tmp_path / "site/tables/main.html").read_text())  # under the page of tables, and in no bar itself
    assert not any(name == "aria-current" for _, name, _ in listed.attributes)


def test_what_pages_mark_becomes_a_link_from_where_they_are(files, tmp_path):
    write_site(tmp_path / "site", **files)
    assert Page((tmp_path / "site/index.html").read_text()).links[5:] == ["results.html#run/a%20b", "figures/k/d.svg"]
    assert Page((tmp_path / "site/tokens/k.html").read_text()).links[5:] == ["../index.html"]


def test_pages_list_figures_and_tables_with_their_formats(files, tmp_path):
    write_site(tmp_path / "site", **files)
    figures = Page((tmp_path / "site/figures.html").read_text())
    assert "k/d SVG PNG" in figures.text
    assert "e/m SVG" in figures.text
    assert figures.links[5:] == ["figures/k/d.svg", "figures/k/d.png", "figures/e/m.svg"]
    assert "main CSV, HTML, sortable" in Page((tmp_path / "site/tables.html").read_text()).text.replace(
        "mainC", "main C"
    )


def test_a_site_replaces_the_one_before_and_comes_out_the_same(files, tmp_path):
    write_site(tmp_path / "site", **files)
    before = {place: path.read_bytes() for place, path in read(tmp_path / "site").items()}
    (tmp_path / "site/old.html").write_text("old")
    write_site(tmp_path / "site", **files)
    assert {place: path.read_bytes() for place, path in read(tmp_path / "site").items()} == before


def test_what_cannot_be_joined_is_named(files, tmp_path):
    doubled = files["pages"] | {"More": {**files["pages"]["Results"], "place": "index.html"}}
    with pytest.raises(UserError, match=r"two pages would become index\.html"):
        write_site(tmp_path / "site", **files | {"pages": doubled})
    with pytest.raises(UserError, match=r"would both become figures/k/d\.svg"):
        write_site(tmp_path / "site", **files | {"figures": [files["figures"][0]] * 2})
    files["pages"]["Results"]["file"].write_text("left by a test")
    with pytest.raises(UserError, match=r"results\.html has no <body>"):
        write_site(tmp_path / "site", **files)
    assert not (tmp_path / "site").exists()
