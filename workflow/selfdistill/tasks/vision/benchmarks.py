"""Turns the five benchmarks of RLSD's paper from the hub's own columns into rows of problems.

Each reader takes the rows of its data set's files, as they come, and gives problems: question with marks for its
pictures, options a line each, reference, kind of answer. Options that are kept as text are parsed as literals.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from selfdistill.errors import UserError
from selfdistill.tasks.choice import LETTERS
from selfdistill.tasks.pictures import PLACEHOLDER
from selfdistill.tasks.vision import answer_kinds as kinds
from selfdistill.tasks.vision.literals import lettered_options, text_list
from selfdistill.tasks.vision.rows import PictureRow, group_name, marked, picture_bytes, text_of, with_options

_MMMU_PICTURES = 7
_MMMU_MARK = re.compile(r"<image (\d)>")
_MATHVISION_MARK = re.compile(r"<image\d+>")

Rows = Iterator[tuple[str, Mapping[str, Any]]]  # (place of a row, for messages; the row)

MMMU_COLUMNS = ("id", "question", "options", "answer", "question_type", "image_1")
MMMU_MORE = tuple(f"image_{number}" for number in range(2, _MMMU_PICTURES + 1))


def mmmu(rows: Rows) -> Iterator[PictureRow]:
    """MMMU (arXiv 2311.16502), validation: multiple choice and some open questions, one to seven pictures.

    Its marks `<image 1>` say which picture is meant where, in question and options; each picture is shown at its first
    mark, one that no mark names before the question.
    """
    for where, row in rows:
        pictures = [row.get(f"image_{n}") for n in range(1, _MMMU_PICTURES + 1)]
        options = lettered(text_list(row["options"], f"{where}, options"))
        is_open = row["question_type"] == "open" or not options
        text = with_options(text_of(row, "question", where), {} if is_open else options)
        text, order = _at_first_marks(text)
        if beyond := [n for n in order if not 1 <= n <= _MMMU_PICTURES]:
            raise UserError(
                f"{where}: <image {beyond[0]}> is none of its pictures 1 to {_MMMU_PICTURES}; mend or drop it"
            )
        unnamed = [n for n, each in enumerate(pictures, start=1) if each is not None and n not in order]
        shown = [picture_bytes(pictures[n - 1], f"{where}, image_{n}") for n in (*unnamed, *order)]
        text = PLACEHOLDER * len(unnamed) + text
        answer = text_of(row, "answer", where)
        if not is_open and answer not in options:
            raise UserError(f"{where}: answer {answer!r} is none of its options {', '.join(options)}; mend or drop it")
        yield PictureRow(text, shown, answer, kinds.OPEN if is_open else kinds.LETTER)


MATHVISTA_COLUMNS = (
    "pid",
    "question",
    "decoded_image",
    "choices",
    "precision",
    "answer",
    "question_type",
    "answer_type",
)
MATHVISTA_MORE = ("unit",)


def mathvista(rows: Rows) -> Iterator[PictureRow]:
    """MathVista (arXiv 2310.02255), testmini: the choice's text, a whole number, one at a precision, or a list."""
    for where, row in rows:
        choices = lettered(text_list(row["choices"], f"{where}, choices"))
        answer, question = text_of(row, "answer", where), text_of(row, "question", where)
        if unit := row.get("unit"):
            question = f"{question} (Unit: {unit})"
        if row["question_type"] == "multi_choice":
            found = [letter for letter, text in choices.items() if text == answer]
            if len(found) != 1:
                raise UserError(f"{where}: answer {answer!r} is not one of its choices, once; mend or drop it")
            answer, kind = found[0], kinds.LETTER
        else:
            kind = _mathvista_kind(row, where)
        pictures = [picture_bytes(row["decoded_image"], f"{where}, decoded_image")]
        yield PictureRow(marked(with_options(question, choices), 1, where), pictures, answer, kind)


MATHVISION_COLUMNS = ("id", "question", "options", "decoded_image", "answer")


def mathvision(rows: Rows) -> Iterator[PictureRow]:
    """MathVision (arXiv 2402.14804), test: a letter, or a free answer; marks `<image1>` all mean the one picture."""
    for where, row in rows:
        options = lettered(text_list(row["options"], f"{where}, options"))
        answer = text_of(row, "answer", where)
        question = " ".join(_MATHVISION_MARK.sub(" ", text_of(row, "question", where)).split())
        is_letter = bool(options) and answer in options
        if not answer or (options and not is_letter):
            raise UserError(f"{where}: answer {answer!r} is none of its options {', '.join(options)}; mend or drop it")
        pictures = [picture_bytes(row["decoded_image"], f"{where}, decoded_image")]
        text = marked(with_options(question, options), 1, where)
        yield PictureRow(text, pictures, answer, kinds.LETTER if is_letter else kinds.MATHS)


ZEROBENCH_COLUMNS = ("question_id", "question_text", "question_images_decoded", "question_answer")


def zerobench(rows: Rows) -> Iterator[PictureRow]:
    """ZeroBench (arXiv 2502.09696), sub-questions: short free answers, one to three pictures."""
    for where, row in rows:
        given = row["question_images_decoded"] or []
        pictures = [picture_bytes(each, f"{where}, question_images_decoded") for each in given]
        question = marked(text_of(row, "question_text", where), len(pictures), where)
        yield PictureRow(question, pictures, text_of(row, "question_answer", where), kinds.SHORT)


WEMATH_COLUMNS = ("ID", "key", "question", "option", "answer", "image_path")
_WEMATH_KEY = re.compile(r"(\d)steps_(\d+|multi)")


def wemath(rows: Rows) -> Iterator[PictureRow]:
    """We-Math (arXiv 2407.01284), testmini: groups of two or three one-step questions and the one composed of them.

    Rows of a group come out together, its steps in order and the composed question last, which is how group scores
    find them (evaluation/group_scores.py). All rows are held until then; there are 1,740.
    """
    groups: dict[str, dict[int, PictureRow]] = {}
    sizes: dict[str, int] = {}
    for where, row in rows:
        found = _WEMATH_KEY.fullmatch(str(row["key"]))
        options = lettered_options(str(row["option"]))
        answer = text_of(row, "answer", where)
        if not found or answer not in options:
            raise UserError(
                f"{where}: expected key <n>steps_<number or multi> and the letter of an option, found key "
                f"{row['key']!r}, answer {answer!r}, options {str(row['option'])[:60]!r}; mend or drop the group"
            )
        steps = int(found[1])
        place = steps + 1 if found[2] == "multi" else int(found[2])
        if not 1 <= place <= steps + (found[2] == "multi"):
            raise UserError(f"{where}: key {row['key']!r} names none of {steps} steps; mend or drop the group")
        name = str(row["ID"])
        group = groups.setdefault(name, {})
        if place in group or sizes.setdefault(name, steps) != steps:
            raise UserError(
                f"{where}: group {name} has {row['key']} twice, or keys of unlike numbers of steps; mend it"
            )
        pictures = [picture_bytes(row["image_path"], f"{where}, image_path")]
        text = marked(with_options(text_of(row, "question", where), options), 1, where)
        group[place] = PictureRow(text, pictures, answer, kinds.LETTER, cluster=group_name(name, steps + 1))
    for name, group in groups.items():
        if sorted(group) != list(range(1, sizes[name] + 2)):
            raise UserError(f"We-Math: group {name} lacks a step or the composed question; fetch the files again")
        yield from (group[place] for place in sorted(group))


def lettered(texts: Sequence[str]) -> dict[str, str]:
    """Options by letter; none of more than there are letters. Raises UserError."""
    if len(texts) > len(LETTERS):
        raise UserError(f"{len(texts)} options, such as {texts[0][:40]!r}; expected at most {len(LETTERS)}")
    return dict(zip(LETTERS, texts, strict=False))


def _at_first_marks(text: str) -> tuple[str, list[int]]:
    """A text with each picture at its first mark, later ones naming it in words; and the numbers of the pictures."""
    order: list[int] = []

    def shown(found: re.Match[str]) -> str:
        number = int(found[1])
        if number in order:
            return f"image {number}"
        order.append(number)
        return PLACEHOLDER

    return _MMMU_MARK.sub(shown, text), order


def _mathvista_kind(row: Mapping[str, Any], where: str) -> str:
    answer_type = row["answer_type"]
    if answer_type == "float":
        return f"{kinds.FLOAT}{int(row['precision'] or 0)}"
    plain = {"integer": kinds.INTEGER, "list": kinds.LIST, "text": kinds.TEXT}
    if answer_type not in plain:
        raise UserError(f"{where}: answer_type {answer_type!r}; expected float, {', '.join(plain)}")
    return plain[answer_type]
