import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill.randomness import generator
from selfdistill.tasks import arithmetic
from selfdistill.tasks.arithmetic import Chain

chains = st.builds(
    Chain,
    st.integers(0, 9),
    st.lists(st.tuples(st.sampled_from("+-*"), st.integers(0, 9)), min_size=1, max_size=12).map(tuple),
)


def slow_answer(chain: Chain) -> int:
    """All in one expression of unbounded integers, reduced at the very end."""
    expression = "(" * len(chain.operations) + str(chain.start)
    expression += "".join(f"{symbol}{digit})" for symbol, digit in chain.operations)
    return eval(expression) % 10


@given(chains)
def test_answer_against_one_big_expression(chain):
    assert chain.answer == str(slow_answer(chain))


@given(chain=chains)
def test_text_says_what_the_chain_is(chain, read_chain):
    assert read_chain(chain.text()) == chain


@given(chains)
def test_the_worked_solution_computes_every_step_and_ends_at_the_answer(chain):
    steps = re.findall(r"(\d)([-+*])(\d)=(\d)", chain.worked())
    assert [(symbol, int(digit)) for _, symbol, digit, _ in steps] == list(chain.operations)
    assert int(steps[0][0]) == chain.start
    for before, symbol, digit, after in steps:
        assert eval(f"{before}{symbol}{digit}") % 10 == int(after)
    assert [s[0] for s in steps[1:]] == [s[3] for s in steps[:-1]]
    assert steps[-1][3] == chain.answer


@given(chains, st.integers(0, 2**32))
def test_a_mistake_has_one_slip_and_a_wrong_answer(chain, seed):
    hint = chain.mistake(np.random.default_rng(seed))
    assert hint.answer != chain.answer
    steps = re.findall(r"(\d)([-+*])(\d)=(\d)", hint.solution)
    assert steps[-1][3] == hint.answer
    slips = [s for s in steps if eval(f"{s[0]}{s[1]}{s[2]}") % 10 != int(s[3])]
    assert len(slips) == 1
    assert [s[0] for s in steps[1:]] == [s[3] for s in steps[:-1]], "carried on from the slip"


@given(chains, st.integers(0, 2**32), st.floats(0, 1))
def test_slips_are_one_too_much_at_shaky_operations_and_are_carried_on(chain, seed, rate):
    hint = chain.slipping(np.random.default_rng(seed), rate)
    steps = re.findall(r"(\d)([-+*])(\d)=(\d)", hint.solution)
    assert [(symbol, int(digit)) for _, symbol, digit, _ in steps] == list(chain.operations)
    assert [s[0] for s in steps] == [str(chain.start), *(s[3] for s in steps[:-1])]
    assert steps[-1][3] == hint.answer
    for before, symbol, digit, after in steps:
        too_much = (int(after) - eval(f"{before}{symbol}{digit}")) % 10
        assert too_much in ((0, 1) if arithmetic.is_shaky(symbol, int(digit)) else (0,))
        if rate in (0, 1) and arithmetic.is_shaky(symbol, int(digit)):
            assert too_much == rate


def test_a_shaky_operation_slips_at_the_rate():
    rng, chain = np.random.default_rng(0), Chain(0, (("+", 5),))
    assert arithmetic.is_shaky("+", 5)
    assert np.mean([chain.slipping(rng, 0.3).answer == "6" for _ in range(4000)]) == pytest.approx(0.3, abs=0.03)
    shaky = [symbol + str(digit) for symbol in "+-*" for digit in range(10) if arithmetic.is_shaky(symbol, digit)]
    assert shaky == ["+5", "+8", "+9", "-5", "*0", "*1", "*2"]


@given(chains, chains)
def test_canonical_tells_different_chains_apart(one, other):
    assert (one.canonical == other.canonical) == (one == other)


@pytest.mark.parametrize("operations", [1, 3, 8])
def test_generation_is_seeded_and_has_the_size_asked_for(operations):
    made = [arithmetic.generate(generator(0, "test", i), operations) for i in range(50)]
    assert made == [arithmetic.generate(generator(0, "test", i), operations) for i in range(50)]
    assert {len(chain.operations) for chain in made} == {operations}
    assert len(set(made)) > 25


@settings(max_examples=20)
@given(chains)
def test_text_and_solution_are_made_of_whole_phrases(chain):
    phrases = sorted(arithmetic.PHRASES, key=len, reverse=True)
    for text in (chain.text(), chain.worked()):
        assert re.fullmatch("(?:" + "|".join(map(re.escape, phrases)) + ")+", text)
