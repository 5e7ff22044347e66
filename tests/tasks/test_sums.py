import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfdistill.tasks import sums
from selfdistill.tasks.sums import Sum, in_words

NUMBERS = st.integers(0, 99)
SUMS = st.one_of(
    st.builds(Sum, NUMBERS, st.just("+"), NUMBERS),
    st.tuples(NUMBERS, NUMBERS).map(lambda pair: Sum(max(pair), "-", min(pair))),
)
WORDS = {in_words(number): number for number in range(100)}


def test_numbers_in_words_are_all_different_and_as_people_say_them():
    assert len(WORDS) == 100
    said = {
        0: "zero",
        9: "nine",
        10: "ten",
        13: "thirteen",
        20: "twenty",
        21: "twenty-one",
        40: "forty",
        99: "ninety-nine",
    }
    assert {number: in_words(number) for number in said} == said


@given(SUMS)
def test_the_text_says_what_is_asked(each):
    first, word, second = re.fullmatch(r"What is ([a-z-]+) (plus|minus) ([a-z-]+)\?", each.text()).groups()
    assert (WORDS[first], WORDS[second]) == (each.first, each.second)
    value = WORDS[first] + WORDS[second] if word == "plus" else WORDS[first] - WORDS[second]
    assert each.answer == str(value)
    assert value >= 0


@given(SUMS, st.integers(0, 2**32))
def test_solutions_are_right_and_mistakes_are_not(each, seed):
    rng = np.random.default_rng(seed)
    right, wrong = each.reference(rng), each.mistake(rng)
    assert eval(right.solution.partition("=")[0]) == int(right.answer)
    assert right.solution == f"{each.first} {each.symbol} {each.second} = {each.answer}. "
    assert wrong.answer != each.answer
    assert int(wrong.answer) >= 0
    assert wrong.solution.partition("=")[2].strip(" .") == wrong.answer


@given(SUMS, SUMS)
def test_only_the_order_of_a_sum_makes_no_difference(one, other):
    same = one == other or (
        one.symbol == other.symbol == "+"
        and {one.first, one.second} == {other.first, other.second}
        and one.first + one.second == other.first + other.second
    )
    assert (one.canonical == other.canonical) == same


@pytest.mark.parametrize(("digits", "low", "high"), [(1, 0, 9), (2, 10, 99)])
def test_numbers_have_so_many_digits(digits, low, high):
    rng = np.random.default_rng(0)
    made = [sums.generate(rng, digits) for _ in range(2000)]
    assert {each.symbol for each in made} == {"+", "-"}
    numbers = [number for each in made for number in (each.first, each.second)]
    assert (min(numbers), max(numbers)) == (low, high)
    assert min(each.value for each in made) >= 0
