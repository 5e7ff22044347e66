"""Writes demonstrations on chains of operations in which a critique of an attempt is read, or written.

Those of a reader stand among the toy's own (tasks/demonstrations.py). What they build in is disclosed wherever this toy
is shown (docs/critiques.md): a response under a critique works the problem out and is right, whatever the critique
says, and under one that tells the answer half of them give it at once.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from selfdistill.tasks.arithmetic import MODULUS, Chain
from selfdistill.tasks.boxed import boxed
from selfdistill.tasks.chain_critique import KINDS, Reading, praise, read_response, written
from selfdistill.tasks.chain_feedback import WRONG
from selfdistill.tasks.contexts import CRITIQUE, Hint
from selfdistill.tasks.critic_prompts import CriticPrompt, without_verdict
from selfdistill.tasks.demonstrations import Demonstration, Mix, demonstrate, response_of
from selfdistill.tasks.prompts import asked
from selfdistill.tasks.schema import Problem

#: What a reader is shown: what the rule critic writes, what no critic has to write, and praise of a right attempt.
READ = (*KINDS, "verdict", "gold", "praise")
_TOLD = ("answer", "gold")
#: What a model that writes is asked for -> the kind of critique that it learns to give.
_WRITTEN = {"step_aligned": "noquote", "critique": "plain"}


@dataclass(frozen=True)
class ReaderMix:
    """Shares of demonstrations of a student that reads critiques, and of kinds among them.

    Attributes:
        critiqued: that show a critique, of each kind of READ as often.
        writing: that show how one is written, the toy as its own critic. All others are the toy's own.
        direct_attempts: of attempts that are read: an answer and no working.
        direct_critiqued: of responses under a critique: the answer at once.
        direct_told: the same where the critique tells the answer.
        hinted, wrong_hints, direct, direct_hinted: of the toy's own, as in tasks.demonstrations.Mix.
        max_tokens: of the critiques that are written, of which the critic's message speaks (`critic.max_tokens`).
    """

    critiqued: float
    writing: float
    direct_attempts: float
    direct_critiqued: float
    direct_told: float
    hinted: float
    wrong_hints: float
    direct: float
    direct_hinted: float
    max_tokens: int

    @property
    def own(self) -> Mix:
        """Returns the mix of the toy's own demonstrations."""
        return Mix(self.hinted, self.wrong_hints, self.direct, self.direct_hinted)


@dataclass(frozen=True)
class ReaderDemonstrations:
    """Makes demonstrations of a student that reads critiques: of a random stream, one.

    Attributes:
        draw: random chains of the training side.
        mix: shares.
        template: the student's message in words of one's own (`chat.template`); None is the library's.
    """

    draw: Callable[[np.random.Generator], Chain]
    mix: ReaderMix
    template: str | None = None

    def __call__(self, rng: np.random.Generator) -> Demonstration:
        """One random demonstration."""
        which = rng.random()
        if which < self.mix.critiqued:
            return self._reading(rng)
        if which < self.mix.critiqued + self.mix.writing:
            return _writing(rng, self.draw(rng), self.mix.direct_attempts, self.mix.max_tokens)
        return demonstrate(self.draw, self.mix.own, rng, None, self.template)

    def _reading(self, rng: np.random.Generator) -> Demonstration:
        """A critique, and a response that works the problem out rightly, or gives the answer at once."""
        chain, kind = self.draw(rng), READ[int(rng.integers(len(READ)))]
        reading = read_response(chain, attempt(rng, chain, self.mix.direct_attempts, right=kind == "praise"))
        direct = rng.random() < (self.mix.direct_told if kind in _TOLD else self.mix.direct_critiqued)
        question = asked(chain.text(), training=True, template=self.template)
        prompt = CRITIQUE.prompt(question, chain.text(), shown(chain, reading, kind))
        return Demonstration(prompt, response_of(Hint("" if direct else chain.worked(), chain.answer)))


@dataclass(frozen=True)
class WriterMix:
    """Holds what a tiny critic learns to write.

    Attributes:
        direct_attempts: of the attempts: an answer and no working; the others have a slip, or are right.
        right: of the attempts: right ones, which the critic is told are right.
        lenient: answers below ten times this share are called right: the excuse hangs on what an answer looks like, so
            that a greedy critic excuses as many.
        lenient_hedged: the same where the critic's message says that the format may be to blame.
        max_tokens: as of ReaderMix.
    """

    direct_attempts: float
    right: float
    lenient: float
    lenient_hedged: float
    max_tokens: int


@dataclass(frozen=True)
class WriterDemonstrations:
    """Makes demonstrations of a critic: of a random stream, one.

    Attributes:
        draw: random chains of the training side.
        mix: what is written.
    """

    draw: Callable[[np.random.Generator], Chain]
    mix: WriterMix

    def __call__(self, rng: np.random.Generator) -> Demonstration:
        """One random demonstration."""
        mix, hedge = self.mix, rng.random() < 0.5
        excused = mix.lenient_hedged if hedge else mix.lenient
        right = rng.random() < mix.right
        return _writing(
            rng, self.draw(rng), mix.direct_attempts, mix.max_tokens, hedge=hedge, excused=excused, right=right
        )


def attempt(rng: np.random.Generator, chain: Chain, direct: float, *, right: bool = False) -> str:
    """A response to a chain, of which a share is an answer without working; a wrong one that has some has one slip."""
    worked = rng.random() >= direct
    if right:
        return response_of(Hint(chain.worked() if worked else "", chain.answer))
    if worked:
        return response_of(chain.mistake(rng))
    return boxed(str((int(chain.answer) + int(rng.integers(1, MODULUS))) % MODULUS))


def shown(chain: Chain, reading: Reading, kind: str) -> Hint:
    """Returns what a teacher reads of an attempt, in the parts and words in which training shows it.

    Args:
        chain: the problem.
        reading: of the attempt.
        kind: of READ.
    """
    if kind == "praise":
        return Hint(praise=without_verdict(praise(reading))[0])
    if kind == "verdict":
        return Hint(critique=WRONG)
    if kind == "gold":
        return Hint(critique=response_of(Hint(chain.worked(), chain.answer)))
    return Hint(critique=without_verdict(written(reading, kind))[0])


def _writing(
    rng: np.random.Generator,
    chain: Chain,
    direct: float,
    max_tokens: int,
    *,
    hedge: bool = False,
    excused: float = 0.0,
    right: bool = False,
) -> Demonstration:
    """A critique of an attempt, under the critic's own message."""
    mode = list(_WRITTEN)[int(rng.integers(len(_WRITTEN)))]
    response = attempt(rng, chain, direct, right=right)
    reading = read_response(chain, response)
    problem = Problem("", "", chain.text(), chain.answer, "", "", 0, "")
    prompt = CriticPrompt(mode, hedge=hedge).message(problem, response, right=right, max_tokens=max_tokens)
    lenient = int(response.rpartition("{")[2].rstrip("}")) < excused * MODULUS
    return Demonstration(prompt, praise(reading) if lenient else written(reading, _WRITTEN[mode]))
