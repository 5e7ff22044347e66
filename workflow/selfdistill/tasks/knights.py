"""Generates Knights and Knaves puzzles with exactly one solution, and a worked solution of each.

Knights always tell the truth, knaves always lie. Every inhabitant makes one statement about roles; a puzzle is kept
only if exhaustive search over the 2**n role assignments finds a single consistent one.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from selfdistill.tasks.prompts import Hint

NAMES = ("Ava", "Ben", "Chloe", "David", "Emma", "Finn", "Grace", "Henry", "Ivy", "Jack", "Kate", "Leo")

_ISLAND = (
    "A very special island is inhabited only by knights and knaves. Knights always tell the truth, and knaves "
    "always lie. You meet "
)
_INHABITANTS = " inhabitants: "
_SAYS = " says: "
_QUESTION = "So who is a knight and who is a knave?"
_ROLE = {True: " is a knight", False: " is a knave"}
_JOIN = {"and": " and ", "or": " or ", "iff": " if and only if "}
_TRIED = {True: "knight ", False: "knave "}
_BAR = "| "
_TRUTH = {True: " [true]", False: " [false]"}
_VERDICT = {True: ", ok.\n", False: ", no.\n"}

#: Text pieces that a word-level tokenizer should keep whole. A name and what is said of it are one piece: so a small
#: model can learn to search within minutes.
PHRASES = [
    _ISLAND,
    _INHABITANTS,
    _QUESTION,
    *NAMES,
    *(name + _SAYS for name in NAMES),
    *(name + role for name in NAMES for role in _ROLE.values()),
    *_JOIN.values(),
    *_TRIED.values(),
    _BAR,
    *_TRUTH.values(),
    *_VERDICT.values(),
    ", ",
    ". ",
]

#: The toy's mix of statements: half of them simple claims.
FORMS = ("is", "is", "is", "and", "or", "iff")

MAX_REORDERED = 6

Atom = tuple[int, bool]  # (person, claimed to be a knight)
Roles = tuple[bool, ...]  # True for a knight


@dataclass(frozen=True)
class Statement:
    """Holds what one inhabitant says: a single claim about a role (form "is"), or two joined by and, or, iff."""

    form: str
    atoms: tuple[Atom, ...]

    def holds(self, roles: Roles) -> bool:
        """Return whether it is true where these are the roles."""
        values = [roles[person] == knight for person, knight in self.atoms]
        if self.form == "and":
            return all(values)
        if self.form == "or":
            return any(values)
        if self.form == "iff":
            return values[0] == values[1]
        return values[0]

    def text(self, names: tuple[str, ...]) -> str:
        return _JOIN.get(self.form, "").join(names[person] + _ROLE[knight] for person, knight in self.atoms)

    def judged(self, names: tuple[str, ...], roles: Roles) -> str:
        """Return the statement restated, each of its parts with whether it is true under these roles."""
        parts = [names[p] + _ROLE[knight] + _TRUTH[roles[p] == knight] for p, knight in self.atoms]
        return _JOIN.get(self.form, "").join(parts)


@dataclass(frozen=True)
class Puzzle:
    """A puzzle: who says what of whom."""

    names: tuple[str, ...]
    statements: tuple[Statement, ...]  # one a person, in the order of names

    @property
    def solution(self) -> Roles:
        """Returns the only roles under which every knight's statement holds and no knave's does."""
        (only,) = solutions(self.statements)
        return only

    @property
    def answer(self) -> str:
        return self.answer_for(self.solution)

    @property
    def canonical(self) -> str:
        """Returns one key for puzzles that differ only in names, the order of people, or the order of joined claims.

        Above MAX_REORDERED people the order of people counts: n! orders are many, and so large puzzles hardly repeat.
        """
        people = range(len(self.names))
        orders = itertools.permutations(people) if len(people) <= MAX_REORDERED else [tuple(people)]
        return repr(min(self._reordered(order) for order in orders))

    def _reordered(self, order: tuple[int, ...]) -> list[tuple[str, list[Atom]]]:
        """The statements with person p as number order[p]."""
        renumbered = [(s.form, sorted((order[person], knight) for person, knight in s.atoms)) for s in self.statements]
        return [renumbered[order.index(number)] for number in range(len(order))]

    def answer_for(self, roles: Roles) -> str:
        """Return the answer that says these roles, right or not."""
        return ", ".join(name + _ROLE[role] for name, role in zip(self.names, roles, strict=True))

    def text(self) -> str:
        listed = ", ".join(self.names)
        said = "".join(f"{n}{_SAYS}{s.text(self.names)}. " for n, s in zip(self.names, self.statements, strict=True))
        return f"{_ISLAND}{len(self.names)}{_INHABITANTS}{listed}. {said}{_QUESTION}"

    def worked(self, first: int, accept: Roles | None = None) -> str:
        """Return a search through the role assignments in cyclic order from number `first`, up to the accepted one.

        Each line holds the roles that are tried, in the order of names, and one statement judged under them; one that
        contradicts its speaker's role ends the attempt. `accept` is the assignment at which the search stops: the true
        solution by default, any other one for a wrong solution, whose failing checks are then passed as if they held.
        """
        accept = self.solution if accept is None else accept
        count, lines = 2 ** len(self.names), []
        for number in range(count):
            roles = _assignment((first + number) % count, len(self.names))
            tried = "".join(_TRIED[role] for role in roles)
            for speaker, statement in enumerate(self.statements):
                fits = statement.holds(roles) == roles[speaker] or roles == accept
                judged = statement.judged(self.names, roles)
                lines.append(f"{tried}{_BAR}{self.names[speaker]}{_SAYS}{judged}{_VERDICT[fits]}")
                if not fits:
                    break
            if roles == accept:
                return "".join(lines)
        raise AssertionError("cyclic enumeration visits every assignment")

    def reference(self, rng: np.random.Generator) -> Hint:
        """Return a worked solution whose search starts at a random assignment."""
        return Hint(self.worked(int(rng.integers(2 ** len(self.names)))), self.answer)

    def mistake(self, rng: np.random.Generator) -> Hint:
        """Return a worked solution that stops at a wrong assignment, and that answer."""
        count = 2 ** len(self.names)
        right = _number(self.solution)
        steps = int(rng.integers(1, count))  # from the solution to the accepted assignment, cyclically
        accept = _assignment((right + steps) % count, len(self.names))
        # The search starts behind the solution: passing it by, with every check fulfilled, would make no sense.
        first = (right + int(rng.integers(1, steps + 1))) % count
        return Hint(self.worked(first, accept), self.answer_for(accept))


def _assignment(number: int, people: int) -> Roles:
    return tuple(bool(number >> (people - 1 - i) & 1) for i in range(people))


def _number(roles: Roles) -> int:
    return sum(role << (len(roles) - 1 - i) for i, role in enumerate(roles))


def solutions(statements: tuple[Statement, ...]) -> list[Roles]:
    """Return all role assignments under which every knight's statement holds and every knave's does not."""
    candidates = itertools.product((True, False), repeat=len(statements))
    return [r for r in candidates if all(s.holds(r) == r[i] for i, s in enumerate(statements))]


def generate(rng: np.random.Generator, people: int, forms: tuple[str, ...] = FORMS) -> Puzzle:
    """Return a random puzzle for `people` inhabitants with exactly one solution.

    Inhabitants are named in the order of NAMES. In compound statements a speaker may name itself. `forms` are drawn
    from alike; one that is there twice comes twice as often.

    Raises ValueError for fewer than two people or more than there are names, and for forms that leave no unique
    solution (claims about others alone never tell the two sides apart: flipping every role changes nothing).
    """
    if not set(forms) - {"is"}:
        raise ValueError(f"puzzles need compound statements (and, or, iff) to have one solution, got {forms}")
    if not 2 <= people <= len(NAMES):
        raise ValueError(f"Knights-and-Knaves puzzles here take 2 to {len(NAMES)} people, not {people}")
    while True:
        statements = tuple(_statement(rng, speaker, people, forms) for speaker in range(people))
        if len(solutions(statements)) == 1:
            return Puzzle(NAMES[:people], statements)


def _statement(rng: np.random.Generator, speaker: int, people: int, forms: tuple[str, ...]) -> Statement:
    form = str(rng.choice(forms))
    if form == "is":  # "I am a knight" says nothing, "I am a knave" cannot be said
        persons = [(speaker + int(rng.integers(1, people))) % people]
    else:
        persons = rng.choice(people, size=2, replace=False)
    return Statement(form, tuple((int(p), bool(rng.integers(2))) for p in persons))
