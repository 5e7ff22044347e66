"""An HTML page as tests ask about it."""

from html.parser import HTMLParser

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Ids, links, attributes, text, cells of tables; fails on tags that do not nest. marked: data-href of an anchor."""

    def __init__(self, html: str):
        super().__init__()
        self.ids, self.links, self.marked, self.attributes, self.words, self.cells = [], [], [], [], [], []
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
            (self.links if "href" in attributes else self.marked).append(
                attributes["href"] if "href" in attributes else attributes["data-href"]
            )
        if tag == "td":
            self.cells.append([])
        if "href" in attributes and self.inside("td"):
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
