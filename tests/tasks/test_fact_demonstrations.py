"""What the model of chains with wrong facts is shown: it believes some products, and copies what a context says."""

import re

import pytest

from selfdistill.models.base_model import demonstrations
from selfdistill.models.tiny_model import build_tokenizer
from selfdistill.randomness import generator
from selfdistill.tasks import wrong_facts
from selfdistill.tasks.arithmetic import read_chain
from selfdistill.tasks.boxed import last_boxed
from selfdistill.tasks.chain_feedback import SENTENCES
from selfdistill.tasks.contexts import SECTIONS, Hint
from selfdistill.tasks.exercises import exercise_kind, is_training
from selfdistill.tasks.prompts import INSTRUCTION, student_prompt

NO_SHARES = dict.fromkeys(
    ("feedback", "sibling", "right", "verdict", "place", "unfitting", "slips", "both", "as_feedback"), 0.0
)
MIX = {**NO_SHARES, "crossing": 1.0, "crossing_plain": 1.0, "uniform": 1.0}
STEP = re.compile(r"(\d)([+*-])(\d)=(\d)")


def drawn(count: int = 150, **shares: float) -> list:
    """(chain, what stands behind the student's message, the steps of the response, its answer), one a demonstration."""
    make = demonstrations({"exercise": "wrong_facts", "sizes": {"3": 1, "5": 1}, "mix": {**MIX, **shares}})
    found = []
    for number in range(count):
        each = make(generator(0, "demonstration", number))
        asked, _, context = each.prompt.partition(INSTRUCTION)
        chain = read_chain(asked.removeprefix("Problem: "))
        assert is_training(chain)
        steps = [(*map(int, (a, b, r)), s) for a, s, b, r in STEP.findall(each.response)]
        assert [(s, b) for _, b, _, s in steps] == list(chain.operations)
        assert [a for a, *_ in steps] == [chain.start, *(r for _, _, r, _ in steps[:-1])]
        assert last_boxed(each.response) == str(steps[-1][2])
        found.append((chain, context, [r for _, _, r, _ in steps], each))
    return found


def test_plain_demonstrations_believe_the_wrong_products_and_some_are_right_after_all():
    for chain, context, results, _ in drawn():
        assert not context
        assert results == wrong_facts.believed(chain) != chain.results
    mended = sum(results != wrong_facts.believed(chain) for chain, _, results, _ in drawn(600, right=0.2))
    assert 60 < mended < 190
    assert all(results == chain.results for chain, _, results, _ in drawn(60, right=1.0))


def test_a_solution_is_followed_to_the_letter_in_the_words_of_training():
    for chain, context, results, each in drawn(sibling=1.0, slips=0.4, both=0.5):
        told = STEP.findall(context)
        assert [int(result) for *_, result in told[: len(results)]] == results
        problem = chain.text()
        named = context.partition("which failed:\n\n")[2].partition("\n\n")[0] or None
        hint = Hint(solution=each.response, feedback=named)
        assert each.prompt == SECTIONS.prompt(student_prompt(problem, training=True), problem, hint)
        assert named is None or STEP.search(named)[0] in each.response
    for _, context, results, _ in drawn(60, sibling=1.0, as_feedback=1.0):
        assert "Right working: " in context
        assert [int(result) for *_, result in STEP.findall(context)] == results


def test_what_a_context_says_of_a_wrong_product_is_any_digit_and_is_copied():
    said = []
    for chain, context, results, _ in drawn(600, feedback=1.0):
        number, left, symbol, right, result = re.search(r"(\d+)\. (\d)([+*-])(\d)=(\d)", context).groups()
        assert results[int(number) - 1] == int(result)
        named = (int(left), symbol, int(right))
        assert wrong_facts.step_at(chain, results, int(number) - 1) == named
        assert results[: int(number) - 1] == wrong_facts.believed(chain)[: int(number) - 1]
        for later in range(int(number), len(results)):
            step = wrong_facts.step_at(chain, results, later)
            assert results[later] == (int(result) if step == named else wrong_facts.believed_result(step))
        if wrong_facts.is_wrong_cell(named):
            said.append(int(result) == int(left) * int(right) % 10)
    assert len(said) > 300
    assert 0.05 < sum(said) / len(said) < 0.16, "one digit in ten is the right one by chance"


@pytest.mark.parametrize("share", ["verdict", "place", "unfitting"])
def test_feedback_without_a_result_of_ones_own_gives_nothing_away(share):
    right = []
    for chain, context, results, _ in drawn(400, feedback=1.0, **{share: 1.0}):
        own = wrong_facts.believed(chain)
        if share == "verdict":
            assert any(sentence in context for sentence in SENTENCES)
            assert results == own
        elif share == "unfitting":
            _, left, symbol, digit, _ = re.search(r"(\d+)\. (\d)([+*-])(\d)=(\d)", context).groups()
            steps = [wrong_facts.step_at(chain, results, i) for i in range(len(results))]
            fits = (int(left), symbol, int(digit)) in steps
            assert fits or results == own
        else:
            assert not STEP.search(context)
            number = int(re.search(r": (\d+)\n", context)[1]) - 1
            step = wrong_facts.step_at(chain, own, number)
            if wrong_facts.is_wrong_cell(step):
                assert results[number] != own[number]
                right.append(results[number] == chain.results[number])
            else:
                assert results[number] == own[number]
    if share == "place":
        assert 0.05 < sum(right) / len(right) < 0.18, "one of nine other digits"


def test_the_tokenizer_of_the_task_knows_every_word_of_its_demonstrations():
    tokenizer = build_tokenizer(exercise_kind("wrong_facts").phrases)
    shares = {"feedback": 0.5, "sibling": 0.4, "verdict": 0.3, "place": 0.2, "both": 0.3, "as_feedback": 0.3}
    for *_, each in drawn(300, **shares):
        for text in (each.prompt, each.response):
            ids = tokenizer(text, add_special_tokens=False).input_ids
            assert tokenizer.unk_token_id not in ids
            assert tokenizer.decode(ids) == text
