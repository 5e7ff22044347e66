"""The site and the Snakemake report in headless Chromium, without network; screenshots stay beside the tests."""

import time

import pytest

from .conftest import LONG, SCREENSHOTS

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

DESKTOP, PHONE = 1280, 390
PAGES = ("index", "results", "departures", "figures", "tables", "tables/main", "tables/gains", "tokens/knights")


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens_offline_without_errors_and_fits(chromium, results, page, width):
    chromium.open(results / f"site/{page}.html", width=width)
    chromium.screenshot(SCREENSHOTS / f"{page.replace('/', '-')}-{width}.png")
    assert chromium.complaints() == []
    assert chromium.overflow() == []


@pytest.mark.parametrize("page", ["index", "tokens/knights"])
def test_pages_are_dark_in_dark_rooms(chromium, results, page):
    chromium.open(results / f"site/{page}.html", dark=True)
    chromium.screenshot(SCREENSHOTS / f"{page.replace('/', '-')}-dark.png", whole=False)
    background = chromium.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(int(part) for part in background.strip("rgb()").split(",")) < 60


def test_the_report_opens_offline_with_the_overview_first(chromium, results):
    chromium.open(results / "report.html")
    menu = "[...document.querySelectorAll('a')].map(a => a.innerText.trim())"
    chromium.evaluate("new Promise(done => setTimeout(done, 1000))")
    items = chromium.evaluate(menu)
    assert items[items.index("About") + 1] == "At a glance"
    chromium.evaluate("[...document.querySelectorAll('a')].find(a => a.innerText.trim() == 'At a glance').click()")
    chromium.evaluate("new Promise(done => setTimeout(done, 500))")
    assert "overview" in chromium.evaluate("document.body.innerText")
    chromium.screenshot(SCREENSHOTS / "report.png", whole=False)
    assert [each for each in chromium.complaints() if "tailwindcss.com" not in each] == []  # its own advice to itself


def test_links_of_the_site_lead_from_page_to_page(chromium, results):
    chromium.open(results / "site/index.html")
    chromium.follow("document.querySelector('table.runs a').click()")
    assert chromium.evaluate("location.href").endswith("results.html#run/arithmetic/tiny_qwen3/base/0")
    assert chromium.evaluate("document.querySelector(':target') !== null")
    chromium.follow("[...document.querySelectorAll('nav.site a')].find(a => a.innerText == 'Tokens: knights').click()")
    assert chromium.evaluate("location.href").endswith("tokens/knights.html")
    assert chromium.complaints() == []


def column(browser, number):
    """Values of a column of the first sortable table, in the order shown; None where there is none."""
    return browser.evaluate(
        f"""[...document.querySelector('table.sortable').tBodies[0].rows].map(
          row => row.cells[{number}]?.dataset.order ? Number(row.cells[{number}].dataset.order) : null)"""
    )


def sorted_as(browser, number):
    return browser.evaluate(f"document.querySelectorAll('table.sortable th')[{number}].getAttribute('aria-sort')")


@pytest.mark.parametrize("page", ["index", "tables/main"])
def test_tables_sort_by_click_and_by_key(chromium, results, page):
    chromium.open(results / f"site/{page}.html")
    before = column(chromium, 1)
    known = [value for value in before if value is not None]
    assert known != sorted(known, reverse=True)
    assert before[-1] is None  # sdpo was not run
    chromium.evaluate("document.querySelectorAll('table.sortable th button')[1].click()")
    assert column(chromium, 1) == [*sorted(known, reverse=True), None]
    assert sorted_as(chromium, 1) == "descending"
    chromium.evaluate("document.querySelectorAll('table.sortable th button')[1].focus()")
    chromium.press("Enter")
    assert column(chromium, 1) == [*sorted(known), None]
    assert sorted_as(chromium, 1) == "ascending"
    chromium.press(" ", "Space")
    assert column(chromium, 1) == before
    assert sorted_as(chromium, 1) == "none"


def test_a_claim_unfolds_and_leads_to_its_figure(chromium, results):
    chromium.open(results / "site/index.html")
    chromium.evaluate("document.querySelectorAll('details.claim').forEach(claim => claim.open = true)")
    link = "document.querySelector('table.parts a[href^=\"#figure/\"]')"
    assert chromium.evaluate(f"{link}.offsetParent !== null")
    chromium.evaluate(f"{link}.click()")
    top = chromium.evaluate("document.querySelector(':target').getBoundingClientRect().top")
    assert -1 < top < 400
    chromium.open(results / "site/index.html", width=PHONE)
    chromium.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    chromium.screenshot(SCREENSHOTS / f"index-unfolded-{PHONE}.png")
    assert chromium.overflow() == []


def colours(browser):
    return browser.evaluate("[...document.querySelectorAll('#text span')].slice(0, 400).map(span => span.className)")


def layer(browser):
    return browser.evaluate("document.querySelector('#layers [aria-checked=\"true\"]').innerText")


def open_long(browser, results, width=DESKTOP):
    """The token view with the long response chosen."""
    browser.open(results / "site/tokens/knights.html", width=width)
    browser.evaluate(
        """(() => {
          const choose = (id, test) => {
            const select = document.getElementById(id);
            select.value = [...select.options].find(option => test(option.text)).value;
            select.dispatchEvent(new Event("change"));
          };
          choose("run", text => text.includes("rlcsd"));
          choose("step", text => text.includes("10"));
        })()"""
    )


def test_the_token_view_switches_by_buttons_and_keys(chromium, results):
    open_long(chromium, results)
    assert layer(chromium) == "Correct hint"
    seen = [colours(chromium)]
    for number in (1, 2, 4):
        chromium.evaluate(f"document.querySelectorAll('#layers button')[{number}].click()")
        seen.append(colours(chromium))
    assert layer(chromium) == "After the method"
    assert len({tuple(each) for each in seen}) == 4
    chromium.evaluate("document.getElementById('text').focus()")
    chromium.press("2", "Digit2")
    assert layer(chromium) == "Wrong hints"
    assert colours(chromium) == seen[1]
    assert chromium.complaints() == []


def test_a_long_response_is_drawn_searched_and_read_quickly(chromium, results):
    for width in (DESKTOP, PHONE):
        begun = time.monotonic()
        open_long(chromium, results, width)
        assert chromium.evaluate("document.querySelectorAll('#text span').length") == LONG
        chromium.evaluate("document.querySelectorAll('#layers button')[2].click()")
        chromium.evaluate(
            """(() => {
              const query = document.getElementById("query");
              query.value = "therefore";
              query.dispatchEvent(new Event("input"));
              document.getElementById("next").click();
            })()"""
        )
        assert int(chromium.evaluate("document.getElementById('matches').innerText.split(' of ')[1]")) > 500
        reading = chromium.evaluate("document.getElementById('reading').innerText")
        assert "therefore" in reading
        assert "contrast" in reading
        assert time.monotonic() - begun < 20
        chromium.screenshot(SCREENSHOTS / f"tokens-long-{width}.png", whole=False)
        assert chromium.overflow() == []


def test_what_these_tests_look_for_is_found(chromium, tmp_path):
    """A page with a request to the network, an exception, an error on the console, and one that is too wide."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<html><body><img src='http://example.org/a.png'><div style='width: 3000px'>wide</div>"
        "<script>console.error('told'); setTimeout(() => { throw new Error('thrown') }, 0)</script></body></html>"
    )
    chromium.open(bad)
    chromium.evaluate("new Promise(done => setTimeout(done, 300))")
    found = " ".join(chromium.complaints())
    for complaint in ("request: http://example.org/a.png", "ERR_PROXY_CONNECTION_FAILED", "told", "thrown"):
        assert complaint in found
    assert chromium.overflow()[0] == "DIV."
