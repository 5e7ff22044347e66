"""Decides which prompts are computed together, and which front they share, before their responses are scored."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from selfdistill.scoring.batching import batches_within, less_padded
from selfdistill.scoring.pictures import pictures_in
from selfdistill.scoring.prompts import PromptPicture, keyed
from selfdistill.scoring.scores import Sequences

_WORTH = 0.1  # of its prompts' tokens that a shared front must save, to be worth a forward of its own
_NEIGHBOURS = 64  # most prompts that share one front
#: The share of a plain forward's tokens above which sharing prompts is not worth its smaller forwards.
WORTH_SHARING = 0.9
#: Cached keys allowed per token of a budget: a key costs about a quarter of a token's activations in each layer.
_KEYS = 4

#: A prompt without its last token, which is read at the head of each response; a picture's key in place of its tokens.
Body = tuple[int, ...]


@dataclass(frozen=True)
class SharedFront:
    """Prompts that begin with the same tokens.

    Attributes:
        prompts: numbers of the prompts.
        length: tokens that they share; 0 for none.
    """

    prompts: list[int]
    length: int


@dataclass(frozen=True)
class Wave:
    """Prompts that are computed in one forward, longest first, with their fronts.

    Attributes:
        prompts: numbers of prompts.
        fronts: the distinct fronts as token ids.
        front_of: which of these each prompt begins with.
    """

    prompts: list[int]
    fronts: list[Body]
    front_of: list[int]

    def rests(self, bodies: Sequence[Body]) -> list[Body]:
        """Return what each prompt has behind its front."""
        fronts = [len(self.fronts[front]) for front in self.front_of]
        return [bodies[prompt][length:] for prompt, length in zip(self.prompts, fronts, strict=True)]

    def columns(self, bodies: Sequence[Body]) -> int:
        """Count the columns of keys that the wave's prompts have when all are padded to the longest."""
        fronts = max(map(len, self.fronts)) if any(self.fronts) else 0
        return fronts + max(1, max(map(len, self.rests(bodies))))

    def tokens(self, bodies: Sequence[Body]) -> int:
        """Count the tokens that are computed for the wave's prompts, padding apart."""
        return sum(map(len, self.fronts)) + sum(map(len, self.rests(bodies)))


@dataclass(frozen=True)
class PrefixSchedule:
    """Holds what is computed for some sequences, and in which order.

    Attributes:
        bodies: distinct prompts without their last tokens.
        waves: of prompts, all of which have a response.
        uses: prompt -> rows of the sequences.
        tokens: that go through the model, padding not counted.
        pictures: of all prompts, by key.
    """

    bodies: list[Body]
    waves: list[Wave]
    uses: list[list[int]]
    tokens: int
    pictures: Mapping[int, PromptPicture] = field(default_factory=dict)

    def response_batches(
        self, wave: Wave, sequences: Sequences, max_tokens: int, worth: int | None = None
    ) -> Iterator[list[tuple[int, int]]]:
        """Cut the responses under a wave's prompts into micro-batches of similar length, longest first.

        Args:
            wave: of this schedule.
            sequences: those that it was made of.
            max_tokens: padded tokens of responses a forward, whose keys, prompts' included, are four times as many at
                most; at least one row.
            worth: columns of padding that a further forward must save; None: as few forwards as the budget allows.

        Returns:
            Batches of (row of the sequences, place of its prompt in the wave).
        """
        responses, before = sequences.responses, wave.columns(self.bodies)
        jobs = [(row, place) for place, prompt in enumerate(wave.prompts) for row in self.uses[prompt]]
        jobs.sort(key=lambda job: (-len(responses[job[0]]), job))

        def row_tokens(width: int) -> float:
            return max(width, (before + width) / _KEYS)

        for batch in batches_within(jobs, lambda job: (len(responses[job[0]]),), row_tokens, max_tokens):
            if worth is None:
                yield batch
            else:
                yield from less_padded(batch, lambda job: len(responses[job[0]]), worth)

    def forwards(self, sequences: Sequences, max_tokens: int, worth: int | None = None) -> int:
        """Count the forwards of the schedule: fronts, prompts and responses of each wave; arguments as above."""
        return sum(
            any(wave.fronts) + 1 + sum(1 for _ in self.response_batches(wave, sequences, max_tokens, worth))
            for wave in self.waves
        )


def schedule_prefixes(sequences: Sequences, max_tokens: int, *, fronts: bool = True) -> PrefixSchedule:
    """Arrange the distinct prompts of some sequences in waves.

    Args:
        sequences: prompts and responses. Rows without a response have no use of their prompt.
        max_tokens: padded tokens of a wave's prompts, fronts included; a single prompt may be over it.
        fronts: whether prompts may share one.

    Returns:
        The schedule; equal sequences have equal ones.
    """
    number: dict[tuple[int, ...], int] = {}
    uses: list[list[int]] = []
    for row, (prompt, response) in enumerate(zip(sequences.prompts, sequences.responses, strict=True)):
        if len(response):
            place = number.setdefault(keyed(prompt), len(uses))
            if place == len(uses):
                uses.append([])
            uses[place].append(row)
    bodies = [prompt[:-1] for prompt in number]
    shared = shared_fronts(bodies) if fronts else [SharedFront([prompt], 0) for prompt in range(len(bodies))]
    waves = _waves(bodies, shared, max_tokens)
    computed = sum(wave.tokens(bodies) for wave in waves)
    tokens = computed + sum(map(len, sequences.responses))
    return PrefixSchedule(bodies, waves, uses, tokens, pictures_in(sequences.prompts))


def shared_fronts(bodies: Sequence[Body]) -> list[SharedFront]:
    """Part distinct prompts so that their shared fronts save most tokens; deterministic, in an order of their own.

    In sorted order prompts with a common beginning are neighbours, so a front is shared by a run of them, and the most
    that the first e prompts can save is::

        saved[0] = 0
        saved[e] = max(saved[e - 1], max over s < e - 1 of saved[s] + front(s, e) * (e - s - 1))

    front(s, e) is what prompts s to e - 1 have in common, at least one token of each left over; of a picture it has all
    or nothing. A run counts only if it saves a tenth of its prompts' tokens, and has at most 64 prompts.
    """
    order = sorted(range(len(bodies)), key=lambda prompt: bodies[prompt])
    common = [_common(bodies[a], bodies[b]) for a, b in itertools.pairwise(order)]

    def front(start: int, end: int) -> int:
        shortest = min(len(bodies[prompt]) for prompt in order[start:end])
        shared = min(min(common[start : end - 1], default=0), shortest - 1) if end - start > 1 else 0
        first = bodies[order[start]]
        while shared and first[shared - 1] < 0 and first[shared] == first[shared - 1]:
            shared -= 1
        return shared

    saved, begins = [0], [0]  # begins[e]: where the last run of the first e prompts begins
    for end in range(1, len(order) + 1):
        best, begin = saved[end - 1], end - 1
        length = tokens = len(bodies[order[end - 1]])
        shared = length - 1
        for start in range(end - 2, max(end - 1 - _NEIGHBOURS, -1), -1):
            length = len(bodies[order[start]])
            shared, tokens = min(shared, common[start], length - 1), tokens + length
            if shared <= 0:
                break
            gain = shared * (end - start - 1)
            if gain >= _WORTH * tokens and saved[start] + gain > best:
                best, begin = saved[start] + gain, start
        saved.append(best)
        begins.append(begin)
    runs, end = [], len(order)
    while end:
        runs.append(SharedFront(order[begins[end] : end], front(begins[end], end)))
        end = begins[end]
    return runs[::-1]


def _waves(bodies: Sequence[Body], shared: Sequence[SharedFront], max_tokens: int) -> list[Wave]:
    """Prompts behind their fronts, those with the longest rests first; a front that is cut by a budget comes twice."""

    def longest_rest(front: SharedFront) -> int:
        return max(len(bodies[prompt]) for prompt in front.prompts) - front.length

    jobs = [
        (front, prompt)
        for front in sorted(shared, key=lambda front: (-longest_rest(front), front.prompts))
        for prompt in sorted(front.prompts, key=lambda prompt: (-len(bodies[prompt]), prompt))
    ]

    def widths(job: tuple[SharedFront, int]) -> tuple[int, int, int]:
        front, prompt = job
        of_pictures = sum(key < 0 for key in bodies[prompt])  # which go through the vision tower besides
        return front.length, len(bodies[prompt]) - front.length, of_pictures

    return [_wave(bodies, batch) for batch in batches_within(jobs, widths, lambda *width: sum(width), max_tokens)]


def _wave(bodies: Sequence[Body], jobs: Sequence[tuple[SharedFront, int]]) -> Wave:
    """One wave of prompts, those of a front next to each other."""
    wave, last = Wave([], [], []), None
    for front, prompt in jobs:
        if front is not last:
            wave.fronts.append(bodies[prompt][: front.length])
            last = front
        wave.prompts.append(prompt)
        wave.front_of.append(len(wave.fronts) - 1)
    return wave


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """Returns how many tokens two prompts have in common at the front."""
    for place, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return place
    return min(len(first), len(second))
