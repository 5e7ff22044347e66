"""Renders every page with one template environment that escapes, and writes it."""

import os
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from selfdistill.files import write_text
from selfdistill.texts import visible, without_secrets

#: A text with fewer characters has no secret that is known by its form, and cells with numbers are many.
_SHORT = 16


def environment() -> Environment:
    """Templates of this package: everything is escaped, an unknown name is an error, `anchor` makes element ids.

    Whatever text they show is without secrets, and what is not seen, or turns round its neighbours, is spelt out.
    """
    made = Environment(
        loader=PackageLoader("selfdistill.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["anchor"] = anchor
    return made


def anchor(*parts: object) -> str:
    """Return an element id from names. Names are parts of paths, so no two lists of names give one id."""
    return "/".join(map(str, parts))


def render(template: str, **content: Any) -> str:
    """Return a page from a template that extends page.html."""
    return environment().get_template(template).render(**content)


def write_page(path: str | os.PathLike, html: str) -> None:
    """Write one page; equal pages give equal bytes."""
    write_text(path, html)


def _printable(value: Any) -> Any:
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return visible(value.replace("\r\n", "\n") if len(value) < _SHORT else without_secrets(value.replace("\r\n", "\n")))
