import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill.randomness import generator
from selfdistill.tasks import knights
from selfdistill.tasks.roles import grade

seeds = st.integers(0, 2**32)
sizes = st.integers(2, 5)


def make(people: int, seed: int, forms=knights.FORMS) -> knights.Puzzle:
    return knights.generate(np.random.default_rng(seed), people, forms)


def consistent_assignments(text: str) -> list[dict[str, str]]:
    """By brute force from the printed text alone: every assignment under which all that is said fits who says it."""
    names = re.search(r"inhabitants: ([^.]+)\.", text)[1].split(", ")
    said = dict(re.findall(r"(\w+) says: ([^.]+)\.", text))
    found = []
    for choice in itertools.product(("knight", "knave"), repeat=len(names)):
        roles = dict(zip(names, choice, strict=True))

        def true(claim: str, roles=roles) -> bool:
            if " if and only if " in claim:
                left, right = claim.split(" if and only if ")
                return true(left) == true(right)
            if " or " in claim:
                return any(true(part) for part in claim.split(" or "))
            if " and " in claim:
                return all(true(part) for part in claim.split(" and "))
            name, role = claim.split(" is a ")
            return roles[name] == role

        if all(true(said[name]) == (roles[name] == "knight") for name in names):
            found.append(roles)
    return found


def as_roles(answer: str) -> dict[str, str]:
    return dict(re.findall(r"(\w+) is a (knight|knave)", answer))


def lines_of(solution: str, names) -> list[tuple[dict[str, str], str]]:
    """The lines of a worked solution: the roles tried in it, and the rest."""
    found = []
    for line in solution.splitlines():
        tried, said = line.split(" | ")
        found.append((dict(zip(names, tried.split(), strict=True)), said))
    return found


def attempts(solution: str, names) -> list[list[tuple[dict[str, str], str]]]:
    """The lines of a worked solution, put together by the roles that they try."""
    return [list(group) for _, group in itertools.groupby(lines_of(solution, names), key=lambda line: line[0])]


@settings(max_examples=60, deadline=None)
@given(sizes, seeds, st.sampled_from([knights.FORMS, ("is", "and", "or", "iff"), ("or",)]))
def test_every_puzzle_has_exactly_one_solution_and_it_is_the_answer(people, seed, forms):
    puzzle = make(people, seed, forms)
    assert len(set(puzzle.names)) == people
    assert consistent_assignments(puzzle.text()) == [as_roles(puzzle.answer)]


@settings(max_examples=60, deadline=None)
@given(sizes, seeds)
def test_text_says_what_the_puzzle_is(read_puzzle, people, seed):
    puzzle = make(people, seed)
    assert read_puzzle(puzzle.text()) == puzzle


@settings(max_examples=60, deadline=None)
@given(sizes, seeds)
def test_worked_solutions_end_at_the_answer_and_refute_everything_before(people, seed):
    puzzle = make(people, seed)
    hint = puzzle.reference(np.random.default_rng(seed))
    tried = attempts(hint.solution, puzzle.names)
    assert hint.answer == puzzle.answer
    assert tried[-1][0][0] == as_roles(puzzle.answer)
    assert len({tuple(lines[0][0].items()) for lines in tried}) == len(tried), "no assignment is tried twice"
    for lines in tried[:-1]:
        assert [said.endswith(", no.") for _, said in lines] == [False] * (len(lines) - 1) + [True]
    assert [said.split(" says: ")[0] for _, said in tried[-1]] == list(puzzle.names)
    assert all(said.endswith(", ok.") for _, said in tried[-1])
    assert hint.solution.endswith("\n")


@settings(max_examples=60, deadline=None)
@given(sizes, seeds)
def test_restated_claims_are_judged_under_the_roles_of_their_attempt(people, seed):
    puzzle = make(people, seed)
    solution = puzzle.reference(np.random.default_rng(seed)).solution
    judged = 0
    for roles, said in lines_of(solution, puzzle.names):
        for name, claimed, truth in re.findall(r"(\w+) is a (knight|knave) \[(true|false)\]", said):
            assert (roles[name] == claimed) == (truth == "true")
            judged += 1
    assert judged >= people


@settings(max_examples=100, deadline=None)
@given(sizes, seeds)
def test_mistakes_are_wrong_and_never_pass_the_true_solution(people, seed):
    puzzle = make(people, seed)
    hint = puzzle.mistake(np.random.default_rng(seed))
    assert not grade(hint.answer, puzzle.answer)
    tried = [roles for roles, _ in lines_of(hint.solution, puzzle.names)]
    assert tried[-1] == as_roles(hint.answer)
    assert as_roles(puzzle.answer) not in tried


@settings(max_examples=40, deadline=None)
@given(sizes, seeds)
def test_texts_are_made_of_whole_phrases(people, seed):
    puzzle, rng = make(people, seed, ("is", "and", "or", "iff")), np.random.default_rng(seed)
    phrases = sorted([*knights.PHRASES, *map(str, range(13))], key=len, reverse=True)
    whole = re.compile("(?:" + "|".join(map(re.escape, phrases)) + ")+")
    for text in (puzzle.text(), puzzle.answer, puzzle.reference(rng).solution, puzzle.mistake(rng).solution):
        assert whole.fullmatch(text)


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_puzzles_that_differ_in_names_only_are_the_same_problem(seed):
    puzzle = make(3, seed)
    renamed = knights.Puzzle(tuple(reversed(knights.NAMES[-3:])), puzzle.statements)
    assert renamed.canonical == puzzle.canonical
    flipped = knights.Statement("is", ((puzzle.statements[0].atoms[0][0], not puzzle.statements[0].atoms[0][1]),))
    assert knights.Puzzle(puzzle.names, (flipped, *puzzle.statements[1:])).canonical != puzzle.canonical


def test_generation_is_seeded():
    made = [knights.generate(generator(0, "test", i), 3) for i in range(30)]
    assert made == [knights.generate(generator(0, "test", i), 3) for i in range(30)]
    assert len({puzzle.canonical for puzzle in made}) > 20


@pytest.mark.parametrize("people", [-1, 0, 1, 13])
def test_impossible_sizes_are_refused(people):
    with pytest.raises(ValueError, match="2 to 12 people"):
        make(people, 0)


def test_simple_claims_alone_are_refused():
    with pytest.raises(ValueError, match="compound"):
        make(3, 0, ("is",))
