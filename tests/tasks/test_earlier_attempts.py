"""The prompts of a dialogue with an environment, to the byte."""

import pytest

from selfdistill.tasks.contexts import Message
from selfdistill.tasks.earlier_attempts import follow_up

ASKED = [Message("system", "S"), Message("user", "Q")]
TRIED = [("A1", "F1"), ("A2 {x}", "F2")]


def test_without_attempts_the_question_stands_alone():
    assert follow_up(ASKED, []) == ASKED


def test_feedback_only_is_one_message_with_blank_lines_between_its_parts():
    chat = follow_up(ASKED, TRIED)
    assert chat[0] == ASKED[0]
    assert chat[1:] == [
        Message(
            "user",
            "Q\n\nEarlier attempts at this failed. What was said of them:\n\nF1\n\nF2\n\n"
            "Now solve the original question correctly.",
        )
    ]


def test_a_dialogue_has_attempts_as_the_assistants_turns():
    roles = [message.role for message in follow_up(ASKED, TRIED, "attempt_and_feedback")]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    texts = [message.content for message in follow_up(ASKED, TRIED, "attempt_and_feedback")]
    assert texts[2] == "A1"
    assert texts[4] == "A2 {x}"
    assert "F1" in texts[3]
    assert "F2" in texts[5]


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match="shape 'all' is not one of feedback_only, attempt_and_feedback"):
        follow_up(ASKED, [], "all")
