"""Describes each method in one line, for readers of a report."""

from selfdistill.methods.catalogue import shipped
from selfdistill.study.matrix import BASE


def describe(implementation: str) -> str:
    """Return one line on a method, by its implementation; for a loss of the user's own, where its code is."""
    if implementation == BASE:
        return "the untrained model, evaluated only"
    if implementation in shipped():
        return shipped()[implementation].description
    return f"a loss of one's own: {implementation}"
