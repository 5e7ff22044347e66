"""Reads MMFineReason (arXiv 2601.21821), the training set of RLSD's paper: a picture, a question, a bare answer.

In the subset of 123 thousand 4,915 of 122,603 rows have no answer, so there is neither a verifier nor a hint for them:
they are dropped and counted, as is a row whose picture cannot be decoded. The rest has every kind of answer; a rule
judges the texts among them badly.
"""

from collections import Counter
from collections.abc import Iterator

from selfdistill.errors import UserError
from selfdistill.tasks.pictures import Picture, check_decoded
from selfdistill.tasks.vision.answer_kinds import kind_of
from selfdistill.tasks.vision.benchmarks import Rows
from selfdistill.tasks.vision.rows import PictureRow, marked, picture_bytes

COLUMNS = ("question", "answer", "image")
MORE = ("source",)


def mmfinereason(rows: Rows, dropped: Counter[str]) -> Iterator[PictureRow]:
    """Yield the rows that have question, answer and a whole picture; `dropped` counts the others by their source."""
    for where, row in rows:
        absent = [name for name in ("answer", "question") if row[name] is None or not str(row[name]).strip()]
        if absent:
            dropped[f"no {absent[0]}, source {row.get('source') or 'unknown'}"] += 1
            continue
        reference = str(row["answer"]).strip()
        picture = picture_bytes(row["image"], f"{where}, image")
        try:
            check_decoded([Picture.of(picture)])
        except (ValueError, UserError):
            dropped[f"no picture that can be opened, source {row.get('source') or 'unknown'}"] += 1
            continue
        yield PictureRow(marked(str(row["question"]).strip(), 1, where), [picture], reference, kind_of(reference))
