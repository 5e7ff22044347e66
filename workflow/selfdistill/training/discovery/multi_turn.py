"""Searches by a dialogue with the environment: each attempt reads the feedback on those before it."""

from collections.abc import Sequence

from selfdistill.evaluation.attempts import Attempt
from selfdistill.sampling.interface import Sampler, SamplingSettings
from selfdistill.training.discovery.examiner import Examiner
from selfdistill.training.discovery.questions import Question
from selfdistill.training.discovery.search import Quest
from selfdistill.training.discovery.speaker import Speaker


class MultiTurn:
    """Implements search.Search. A turn depends on the seed, the question, its number and the turns before it."""

    one_by_one, least = False, 1

    def __init__(
        self,
        sampler: Sampler,
        sampling: SamplingSettings,
        speaker: Speaker,
        examiner: Examiner,
        *,
        seed: int,
        shape: str,
        window: int,
    ):
        """Make a search.

        Args:
            sampler, sampling: what draws, and how.
            speaker: renders the dialogue.
            examiner: grades.
            seed: of the draws.
            shape: of the dialogue (tasks.earlier_attempts.SHAPES).
            window: tokens of a prompt.
        """
        self._sampler, self._sampling, self._speaker, self._examiner = sampler, sampling, speaker, examiner
        self._seed, self._shape, self._window = seed, shape, window

    def begin(self, question: Question, before: Sequence[Attempt]) -> Sequence[Attempt]:
        """Take up a question; the conversation goes on behind all earlier attempts."""
        return before

    def round(self, quests: Sequence[Quest]) -> list[list[Attempt]]:
        """Make one turn of each chain. Attempts of which nothing was said are not shown."""
        asked = []
        for quest in quests:
            said = [(attempt.response, attempt.feedback) for attempt in quest.attempts if attempt.feedback.strip()]
            asked.append(self._speaker.within(quest.question, said, self._shape, self._window))
        prompts = [prompt for prompt, _ in asked]
        keys = [(self._seed, "dialogue", quest.question.id, len(quest.attempts) + 1) for quest in quests]
        rollouts = self._sampler.sample(prompts, self._sampling, keys)
        return [
            self._examiner.attempts(quest, [rollout], [len(prompt)], turn=len(quest.attempts) + 1, shown=shown)
            for quest, rollout, (prompt, shown) in zip(quests, rollouts, asked, strict=True)
        ]

    def written(self, quests: Sequence[Quest]) -> None:
        """Keeps nothing but the journal's attempts, so there is nothing to save."""
