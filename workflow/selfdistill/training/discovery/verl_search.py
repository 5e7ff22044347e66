"""Self-distillation on one question through verl: a process a question, which ends with its first pass."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfdistill.errors import UserError
from selfdistill.evaluation.attempts import Attempt
from selfdistill.study.training_settings import TrainingSettings
from selfdistill.tasks.schema import write_problems
from selfdistill.training.discovery.examiner import Examiner
from selfdistill.training.discovery.questions import Question
from selfdistill.training.discovery.search import Quest
from selfdistill.training.discovery.self_distillation import question_seed
from selfdistill.training.verl.search_rounds import Round, read_rounds

#: Of a question's folder in the state: the training set of one row, and verl's checkpoints.
_QUESTION, _CHECKPOINTS = "question.parquet", "checkpoints"


class VerlSelfDistillation:
    """A search.Search: all rounds at a question are one, made by a process of verl's trainer.

    A process that is killed goes on from its last checkpoint, in a folder of the question; the rounds after that are
    made again, and are the same only as far as vLLM draws the same.
    """

    one_by_one = True

    def __init__(
        self,
        config: Mapping[str, Any],
        settings: TrainingSettings,
        examiner: Examiner,
        state: Path,
        run: Callable[[Mapping[str, Any], Path, Path], None],
        *,
        budget: int,
        checkpoint_every: int,
    ):
        """Make a search.

        Args:
            config, settings: of the run, whatever the question; its seed is the search's.
            examiner: re-checks passes.
            state: folder of the job's state.
            run: trains to the end, of a question's config, its training set, and the folder of its state.
            budget: of attempts at a question.
            checkpoint_every: rounds from one checkpoint to the next.
        """
        self._config, self._examiner, self._state, self._run = config, examiner, state, run
        self._group = settings.rollout.prompts_per_step * settings.rollout.group_size
        self._rounds, self._every = budget // self._group, checkpoint_every
        self.least = max(self._rounds, 1) * self._group  # all rounds are one

    def begin(self, question: Question, before: Sequence[Attempt]) -> Sequence[Attempt]:
        """Take up a question that has all of its attempts, or none yet."""
        return before

    def round(self, quests: Sequence[Quest]) -> list[list[Attempt]]:
        """Make all attempts at the one question that is at work, by a run of verl of its own."""
        (quest,) = quests
        folder = self._folder(quest.question)
        rounds = read_rounds(folder)
        if not self._ended(rounds):
            file = folder / _QUESTION
            write_problems(file, [quest.question.asked])
            self._run(self._config_of(quest.question), file, folder)
            rounds = read_rounds(folder)
        if not self._ended(rounds):
            raise UserError(
                f"{folder}: verl ended after {len(rounds)} of {self._rounds} rounds, and nothing passes in them; its "
                "log says why. Run again: it goes on from its last checkpoint"
            )
        return [self._attempts(quest.question, rounds)]

    def written(self, quests: Sequence[Quest]) -> None:
        """Remove the weights of questions that have their attempts."""
        for quest in quests:
            shutil.rmtree(self._folder(quest.question) / _CHECKPOINTS, ignore_errors=True)

    def _folder(self, question: Question) -> Path:
        return self._state / "questions" / str(question.asked.index)

    def _ended(self, rounds: Sequence[Round]) -> bool:
        return len(rounds) == self._rounds or any(each.passes for each in rounds)

    def _config_of(self, question: Question) -> dict[str, Any]:
        config = self._config
        return {
            **config,
            "seed": question_seed(config["seed"], question),
            "steps": self._rounds,
            "validation": {**config["validation"], "every": 0},
            "checkpoint": {**config["checkpoint"], "every": self._every},
        }

    def _attempts(self, question: Question, rounds: Sequence[Round]) -> list[Attempt]:
        attempts, updates = [], 0
        for each in rounds:
            for place, text in enumerate(each.responses):
                correct = each.correct[place]
                attempts.append(
                    Attempt(
                        question=question.id,
                        attempt=len(attempts) + 1,
                        turn=each.turn,
                        response=text,
                        finish_reason="length" if each.truncated[place] else "stop",
                        feedback=each.feedback[place],
                        correct=correct,
                        held_back=self._examiner.holds(question, text) if correct else None,
                        tokens_read=each.read[place],
                        tokens_written=each.written[place],
                        tokens_trained=each.trained / self._group,
                        updates=updates,
                    )
                )
            updates += each.updates
        return attempts
