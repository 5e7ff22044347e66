from pathlib import Path

from parsed_page import Page

from selfdistill.reporting.pages.documents import document_page

TEXT = """# Title & more

One *two* [here](other.md#x), [there](https://example.org/a), [`code`](../c.md).

| a | b |
|---|---|
| 1 | <b>2</b> |

## Next
"""


def test_a_document_becomes_a_page_with_its_own_title():
    html = document_page(TEXT)
    assert html.count("<h1>") == 1
    assert "<title>Title &amp; more</title>" in html
    assert "<h2>Next</h2>" in html
    assert "<em>two</em>" in html


def test_links_within_the_repository_are_text_and_others_stay():
    html = document_page(TEXT)
    assert Page(html).links == ["https://example.org/a"]
    assert "here, " in Page(html).text
    assert ", <code>code</code>." in html


def test_tables_scroll_by_themselves_and_html_is_shown_as_text():
    html = document_page(TEXT)
    assert html.count('<div class="scroll document"') == html.count("<table>") == 1
    assert "<b>2" not in html
    assert "<b>2</b>" in Page(html).text


def test_the_departures_become_a_page():
    text = (Path(__file__).parents[3] / "docs/departures.md").read_text(encoding="utf-8")
    parsed = Page(document_page(text))
    assert parsed.text.count("D1 teacher of opsd") == 1
    assert "| --- |" not in parsed.text
    assert len(parsed.cells) > 200
