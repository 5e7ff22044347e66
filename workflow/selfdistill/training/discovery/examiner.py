"""Grades attempts on the tests that a search sees and, where they pass those, on the held-back ones."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from selfdistill.evaluation.attempts import Attempt
from selfdistill.sampling.interface import Rollout
from selfdistill.study.training_settings import TrainingSettings
from selfdistill.training.discovery.questions import Question
from selfdistill.training.discovery.search import Quest
from selfdistill.training.grading import run_graders


class Examiner:
    """Grades the attempts of a run's searches."""

    def __init__(self, config: Mapping[str, Any], settings: TrainingSettings, decode: Callable[[list[int]], str]):
        """config, settings: of a resolved run; decode: token ids -> text without special tokens."""
        self._decode = decode
        self.grade, self.grade_all = run_graders(config, settings)

    def attempts(
        self, quest: Quest, rollouts: Sequence[Rollout], prompt_tokens: Sequence[int], *, turn: int, **more: Any
    ) -> list[Attempt]:
        """Grade the next responses to a question.

        Args:
            quest: the question, with the attempts that were made before.
            rollouts: the responses.
            prompt_tokens: of each, how many its prompt has.
            turn: that they are made in.
            more: of each attempt alike (`evaluation.attempts.Attempt`): shown, updates.
        """
        texts = [self._decode(rollout.response_ids) for rollout in rollouts]
        cut = [rollout.finish_reason == "length" for rollout in rollouts]
        verdicts = self.grade_all(texts, [quest.question.asked] * len(texts), cut)
        return [
            Attempt(
                question=quest.question.id,
                attempt=len(quest.attempts) + 1 + i,
                turn=turn,
                response=texts[i],
                finish_reason=rollout.finish_reason,
                feedback=verdict.feedback,
                correct=verdict.correct,
                held_back=self.holds(quest.question, texts[i]) if verdict.correct else None,
                tokens_read=prompt_tokens[i],
                tokens_written=len(rollout.response_ids),
                **more,
            )
            for i, (rollout, verdict) in enumerate(zip(rollouts, verdicts, strict=True))
        ]

    def holds(self, question: Question, text: str) -> bool:
        """Return whether a response passes all tests of its question, those that were held back among them."""
        return self.grade(text, question.whole).correct
