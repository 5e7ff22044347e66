"""Windows of a dialogue: the oldest feedback is left out first, and the question stands alone where nothing fits."""

import pytest

from selfdistill.models.chat import ChatSettings
from selfdistill.models.loading import load_tokenizer
from selfdistill.tasks.earlier_attempts import SHAPES, follow_up
from selfdistill.training.discovery.speaker import Speaker

TRIED = [(rf"\boxed{{+{i}; *2}}", f"{i} -> 1 (not 2)") for i in range(1, 9)]


@pytest.fixture(scope="module")
def speaker(program_files):
    return Speaker(load_tokenizer(program_files["base_model"]), ChatSettings())


def slowly(speaker, question, attempts, shape, window):
    """One at a time, from the oldest on."""
    kept = list(attempts)
    while kept and len(speaker.ids(follow_up(speaker.asked(question), kept, shape))) > window:
        kept.pop(0)
    return speaker.ids(follow_up(speaker.asked(question), kept, shape)), len(kept)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_fits_is_what_one_finds_by_leaving_out_one_by_one(speaker, questions, shape):
    seen = set()
    for window in range(1, 300, 7):
        for attempts in (TRIED, TRIED[:1], []):
            found = speaker.within(questions[0], attempts, shape, window)
            assert found == slowly(speaker, questions[0], attempts, shape, window)
            seen.add(found[1])
    assert seen == set(range(9))


def test_the_question_alone_may_be_longer_than_the_window(speaker, questions):
    ids, shown = speaker.within(questions[0], TRIED, "feedback_only", 1)
    assert shown == 0
    assert ids == speaker.ids(speaker.asked(questions[0]))
