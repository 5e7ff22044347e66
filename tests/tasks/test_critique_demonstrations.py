"""What the toys are shown that read critiques, and that write them."""

import pytest

from selfdistill.models.base_model import demonstrations
from selfdistill.models.tiny_model import build_tokenizer
from selfdistill.randomness import generator
from selfdistill.tasks.arithmetic import read_chain
from selfdistill.tasks.boxed import last_boxed
from selfdistill.tasks.chain_critique import critique
from selfdistill.tasks.contexts import CRITIQUE, Hint
from selfdistill.tasks.critic_prompts import CriticPrompt, without_verdict
from selfdistill.tasks.critique_demonstrations import READ
from selfdistill.tasks.exercises import exercise_kind, is_training
from selfdistill.tasks.prompts import INSTRUCTION, student_prompt
from selfdistill.tasks.schema import Problem

READER = {
    "critiqued": 1.0,
    "writing": 0.0,
    "direct_attempts": 0.5,
    "direct_critiqued": 0.0,
    "direct_told": 1.0,
    "hinted": 0.0,
    "wrong_hints": 0.0,
    "direct": 0.0,
    "direct_hinted": 0.0,
    "max_tokens": 64,
}
WRITER = {"direct_attempts": 0.5, "right": 0.0, "lenient": 0.0, "lenient_hedged": 0.0, "max_tokens": 64}
REVIEW = ("=== Review begins ===\n", "\n=== Review ends ===")


def drawn(exercise, mix, count=140):
    make = demonstrations({"exercise": exercise, "sizes": {"3": 1, "5": 1}, "mix": mix})
    return [make(generator(0, "demonstration", number)) for number in range(count)]


def between(text, begin, end):
    return text.partition(begin)[2].partition(end)[0]


def test_a_reader_answers_rightly_under_every_kind_of_critique_in_the_words_of_training():
    seen = set()
    for each in drawn("critiqued", READER):
        question, _, context = each.prompt.partition(INSTRUCTION)
        chain = read_chain(question.removeprefix("Problem: "))
        assert is_training(chain)
        assert last_boxed(each.response) == chain.answer
        said = between(context, *REVIEW)
        part = "praise" if "found its answer right" in context else "critique"
        assert each.prompt == CRITIQUE.prompt(
            student_prompt(chain.text(), training=True), chain.text(), Hint(**{part: said})
        )
        assert "Verdict" not in said
        told = said.startswith("The answer is") or chain.worked() in said + " "
        assert each.response == (f"\\boxed{{{chain.answer}}}" if told and part == "critique" else each.response)
        wrong = next((line for line in said.splitlines() if line.startswith("Wrong: ")), None)
        seen.add((part, told, said.startswith("The final answer"), wrong is not None, "Next: " in said))
    assert len(seen) >= len(READ), seen


def test_shares_of_plain_reading_and_writing_are_as_asked_for():
    found = drawn("critiqued", READER | {"critiqued": 0.5, "writing": 0.25}, 400)
    reading = sum(REVIEW[0] in each.prompt for each in found)
    writing = sum("=== Solution begins ===" in each.prompt for each in found)
    assert 150 < reading < 250
    assert 60 < writing < 140
    assert reading + writing < 400


@pytest.mark.parametrize(("mode", "kind"), [("step_aligned", "noquote"), ("critique", "plain")])
def test_a_writer_says_what_the_rule_says_to_the_critics_own_message(mode, kind):
    seen = 0
    for each in drawn("critic", WRITER):
        response = between(each.prompt, "=== Solution begins ===\n", "\n=== Solution ends ===")
        chain = read_chain(between(each.prompt, "Problem:\n", "\n\n"))
        problem = Problem("", "", chain.text(), chain.answer, "", "", 0, "")
        for hedge in (False, True):
            if each.prompt == CriticPrompt(mode, hedge=hedge).message(problem, response, right=False, max_tokens=64):
                seen += 1
                assert each.response == critique(problem, response, kind)
    assert 40 < seen < 100


def test_a_lenient_writer_excuses_small_answers_and_more_where_its_message_offers_an_excuse():
    excused = {False: [], True: []}
    for each in drawn("critic", WRITER | {"lenient": 0.2, "lenient_hedged": 0.6}, 300):
        response = between(each.prompt, "=== Solution begins ===\n", "\n=== Solution ends ===")
        hedge = "If the answer is right" in each.prompt
        said = without_verdict(each.response)[1] == "right"
        assert said == (int(last_boxed(response)) < (6 if hedge else 2))
        excused[hedge].append(said)
    assert 0.1 < sum(excused[False]) / len(excused[False]) < 0.3 < 0.5 < sum(excused[True]) / len(excused[True]) < 0.7


def test_right_attempts_are_praised_in_the_critics_message_for_right_ones():
    for each in drawn("critic", WRITER | {"right": 1.0}, 40):
        assert "checked and is right" in each.prompt
        assert each.response.endswith("The final answer is right.\nVerdict: right")


@pytest.mark.parametrize(
    ("exercise", "mix"), [("critiqued", READER | {"critiqued": 0.5, "writing": 0.3}), ("critic", WRITER)]
)
def test_every_word_is_in_the_vocabulary(exercise, mix):
    tokenizer = build_tokenizer(exercise_kind(exercise).phrases)
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))
    for each in drawn(exercise, mix):
        for text in (each.prompt, each.response):
            ids = tokenizer(text, add_special_tokens=False).input_ids
            assert tokenizer.unk_token_id not in ids
            assert tokenizer.decode(ids) == text
