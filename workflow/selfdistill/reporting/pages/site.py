"""Writes a static folder to publish: all pages under one navigation, figures and tables as files.

Pages are made to stand alone, in the Snakemake report too. Here they get a bar that leads from one to the other, and
what they mark as `data-href` (where on the site something is) becomes a link.
"""

import os
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

from selfdistill.errors import UserError
from selfdistill.files import atomic_path
from selfdistill.reporting.render.html import environment, render, write_page

#: Pages that are made here, by their titles in the navigation.
FIGURES, TABLES = "Figures", "Tables"


def write_site(
    folder: str | os.PathLike,
    pages: Mapping[str, Mapping[str, str | os.PathLike]],
    figures: Sequence[str | os.PathLike],
    tables: Sequence[str | os.PathLike],
) -> None:
    """Write the whole site, in place of one that is there.

    pages: title in the navigation -> {place on the site ("index.html"), file (a page that stands alone)}; figures: SVG
    and PNG files under some figures/; tables: files of any format under some tables/. Both keep their paths from there
    on, and get a page that lists them. Raises UserError: a page without a body, two files for one place.
    """
    drawn, tabled = _placed(figures, "figures"), _placed(tables, "tables")
    contents = {title: (page["place"], Path(page["file"]).read_text(encoding="utf-8")) for title, page in pages.items()}
    contents[FIGURES] = ("figures.html", render("figures.html", title="Figures", figures=_svgs(drawn)))
    contents[TABLES] = ("tables.html", render("table_files.html", title="Tables", tables=_by_name(tabled)))
    places = [place for place, _ in contents.values()]
    if doubled := sorted({place for place in places if places.count(place) > 1}):
        raise UserError(f"site: two pages would become {doubled[0]}; give one of them another place")
    known = {*places, *drawn, *tabled}
    with atomic_path(folder) as site:
        for place, file in {**drawn, **tabled}.items():
            (site / place).parent.mkdir(parents=True, exist_ok=True)
            if Path(file).suffix == ".html":
                write_page(site / place, _on_site(Path(file).read_text(encoding="utf-8"), "", place, contents, known))
            else:
                shutil.copyfile(file, site / place)
        for title, (place, html) in contents.items():
            (site / place).parent.mkdir(parents=True, exist_ok=True)
            write_page(site / place, _on_site(html, title, place, contents, known))


def _on_site(html: str, title: str, place: str, contents: Mapping[str, tuple[str, str]], known: Collection[str]) -> str:
    """A page with the navigation on top, `title` marked in it, and with its links to what there is on the site."""
    up = "../" * place.count("/")
    links = [(name, up + where, name == title) for name, (where, _) in contents.items()]
    bar = environment().get_template("navigation.html").render(links=links)
    page, bodies = re.subn(r"<body[^>]*>", lambda body: f"{body[0]}\n{bar}", html, count=1)
    if not bodies:
        raise UserError(f"site: the page for {place} has no <body>; make it again")

    def linked(link: re.Match) -> str:
        return f' href="{up}{link[1]}{link[2]}"' if unquote(link[1]) in known else ""

    return re.sub(r' data-href="([^"#]*)([^"]*)"', linked, page)


def _placed(files: Sequence[str | os.PathLike], folder: str) -> dict[str, Path]:
    """Place on the site -> file: the path from the last `folder` on."""
    placed: dict[str, Path] = {}
    for file in map(Path, files):
        parts = file.parts
        start = len(parts) - 1 - parts[::-1].index(folder)
        place = "/".join(parts[start:])
        if place in placed:
            raise UserError(f"site: {placed[place]} and {file} would both become {place}; leave one out")
        placed[place] = file
    return placed


def _svgs(places: Mapping[str, Path]) -> list[dict[str, str | bool]]:
    """The figures that have an SVG, with where it is and whether there is a PNG beside it."""
    return [
        {"name": place.removeprefix("figures/").removesuffix(".svg"), "svg": place, "png": png if png in places else ""}
        for place in places
        if place.endswith(".svg")
        for png in [place.removesuffix(".svg") + ".png"]
    ]


def _by_name(places: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    """Table -> {format: place}."""
    formats: dict[str, dict[str, str]] = {}
    for place in places:
        name, _, ending = place.removeprefix("tables/").rpartition(".")
        formats.setdefault(name, {})[ending] = place
    return formats
