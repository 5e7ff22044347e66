"""Chats of problems' own: what a row's column `prompt` may hold, and what is made of it."""

import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfdistill.errors import UserError
from selfdistill.tasks.messages import as_text, own_messages
from selfdistill.tasks.prompts import INSTRUCTION, Message, student_messages
from selfdistill.tasks.schema import SCHEMA, Problem, read_problems, write_problems

SYSTEM, USER, ASSISTANT = ({"role": role, "content": f"I {role}. "} for role in ("system", "user", "assistant"))
BLANK = {"role": "user", "content": " \n"}


def own(*turns):
    return own_messages(turns, "data.parquet: row 3")


@pytest.mark.parametrize("turns", [(USER,), (SYSTEM, USER), (USER, ASSISTANT, USER), (SYSTEM, USER, ASSISTANT, USER)])
def test_a_chat_is_kept_as_it_stands(turns):
    assert [message._asdict() for message in own(*turns)] == list(turns)


@pytest.mark.parametrize(
    ("turns", "said"),
    [
        ((SYSTEM,), "message 0: the last message has role 'system', expected 'user'"),
        ((USER, ASSISTANT), "message 1: the last message has role 'assistant', expected 'user'"),
        ((ASSISTANT, USER), "message 0: role 'assistant' at the beginning"),
        ((SYSTEM, ASSISTANT, USER), "message 1: role 'assistant' after 'system'"),
        ((SYSTEM, SYSTEM, USER), "message 1: role 'system' after 'system'"),
        ((USER, SYSTEM, USER), "message 1: role 'system' after 'user'"),
        ((USER, USER), "message 1: role 'user' after 'user'"),
        ((USER, ASSISTANT, ASSISTANT, USER), "message 2: role 'assistant' after 'assistant'"),
        ((SYSTEM, BLANK), r"message 1: content is ' \\n', expected text"),
        (({"role": "system", "content": None}, USER), "message 0: content is None, expected text"),
        (({"role": "tool", "content": "3"}, USER), "message 0: role is 'tool', expected one of system"),
        (({"content": "Why?"},), "message 0: role is None"),
        ((USER, None), "message 1: role is None"),
    ],
)
def test_a_chat_that_cannot_be_asked_is_refused_with_row_and_column(turns, said):
    with pytest.raises(UserError, match=rf"data\.parquet: row 3 \(counted from 0\), column prompt, {said}") as caught:
        own(*turns)
    assert "\n" not in str(caught.value)


def test_a_file_is_read_with_its_own_chats_only_where_asked(tmp_path):
    chat = (Message("system", "Be brief."), Message("user", "Why?"), Message("assistant", "So."), Message("user", "?"))
    plain = Problem("toy/0", "toy", "Why?", "A", "", "mcq", 0, "train")
    problems = [replace(plain, messages=chat), replace(plain, id="toy/1", index=1)]
    write_problems(tmp_path / "t.parquet", problems)
    boxed = [Message("user", f"Problem: Why?\n\n{INSTRUCTION}")]
    read = read_problems(tmp_path / "t.parquet", own_prompts=True)
    assert [student_messages(p, training=False) for p in read] == [list(chat), boxed], "the second row has this one"
    blind = read_problems(tmp_path / "t.parquet")
    assert [p.messages for p in blind] == [(), ()]
    assert [student_messages(p, training=True) for p in blind] == [boxed, boxed]
    # Rows without any message are asked as without the switch; a bad one is named by its number in the file.
    rows = pq.read_table(tmp_path / "t.parquet").to_pylist() * 300
    rows = [row | {"extra_info": row["extra_info"] | {"index": i}} for i, row in enumerate(rows)]
    rows[7]["prompt"] = None
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), tmp_path / "t.parquet")
    assert read_problems(tmp_path / "t.parquet", own_prompts=True)[7].messages == ()
    rows[555] = json.loads(json.dumps(rows[555]).replace("Be brief.", "").replace("user", "human"))
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), tmp_path / "t.parquet")
    with pytest.raises(UserError, match=r"t\.parquet: row 555 .*column prompt, message 0: role is 'human'"):
        read_problems(tmp_path / "t.parquet", own_prompts=True)


def test_people_read_each_turn_under_its_role():
    assert as_text(own(USER)) == "I user. "
    assert as_text(own(SYSTEM, USER)) == "[system]\nI system. \n\n[user]\nI user. "
