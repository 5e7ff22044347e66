"""Turns documents in Markdown into pages of the report."""

from collections.abc import Iterable

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from selfdistill.reporting.render.html import render


def document_page(text: str) -> str:
    """Return a page from Markdown (CommonMark with tables); its first heading of the first level is the title.

    HTML in the text is shown as text. Links to other files of the repository become plain text: they lead nowhere from
    a page that stands alone.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    title = ""
    if len(tokens) > 1 and tokens[0].type == "heading_open" and tokens[0].tag == "h1":
        title, tokens = tokens[1].content, tokens[3:]
    for token in tokens:
        if token.children:
            token.children = list(_without_local_links(token.children))
    body = parser.renderer.render(tokens, parser.options, {})
    body = body.replace("<table>", '<div class="scroll document" tabindex="0" role="region" aria-label="Table"><table>')
    return render("document.html", title=title, body=Markup(body.replace("</table>", "</table></div>")))


def _without_local_links(tokens: Iterable[Token]) -> Iterable[Token]:
    dropped = False  # links do not nest
    for token in tokens:
        if token.type == "link_open":
            dropped = not str(token.attrGet("href")).startswith("https://")
        if not (dropped and token.type in ("link_open", "link_close")):
            yield token
