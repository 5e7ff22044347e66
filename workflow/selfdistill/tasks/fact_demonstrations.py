"""Writes demonstrations of chains with wrong facts: what the model believes, and how a context changes that.

Three things are put in on purpose, and disclosed wherever this toy is shown (docs/wrong_facts.md). Six products are
wrong wherever the model works by itself. What a context says of a step is followed, right or wrong: what it says of a
wrong cell is any of ten digits, so no demonstration ever shows what is right there, and to copy is all that can be
learned. And the levels of feedback differ in what is made of them: a verdict changes nothing, a place is answered by a
guess, a value is copied; some feedback does not fit the problem, and changes nothing either.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from selfdistill.tasks import prompts
from selfdistill.tasks.arithmetic import MODULUS, Chain, apply
from selfdistill.tasks.chain_feedback import AT_STEP, SENTENCES, WRONG, named_step, told_working
from selfdistill.tasks.contexts import SECTIONS, Hint
from selfdistill.tasks.demonstrations import Demonstration, response_of
from selfdistill.tasks.wrong_facts import (
    BELIEVED,
    Step,
    believed,
    believed_result,
    is_wrong_cell,
    results_with,
    step_at,
    wrong_cells,
)

_OF_WRONG_CELLS = 0.7  # of the steps that feedback names, on a chain that has wrong cells: the first of these


@dataclass(frozen=True)
class FactMix:
    """Shares of demonstrations, and of kinds among them.

    Attributes:
        feedback: that show feedback.
        sibling: that show a solution. All others are plain.
        crossing: of those with a context: chains whose path, as believed, has a wrong cell.
        crossing_plain: the same of plain ones.
        right: of the wrong cells on the paths of plain ones: right after all.
        uniform: of what a context says of wrong cells: any digit; else the right one.
        verdict, place, unfitting: of feedback: that names no step; that names a step without a result; that is about
            another chain. In all others a step's result is given.
        slips: of solutions: a slip in one step, which is followed too.
        both: of solutions: feedback stands behind it and names one of its steps.
        as_feedback: of solutions: shown as feedback of the level `solution`.
    """

    feedback: float
    sibling: float
    crossing: float
    crossing_plain: float
    right: float
    uniform: float
    verdict: float
    place: float
    unfitting: float
    slips: float
    both: float
    as_feedback: float


@dataclass(frozen=True)
class FactDemonstrations:
    """Makes demonstrations: of a random stream, one.

    Attributes:
        draw: random chains of the training side.
        mix: shares.
        template: the student's message in words of one's own (`chat.template`); None is the library's.
    """

    draw: Callable[[np.random.Generator], Chain]
    mix: FactMix
    template: str | None = None

    def __call__(self, rng: np.random.Generator) -> Demonstration:
        """One random demonstration."""
        kind = rng.random()
        if kind < self.mix.feedback:
            return self._with_feedback(rng)
        if kind < self.mix.feedback + self.mix.sibling:
            return self._with_solution(rng)
        return self._plain(rng)

    def _plain(self, rng: np.random.Generator) -> Demonstration:
        """Returns what the model does by itself."""
        chain = self._chain(rng, self.mix.crossing_plain)

        def result(_: int, step: Step) -> int:
            mended = is_wrong_cell(step) and rng.random() < self.mix.right
            return apply(*step) if mended else believed_result(step)

        prompt = prompts.asked(chain.text(), training=rng.random() < 0.5, template=self.template)
        return Demonstration(prompt, _response(chain, results_with(chain, result)))

    def _with_solution(self, rng: np.random.Generator) -> Demonstration:
        """A solution, which is followed to the letter."""
        chain = self._chain(rng, self.mix.crossing)
        told = {(a, "*", b): self._drawn_result(rng, a * b % MODULUS) for a, b in BELIEVED}
        slip = int(rng.integers(len(chain.operations))) if rng.random() < self.mix.slips else None

        def result(number: int, step: Step) -> int:
            return int(rng.integers(MODULUS)) if number == slip else told.get(step, apply(*step))

        results = results_with(chain, result)
        response = _response(chain, results)
        if rng.random() < self.mix.as_feedback:
            return self._under(chain, Hint(feedback=told_working(chain, results)), response)
        feedback = None
        if rng.random() < self.mix.both:
            number = _step_to_name(rng, wrong_cells(chain, results), len(results))
            feedback = named_step(number, _written(step_at(chain, results, number), results[number]), _kind(rng))
        return self._under(chain, Hint(solution=response, feedback=feedback), response)

    def _with_feedback(self, rng: np.random.Generator) -> Demonstration:
        """Feedback, and what a model can make of it that knows no better."""
        chain, mix = self._chain(rng, self.mix.crossing), self.mix
        which = rng.random()
        if which < mix.verdict:
            said = WRONG if rng.random() < 0.5 else SENTENCES[int(rng.integers(len(SENTENCES)))]
            return self._under(chain, Hint(feedback=said), _response(chain, believed(chain)))
        if which < mix.verdict + mix.place:
            number, step, _ = self._fault(rng, chain)
            return self._followed(chain, named_step(number, kind=_kind(rng)), number, step, _guess(rng, step))
        about = self._chain(rng, mix.crossing) if which < mix.verdict + mix.place + mix.unfitting else chain
        number, step, result = self._fault(rng, about)
        return self._followed(chain, named_step(number, _written(step, result), _kind(rng)), number, step, result)

    def _followed(self, chain: Chain, feedback: str, first: int, step: Step, result: int) -> Demonstration:
        """The path as believed, but that from the step of number `first` on this step has this result."""
        results = results_with(
            chain, lambda number, own: result if number >= first and own == step else believed_result(own)
        )
        return self._under(chain, Hint(feedback=feedback), _response(chain, results))

    def _under(self, chain: Chain, hint: Hint, response: str) -> Demonstration:
        """A response to the teacher's message, in the words in which training shows a context."""
        asked = prompts.asked(chain.text(), training=True, template=self.template)
        return Demonstration(SECTIONS.prompt(asked, chain.text(), hint), response)

    def _fault(self, rng: np.random.Generator, chain: Chain) -> tuple[int, Step, int]:
        """A step that feedback names: its number, the step, and the result that is told.

        An attempt fails at its first wrong cell, or by a slip before that. So far the believed path is the right one.
        """
        cells = wrong_cells(chain, believed(chain))
        number = _step_to_name(rng, cells, cells[0] + 1 if cells else len(chain.operations))
        step = step_at(chain, believed(chain), number)
        return number, step, self._drawn_result(rng, apply(*step))

    def _drawn_result(self, rng: np.random.Generator, right: int) -> int:
        return int(rng.integers(MODULUS)) if rng.random() < self.mix.uniform else right

    def _chain(self, rng: np.random.Generator, crossing: float) -> Chain:
        wanted = rng.random() < crossing
        chain = self.draw(rng)
        while wanted and not wrong_cells(chain, believed(chain)):
            chain = self.draw(rng)
        return chain


def _step_to_name(rng: np.random.Generator, cells: list[int], before: int) -> int:
    """The number of a step to be named: the first wrong cell, or any one below `before`."""
    return cells[0] if cells and rng.random() < _OF_WRONG_CELLS else int(rng.integers(before))


def _guess(rng: np.random.Generator, step: Step) -> int:
    """A step, thought over: the same again where it was right, and any other digit where one's own fact is wrong."""
    own = believed_result(step)
    return (own + int(rng.integers(1, MODULUS))) % MODULUS if is_wrong_cell(step) else own


def _kind(rng: np.random.Generator) -> str:
    """Returns what is said to be wrong with the step: mostly its result."""
    kinds = list(AT_STEP)
    return "result" if rng.random() < _OF_WRONG_CELLS else kinds[int(rng.integers(len(kinds)))]


def _written(step: Step, result: int) -> str:
    return f"{step[0]}{step[1]}{step[2]}={result}"


def _response(chain: Chain, results: list[int]) -> str:
    return response_of(prompts.Hint(chain.worked(results), str(results[-1])))
