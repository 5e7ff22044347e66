"""Reads the published discovery@k of SDPO's paper (arXiv 2601.20802), on LiveCodeBench with Qwen3-8B.

Most are read off a figure, to a hundredth or two; the text says that 22 % on the very hard set takes 500 attempts by
self-distillation and 1,500 by best-of-k.
"""

from selfdistill.reporting.read.published import FOLDER, read_published

DISCOVERY = FOLDER / "sdpo_discovery.csv"
TASK, MODEL = "livecodebench", "qwen3_8b"
#: Ours -> the paper's: it has one best-of-k, from all draws.
_SEARCHES = {"closed_form": "best_of"}


def published_rows() -> tuple[dict[str, str], ...]:
    """Return all rows, as texts: set, search, attempts, discovery, place in the paper.

    Raises UserError for an odd file.
    """
    return read_published(DISCOVERY, "set", "search", "attempts", "discovery", "place")


def published_discovery(
    task: str, model: str, name: str, search: str, attempts: int | None = None, level: float | None = None
) -> float | None:
    """Return the published discovery within so many attempts, or the attempts that a level needs; None without one.

    Args:
        task, model: of the study; but for the paper's there is nothing.
        name, search: set and search.
        attempts: the k of discovery@k.
        level: in its place, a share.
    """
    if (task, model) != (TASK, MODEL):
        return None
    for row in published_rows():
        if (row["set"], row["search"]) == (name, _SEARCHES.get(search, search)):
            if attempts is not None and int(row["attempts"]) == attempts:
                return float(row["discovery"])
            if level is not None and abs(float(row["discovery"]) - level) < 1e-9:
                return float(row["attempts"])
    return None
