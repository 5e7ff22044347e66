"""The claims of the cross-model study, on blocks that are built for them."""

from dataclasses import replace

import pandas as pd
import pytest
from made_up_blocks import block, scores

from selfdistill.reporting.claims import opd
from selfdistill.reporting.claims.table import claims_table
from selfdistill.reporting.claims.verdicts import NOT_REPRODUCED, NOT_RUN, REPRODUCED, SEEN, UNSEEN

STUDENTS = {"base": (0.1, 0.1), opd.INSTRUCT: (0.3, 0.3), opd.GRPO: (0.5, 0.5)}
ALONE = {opd.INSTRUCT_TEACHER: (0.7, 0.7), opd.GRPO_TEACHER: (0.6, 0.6)}
SHARES = {opd.INSTRUCT_TEACHER: (0.8, 0.1), opd.GRPO_TEACHER: (0.2, 0.6)}


def diagnosis(shares):
    rows = [
        {"teacher": teacher, "style_share_paper": style, "task_share_paper": task}
        for teacher, (style, task) in shares.items()
    ]
    return pd.DataFrame(rows, columns=["teacher", "style_share_paper", "task_share_paper"])


def verdicts(shares=STUDENTS, alone=ALONE, lean=SHARES):
    untrained = {model: scores("base", each, 3) for model, each in alone.items()}
    built = replace(block(shares=shares), untrained=untrained, diagnosis=diagnosis(lean))
    rows = claims_table([built], claims=opd.CLAIMS).to_dict("records")
    return {(row["claim"], row["part"], row["variant"]): (row["verdict"], row["why"]) for row in rows}


def test_where_it_is_as_the_paper_has_it_every_part_is_reproduced():
    found = verdicts()
    assert len(found) == 6
    assert {verdict for (claim, *_), (verdict, _) in found.items() if claim == "OPD-1"} == {REPRODUCED}
    assert {verdict for (claim, *_), (verdict, _) in found.items() if claim == "OPD-2"} == {SEEN}  # of one diagnosis
    assert "80% of it is on style, 10% on task tokens" in found["OPD-2", "style", opd.INSTRUCT][1]


@pytest.mark.parametrize(
    ("changes", "part", "verdict", "said"),
    [
        ({"alone": {opd.INSTRUCT_TEACHER: (0.5, 0.5), opd.GRPO_TEACHER: (0.6, 0.6)}},
         ("OPD-1", "teachers alone", opd.INSTRUCT), NOT_REPRODUCED, ""),
        ({"alone": {opd.GRPO_TEACHER: (0.6, 0.6)}},
         ("OPD-1", "teachers alone", opd.INSTRUCT), NOT_RUN, "needs qwen3_4b_instruct evaluated without tr"),
        ({"shares": STUDENTS | {opd.GRPO: (0.2, 0.2)}}, ("OPD-1", "students", opd.GRPO), NOT_REPRODUCED, ""),
        ({"lean": SHARES | {opd.GRPO_TEACHER: (0.6, 0.2)}},
         ("OPD-2", "task", opd.GRPO), UNSEEN, "20% of it is on task, 60% on style"),
        ({"lean": {}}, ("OPD-2", "task", opd.GRPO), NOT_RUN, f"needs the diagnosis of {opd.GRPO_TEACHER}"),
        ({"lean": {opd.INSTRUCT_TEACHER: (0.1, 0.0)}}, ("OPD-2", "style", opd.INSTRUCT), SEEN, ""),
    ],
)  # fmt: skip
def test_each_part_is_about_its_own_number(changes, part, verdict, said):
    found = verdicts(**changes)[part]
    assert found[0] == verdict, found
    assert said in found[1]


def test_nothing_is_asked_where_no_student_of_these_teachers_is_in_the_matrix():
    assert not len(claims_table([block(shares={"base": (0.1, 0.1)})], claims=opd.CLAIMS))
