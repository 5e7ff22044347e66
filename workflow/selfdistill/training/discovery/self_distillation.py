"""Searches by self-distillation on one question: attempts, feedback, an update, and again (arXiv 2601.20802)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from selfdistill.evaluation.attempts import Attempt
from selfdistill.randomness import seed_of
from selfdistill.runs.metrics import READ_FOR_UPDATES, SKIPPED
from selfdistill.runs.state_folder import StateFolder
from selfdistill.study.training_settings import TrainingSettings
from selfdistill.tasks.schema import Problem
from selfdistill.training.discovery.examiner import Examiner
from selfdistill.training.discovery.questions import Question
from selfdistill.training.discovery.search import Quest, passed
from selfdistill.training.rollouts import StepRollouts


class QuestionTrainer(Protocol):
    """A trainer of one question, which begins with the initial weights (training.local.trainer.LocalTrainer)."""

    def roll_out(self, number: int) -> StepRollouts:
        """Draw and grade the rollouts of a round, counted from 1."""

    def learn(self, number: int, rollouts: StepRollouts) -> dict[str, float]:
        """Make the round's updates from these rollouts; returns its metrics by name."""

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizer and teacher, as named tensors."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from such a state."""


class SelfDistillation:
    """Implements search.Search: the training step on one question, whose copies fill a step.

    While nothing passes every rollout has feedback alone to learn from. The last round makes no update, be it one with
    a pass or the last that the budget has room for: no attempt would use it. Weights, optimizer and teacher start anew
    with each question.
    """

    one_by_one = True

    def __init__(
        self,
        trainer: Callable[[Problem, int], QuestionTrainer],
        settings: TrainingSettings,
        examiner: Examiner,
        state: StateFolder,
        *,
        seed: int,
        checkpoint_every: int,
        report: Callable[[str], None],
    ):
        """Make a search.

        Args:
            trainer: makes one, of a problem and the seed of its rollouts.
            settings: of the training, whatever the question.
            examiner: re-checks passes.
            state: holds checkpoints.
            seed: of the search.
            checkpoint_every: rounds from one checkpoint of a question's training to the next.
            report: takes one line of progress.
        """
        self._make, self._examiner, self._state, self._report = trainer, examiner, state, report
        self.least = settings.rollout.prompts_per_step * settings.rollout.group_size  # part of a group is no step
        self._seed, self._every = seed, checkpoint_every
        self._trainer: QuestionTrainer | None = None
        self._saved, self._updates = 0, 0
        self._of_round = settings.rollout.prompts_per_step // settings.update.prompts_per_update

    def begin(self, question: Question, before: Sequence[Attempt]) -> Sequence[Attempt]:
        """Take up a question at its last checkpoint: the weights there know the attempts before it."""
        self._trainer = self._make(question.asked, question_seed(self._seed, question))
        self._saved, self._updates = self._state.latest_step(), 0
        found = self._state.load_checkpoint(self._report) if before else None  # as large as the model
        if found is None or found[1]["question"] != question.id:
            return []
        turn = found[1]["turn"]
        if turn > before[-1].turn:
            return []  # its attempts were lost
        self._trainer.load_state_dict(found[0])
        self._updates = found[1]["updates"]
        self._report(f"{question.id}: resumed after {turn} rounds")
        return [attempt for attempt in before if attempt.turn <= turn]

    def round(self, quests: Sequence[Quest]) -> list[list[Attempt]]:
        """Draw a group of attempts at the question and, where more of them follow, make an update of them."""
        (quest,) = quests
        if self._trainer is None:
            raise RuntimeError("a round before its question was taken up")
        before, turn = quest.attempts, quest.attempts[-1].turn + 1 if quest.attempts else 1
        rollouts = self._trainer.roll_out(turn)
        attempts = [
            Attempt(
                question=quest.question.id,
                attempt=len(before) + 1 + i,
                turn=turn,
                response=rollouts.texts[i],
                finish_reason="length" if rollouts.truncated[i] else "stop",
                feedback="" if rollouts.feedback is None else rollouts.feedback[i],
                correct=bool(rollouts.correct[i]),
                held_back=self._examiner.holds(quest.question, rollouts.texts[i]) if rollouts.correct[i] else None,
                tokens_read=len(rollouts.prompts[i]),
                tokens_written=len(rollouts.responses[i]),
                updates=self._updates,
            )
            for i in range(self.least)
        ]
        if passed(attempts) or quest.left - self.least < self.least:
            return [attempts]
        metrics = self._trainer.learn(turn, rollouts)
        self._updates += self._of_round - int(metrics.get(SKIPPED, 0))
        trained = sum(metrics.get(name, 0) for name in READ_FOR_UPDATES) / self.least
        return [[replace(attempt, tokens_trained=trained) for attempt in attempts]]

    def written(self, quests: Sequence[Quest]) -> None:
        """Save weights and teacher every so many rounds, for a process that goes on from there."""
        (quest,) = quests
        turn = quest.attempts[-1].turn if quest.attempts else 0
        if self._trainer is None or not turn or turn % self._every:
            return
        if passed(quest.attempts) or quest.left < self.least:
            return  # nobody goes on from there
        self._saved += 1
        facts = {"question": quest.question.id, "turn": turn, "updates": self._updates}
        self._state.save_checkpoint(self._saved, self._trainer.state_dict(), facts)


def question_seed(seed: int, question: Question) -> int:
    """Return the seed of a question's training: those of two questions share no random stream."""
    return seed_of(seed, "question", question.id) % 2**31
