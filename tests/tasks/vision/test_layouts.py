"""Rows of the hub's layouts, made up, on their way to a parquet of problems."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from selfdistill.errors import UserError
from selfdistill.tasks.vision.layouts import LAYOUTS, write_pictures
from selfdistill.tasks.vision.rows import DROPPED


def picture(shade):
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), shade, dtype=np.uint8)).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


RED, BLUE = picture(100), picture(200)
ROWS = {
    "mmfinereason": [
        {"question": "<image>What is it?", "answer": "B", "image": RED, "source": "MMR1"},
        {"question": "How many?", "answer": None, "image": RED, "source": "ai2d"},
        {"question": "How many?", "answer": "12", "image": BLUE, "source": "ai2d"},
    ],
    "mmmu": [
        {"id": "1", "question": "Is <image 2> or <image 1> it?", "options": "['<image 1>', 'x \\'y\\'']", "answer": "B",
         "question_type": "multiple-choice", "image_1": RED, "image_2": BLUE},
        {"id": "2", "question": "Who?", "options": "[]", "answer": "['Ann', 'Anna']", "question_type": "open",
         "image_1": RED, "image_2": None},
    ],
    "mathvista": [
        {"pid": "1", "question": "Which?", "decoded_image": RED, "choices": ["No", "Yes"], "precision": None,
         "answer": "Yes", "question_type": "multi_choice", "answer_type": "text", "unit": None},
        {"pid": "2", "question": "How long?", "decoded_image": BLUE, "choices": None, "precision": 1.0, "answer": "2.5",
         "question_type": "free_form", "answer_type": "float", "unit": "m"},
    ],
    "mathvision": [
        {"id": "1", "question": "Look: <image1> Which?", "options": ["one", "two"], "decoded_image": RED,
         "answer": "B"},
        {"id": "2", "question": "How many?", "options": [], "decoded_image": RED, "answer": "7"},
    ],
    "zerobench": [
        {"question_id": "1_1", "question_text": "Compare.", "question_images_decoded": [RED, BLUE],
         "question_answer": "left"},
    ],
    "wemath": [
        {"ID": "7", "key": "2steps_multi", "question": "All?", "option": "A. 1; B. 2; C. No answer", "answer": "B",
         "image_path": RED},
        {"ID": "7", "key": "2steps_2", "question": "Second?", "option": "A. x; B. y", "answer": "A", "image_path": RED},
        {"ID": "7", "key": "2steps_1", "question": "First?", "option": "A. x; B. y", "answer": "B", "image_path": BLUE},
    ],
}  # fmt: skip


@pytest.fixture
def made(tmp_path):
    """layout (and its rows) -> what is written."""

    def write(layout, rows=None, split="val"):
        source, target = tmp_path / "raw.parquet", tmp_path / "made.parquet"
        pq.write_table(pa.Table.from_pylist(ROWS[layout] if rows is None else rows), source, row_group_size=1)
        recipe = {"name": "all", "split": split, "parts": [{"name": "one", "layout": layout}]}
        write_pictures(target, recipe, [source], lambda line: None)
        return pq.read_table(target).to_pylist(), pq.read_metadata(target).metadata or {}

    return write


def asked(row):
    return row["extra_info"]["problem"], row["reward_model"]["ground_truth"], row["ability"]


def test_every_layout_has_rows_here():
    assert ROWS.keys() == LAYOUTS.keys()


def test_a_row_without_an_answer_is_dropped_and_counted(made):
    rows, metadata = made("mmfinereason", split="train")
    assert [asked(row) for row in rows] == [("<image>What is it?", "B", "letter"), ("<image>How many?", "12", "number")]
    assert json.loads(metadata[DROPPED]) == {"no answer, source ai2d": 1}
    assert [row["extra_info"]["index"] for row in rows] == [0, 1]
    assert rows[0]["images"] == [RED]
    assert rows[0]["prompt"][0]["content"].startswith("Problem: <image>What is it?\n\n")


def cut_photograph():
    file = io.BytesIO()
    Image.linear_gradient("L").save(file, "JPEG")
    return file.getvalue()[:-200]


@pytest.mark.parametrize("spoilt", [RED["bytes"][:-9], cut_photograph()])
def test_a_row_whose_picture_cannot_be_opened_is_dropped_and_counted(made, spoilt):
    broken = {"question": "What?", "answer": "B", "image": {"bytes": spoilt, "path": None}, "source": "MMR1"}
    nothing_asked = {**ROWS["mmfinereason"][0], "question": None}
    rows, metadata = made("mmfinereason", [broken, nothing_asked, *ROWS["mmfinereason"]], split="train")
    assert len(rows) == 2
    assert json.loads(metadata[DROPPED])["no question, source MMR1"] == 1
    assert json.loads(metadata[DROPPED])["no picture that can be opened, source MMR1"] == 1


def test_pictures_of_mmmu_stand_at_their_first_marks(made):
    rows, _ = made("mmmu")
    question = "Is <image> or <image> it?\n\nA: image 1\nB: x 'y'"
    assert [asked(row) for row in rows] == [
        (question, "B", "letter"),
        ("<image>Who?", "['Ann', 'Anna']", "open"),
    ]
    assert [row["images"] for row in rows] == [[BLUE, RED], [RED]]


def test_mathvista_has_a_letter_or_a_number_at_a_precision(made):
    rows, _ = made("mathvista")
    assert [asked(row) for row in rows] == [
        ("<image>Which?\n\nA: No\nB: Yes", "B", "letter"),
        ("<image>How long? (Unit: m)", "2.5", "float_1"),
    ]


def test_mathvision_has_a_letter_or_anything(made):
    rows, _ = made("mathvision")
    assert [asked(row) for row in rows] == [
        ("<image>Look: Which?\n\nA: one\nB: two", "B", "letter"),
        ("<image>How many?", "7", "maths"),
    ]


def test_zerobench_shows_all_its_pictures(made):
    (row,), _ = made("zerobench")
    assert asked(row) == ("<image><image>Compare.", "left", "short")
    assert row["images"] == [RED, BLUE]


def test_groups_of_wemath_stand_together_with_the_composed_question_last(made):
    rows, _ = made("wemath")
    assert [asked(row)[0].partition("\n")[0] for row in rows] == ["<image>First?", "<image>Second?", "<image>All?"]
    assert {row["extra_info"]["cluster"] for row in rows} == {"7 (3 rows)"}
    assert asked(rows[2])[0].endswith("A: 1\nB: 2\nC: No answer")


@pytest.mark.parametrize(
    ("layout", "change", "said"),
    [
        ("mmfinereason", {"image": {"bytes": None, "path": "a.png"}}, r"row 0 .*, image: has no bytes of a picture"),
        ("mathvista", {"answer": None}, "row 0 .*: column answer is empty"),
        ("mathvision", {"question": " "}, "column question is empty"),
        ("zerobench", {"question_answer": None}, "column question_answer is empty"),
        ("mmfinereason", {"question": "<image><image>?"}, "2 marks <image> for 1 pictures"),
        ("mmmu", {"options": "[open('x')]"}, "options: expected a list of texts"),
        ("mmmu", {"answer": "C"}, "answer 'C' is none of its options A, B"),
        ("mmmu", {"question": "<image 9>?"}, "<image 9> is none of its pictures 1 to 7"),
        ("mmmu", {"question": "<image 0>?"}, "<image 0> is none"),
        ("mmmu", {"question": "<image 5>?"}, "row 0 .*, image_5: has no bytes"),
        ("mathvista", {"answer": "Perhaps"}, "'Perhaps' is not one of its choices"),
        ("mathvision", {"answer": "E"}, "answer 'E' is none of its options"),
        ("wemath", {"key": "2steps_3"}, "'2steps_3' names none of 2 steps"),
        ("wemath", {"key": "2steps_1"}, "group 7 has 2steps_1 twice"),
        ("wemath", {"ID": "8"}, "group 8 lacks a step or the composed question"),
        ("wemath", {"key": "first"}, "found key 'first'"),
    ],
)
def test_a_row_that_does_not_fit_is_named(made, tmp_path, layout, change, said):
    with pytest.raises(UserError, match=said):
        made(layout, [ROWS[layout][0] | change, *ROWS[layout][1:]])


def test_a_file_of_another_layout_is_refused_with_its_columns(made):
    with pytest.raises(UserError, match=r"column question is missing, the file has x"):
        made("mmfinereason", [{"x": 1}])
