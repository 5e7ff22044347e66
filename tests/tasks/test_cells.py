"""Grids of coloured cells: pictures, questions, worked solutions, and the demonstrations of their base model."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from selfdistill.models.tiny_vision_model import build_vision_tokenizer
from selfdistill.randomness import generator
from selfdistill.tasks import cells, prompts
from selfdistill.tasks.cell_demonstrations import CellDemonstrations, CellMix
from selfdistill.tasks.contexts import Hint
from selfdistill.tasks.demonstrations import response_of
from selfdistill.tasks.exercises import exercise_kind, is_training
from selfdistill.tasks.pictures import PLACEHOLDER

STEPS = {"right": (0, 1), "left": (0, -1), "up": (-1, 0), "down": (1, 0)}


def seen(picture):
    """The colours of a picture's cells, from the middle of each."""
    image = Image.open(io.BytesIO(picture))
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (24, 24))
    names = {rgb: name for name, rgb in cells.COLOURS.items()}
    return [[names[image.getpixel((8 * column + 4, 8 * row + 4))] for column in range(3)] for row in range(3)]


def walks(moves, count=40):
    return [cells.generate(generator("walks", moves, i), moves) for i in range(count)]


@pytest.mark.parametrize("moves", [0, 1, 3, 5])
def test_the_answer_is_what_the_picture_has_where_the_walk_ends(moves):
    for walk in walks(moves):
        (picture,), text = walk.pictures, walk.text()
        assert text.count(PLACEHOLDER) == 1
        row, column = (int(n) - 1 for n in re.search(r"row (\d), column (\d)", text).groups())
        for name in re.findall("|".join(STEPS), text.partition("go ")[2]):
            row, column = row + STEPS[name][0], column + STEPS[name][1]
            assert 0 <= row < 3
            assert 0 <= column < 3
        assert walk.answer == seen(picture)[row][column]
        numbered = " ".join(f"{i} {colour}" for i, colour in enumerate(seen(picture)[row], start=1))
        assert walk.worked().endswith(f"row {row + 1} has {numbered}\n")


def test_counts_are_those_of_the_picture():
    found = [cells.generate_count(generator("counts", i), 1) for i in range(60)]
    for each in found:
        whole = [colour for row in seen(each.pictures[0]) for colour in row]
        assert each.answer == str(whole.count(each.colour))
        assert each.worked().endswith(f"so far {each.answer}\n")
    assert len({each.answer for each in found}) > 4


def test_the_bytes_of_a_picture_are_the_same_everywhere():
    rows = (("red", "green", "blue"), ("yellow", "black", "white"), ("red", "red", "red"))
    picture = cells.Grid(rows).png()
    assert len(picture) == 1820  # stored: no compressor has a say
    assert picture == cells.Grid(rows).png()


def test_a_mistake_is_right_but_for_its_answer():
    walk = walks(2, 1)[0]
    wrong = [walk.mistake(generator("mistakes", i)) for i in range(40)]
    assert {each.solution for each in wrong} == {walk.worked()}
    assert {each.answer for each in wrong} == set(cells.NAMES) - {walk.answer}


def test_problems_that_differ_in_one_cell_or_move_are_others():
    names = {each.canonical for moves in (0, 1, 2) for each in walks(moves)}
    assert len(names) == 120


@pytest.mark.parametrize(
    ("answer", "reference", "verdict"),
    [("red", "red", True), (" Red", "red", True), ("blue", "red", False), ("3", "3", True), ("13", "3", False)],
)
def test_an_answer_is_the_word_itself(answer, reference, verdict):
    assert cells.grade(answer, reference) is verdict


@pytest.mark.parametrize(("reference", "readable"), [("red", True), ("9", True), ("10", False), ("pink", False)])
def test_references_are_colours_and_numbers_of_cells(reference, readable):
    assert cells.readable(reference) is readable


def test_every_text_of_the_toy_is_made_of_known_tokens():
    tokenizer = build_vision_tokenizer(cells.PHRASES)
    texts = []
    for kind, sizes in (("cells", (0, 1, 3)), ("cell_count", (1,))):
        for size in sizes:
            each = exercise_kind(kind).make(generator("tokens", kind, size), size)
            question = each.text().replace(PLACEHOLDER, "")
            texts += [prompts.asked(question, training=True), response_of(each.reference(None))]
            texts.append(prompts.teacher_prompt(question, Hint(answer=each.answer), mode="answer_only"))
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == text


def test_demonstrations_have_the_shares_that_they_should_and_follow_their_hints():
    walk = cells.generate(generator("one"), 2)
    make = CellDemonstrations(lambda rng: walk, CellMix(hinted=0.5, wrong_hints=0.4, counts=0.2))
    found = [make(generator("demonstrations", i)) for i in range(800)]
    counts = [each for each in found if "How many" in each.prompt]
    hinted = [each for each in found if "The correct final answer is" in each.prompt]
    assert len(counts) / 800 == pytest.approx(0.2, abs=0.05)
    assert len(hinted) / 800 == pytest.approx(0.5, abs=0.06)
    told = [
        (re.search(r"final answer is: (\w+)", each.prompt)[1], re.search(r"boxed\{(\w+)\}", each.response)[1])
        for each in hinted
    ]
    assert all(hint == box for hint, box in told)
    of_walk = [box for each, (_, box) in zip(hinted, told, strict=True) if "How many" not in each.prompt]
    assert np.mean([box != walk.answer for box in of_walk]) == pytest.approx(0.4, abs=0.08)
    assert {each.pictures for each in found if each not in counts} == {walk.pictures}
    assert all(walk.worked() in each.response for each in found if each not in counts)


def test_counts_are_of_the_training_side():
    make = CellDemonstrations(lambda rng: None, CellMix(0, 0, counts=1.0))
    for i in range(20):
        picture = make(generator("side", i))
        colour = re.search(r"How many cells are (\w+)\?", picture.prompt)[1]
        grid = cells.Grid(tuple(tuple(row) for row in seen(picture.pictures[0])))
        assert is_training(cells.Count(grid, colour))
