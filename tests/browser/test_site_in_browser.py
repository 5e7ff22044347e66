"""The site and the Snakemake report in headless Chromium, without network; screenshots stay beside the tests."""

import pytest

from .conftest import LONG, SCREENSHOTS

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(1800)]

DESKTOP, PHONE = 1280, 390
PAGES = ("index", "results", "departures", "figures", "tables", "tables/main", "tables/gains", "tokens/knights")


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_offline_without_errors_and_fits(tab, results, name, width):
    page = tab.open(results / f"site/{name}.html", width=width)
    page.screenshot(path=SCREENSHOTS / f"{name.replace('/', '-')}-{width}.png", full_page=True)
    assert tab.complaints() == []
    assert tab.overflow() == []


@pytest.mark.parametrize("name", ["index", "tokens/knights"])
def test_pages_are_dark_in_dark_rooms(tab, results, name):
    page = tab.open(results / f"site/{name}.html", dark=True)
    page.screenshot(path=SCREENSHOTS / f"{name.replace('/', '-')}-dark.png")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(int(part) for part in background.strip("rgb()").split(",")) < 60


def test_the_report_opens_offline_with_the_overview_first(tab, results):
    page = tab.open(results / "report.html")
    page.locator("a", has_text="At a glance").wait_for()
    items = [text.strip() for text in page.locator("a").all_inner_texts()]
    assert items[items.index("About") + 1] == "At a glance"
    page.locator("a", has_text="At a glance").click()
    page.get_by_text("overview").first.wait_for()
    page.screenshot(path=SCREENSHOTS / "report.png")
    assert [each for each in tab.complaints() if "tailwindcss.com" not in each] == []  # its own advice to itself


def test_links_of_the_site_lead_from_page_to_page(tab, results):
    page = tab.open(results / "site/index.html")
    page.locator("table.runs a").first.click()
    page.wait_for_url("**/results.html#run/arithmetic/tiny_qwen3/base/0")
    page.locator(":target").wait_for()
    page.locator("nav.site a", has_text="Tokens: knights").click()
    page.wait_for_url("**/tokens/knights.html")
    assert tab.complaints() == []


def column(page, number):
    """Values of a column of the first sortable table, in the order shown; None where there is none."""
    return page.evaluate(
        """number => [...document.querySelector('table.sortable').tBodies[0].rows].map(
          row => row.cells[number]?.dataset.order ? Number(row.cells[number].dataset.order) : null)""",
        number,
    )


@pytest.mark.parametrize("name", ["index", "tables/main"])
def test_tables_sort_by_click_and_by_key(tab, results, name):
    page = tab.open(results / f"site/{name}.html")
    heading = page.locator("table.sortable").first.locator("th").nth(1)
    before = column(page, 1)
    known = [value for value in before if value is not None]
    assert known != sorted(known, reverse=True)
    assert before[-1] is None  # sdpo was not run
    heading.locator("button").click()
    assert column(page, 1) == [*sorted(known, reverse=True), None]
    assert heading.get_attribute("aria-sort") == "descending"
    heading.locator("button").press("Enter")
    assert column(page, 1) == [*sorted(known), None]
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.locator("button").press("Space")
    assert column(page, 1) == before
    assert heading.get_attribute("aria-sort") == "none"


def test_a_claim_unfolds_and_leads_to_its_figure(tab, results):
    page = tab.open(results / "site/index.html")
    claim = page.locator("details.claim", has=page.locator('table.parts a[href^="#figure/"]')).first
    link = claim.locator('table.parts a[href^="#figure/"]').first
    claim.evaluate("claim => claim.open = false")
    assert not link.is_visible()
    claim.locator("summary").first.click()
    assert link.is_visible()
    link.click()
    top = page.locator(":target").bounding_box()["y"]
    assert -1 < top < 400
    page = tab.open(results / "site/index.html", width=PHONE)
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    page.screenshot(path=SCREENSHOTS / f"index-unfolded-{PHONE}.png", full_page=True)
    assert tab.overflow() == []


def colours(page):
    return page.evaluate("[...document.querySelectorAll('#text span')].slice(0, 400).map(span => span.className)")


def layer(page):
    return page.locator('#layers [aria-checked="true"]').inner_text()


def option(page, select, part):
    """The text of the option that has this part."""
    return next(text for text in page.locator(f"#{select} option").all_text_contents() if part in text)


def open_long(tab, results, width=DESKTOP):
    """The token view with the long response chosen."""
    page = tab.open(results / "site/tokens/knights.html", width=width)
    for select, part in (("run", "rlcsd"), ("step", "10")):
        page.select_option(f"#{select}", label=option(page, select, part))
    return page


def test_the_token_view_switches_by_buttons_and_keys(tab, results):
    page = open_long(tab, results)
    assert layer(page) == "Correct hint"
    seen = [colours(page)]
    for number in (1, 2, 4):
        page.locator("#layers button").nth(number).click()
        seen.append(colours(page))
    assert layer(page) == "After the method"
    assert len({tuple(each) for each in seen}) == 4
    page.locator("#text").press("2")
    assert layer(page) == "Wrong hints"
    assert colours(page) == seen[1]
    assert tab.complaints() == []


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_a_long_response_is_drawn_searched_and_read(tab, results, width):
    page = open_long(tab, results, width)
    assert page.locator("#text span").count() == LONG
    page.locator("#layers button").nth(2).click()
    page.fill("#query", "therefore")
    page.locator("#next").click()
    assert int(page.locator("#matches").inner_text().split(" of ")[1]) > 500
    reading = page.locator("#reading").inner_text()
    assert "therefore" in reading
    assert "contrast" in reading
    page.screenshot(path=SCREENSHOTS / f"tokens-long-{width}.png")
    assert tab.complaints() == []
    assert tab.overflow() == []


def test_what_these_tests_look_for_is_found(tab, tmp_path):
    """A page with a request to the network, an exception, an error on the console, and one that is too wide."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<html><body><img src='http://example.org/a.png'><div style='width: 3000px'>wide</div>"
        "<script>console.error('told'); throw new Error('thrown')</script></body></html>"
    )
    tab.open(bad)
    found = " ".join(tab.complaints())
    for complaint in ("request: http://example.org/a.png", "ERR_PROXY_CONNECTION_FAILED", "told", "thrown"):
        assert complaint in found
    assert tab.overflow()[0] == "DIV."
