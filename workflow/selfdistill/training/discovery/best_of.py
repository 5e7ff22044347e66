"""Searches by best of k: independent draws of the model as it is."""

from collections.abc import Sequence

from selfdistill.evaluation.attempts import Attempt
from selfdistill.sampling.interface import Sampler, SamplingSettings
from selfdistill.training.discovery.examiner import Examiner
from selfdistill.training.discovery.questions import Question
from selfdistill.training.discovery.search import Quest
from selfdistill.training.discovery.speaker import Speaker


class BestOf:
    """Implements search.Search. A draw depends on the seed, the question and its own number alone."""

    one_by_one, least = False, 1

    def __init__(
        self,
        sampler: Sampler,
        sampling: SamplingSettings,
        speaker: Speaker,
        examiner: Examiner,
        *,
        seed: int,
        batch: int,
        purpose: str = "best of k",
    ):
        """Make a search.

        Args:
            sampler, sampling: what draws, and how.
            speaker: renders the question.
            examiner: grades.
            seed: of the draws.
            batch: attempts that are drawn together.
            purpose: names the random stream: draws for two purposes share nothing.
        """
        self._sampler, self._sampling, self._speaker, self._examiner = sampler, sampling, speaker, examiner
        self._seed, self._batch, self._purpose = seed, batch, purpose

    def begin(self, question: Question, before: Sequence[Attempt]) -> Sequence[Attempt]:
        """Take up a question; all earlier attempts count, since each is drawn independently of the others."""
        return before

    def round(self, quests: Sequence[Quest]) -> list[list[Attempt]]:
        """Draw up to `batch` attempts at each question by itself, keyed by their numbers."""
        prompts, keys, counts = [], [], []
        for quest in quests:
            counts.append(min(self._batch, quest.left))
            prompts += [self._speaker.ids(self._speaker.asked(quest.question))] * counts[-1]
            first = len(quest.attempts) + 1
            keys += [(self._seed, self._purpose, quest.question.id, first + i) for i in range(counts[-1])]
        rollouts, made, begin = self._sampler.sample(prompts, self._sampling, keys), [], 0
        for quest, count in zip(quests, counts, strict=True):
            rows = slice(begin, begin := begin + count)
            turn = quest.attempts[-1].turn + 1 if quest.attempts else 1
            made.append(self._examiner.attempts(quest, rollouts[rows], list(map(len, prompts[rows])), turn=turn))
        return made

    def written(self, quests: Sequence[Quest]) -> None:
        """Keeps nothing between rounds, so there is nothing to save."""
