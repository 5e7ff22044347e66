"""Rollouts scored under the contexts that their hints make."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from selfdistill.errors import UserError
from selfdistill.models.chat import DEFAULT, ChatSettings, control_tokens, encode_messages, turn_marks
from selfdistill.models.tokenizer_check import encoded
from selfdistill.scoring.query import LOGPROBS_ONLY, Query
from selfdistill.scoring.scores import Scorer, Scores
from selfdistill.signals.hints import Assignment
from selfdistill.signals.teacher_queries import Use, distinct_queries, plain_tokens
from selfdistill.study.teacher_settings import HintSettings
from selfdistill.tasks.contexts import Hint
from selfdistill.tasks.prompts import context_template, student_messages
from selfdistill.tasks.schema import Problem


@dataclass(frozen=True)
class TeacherContexts:
    """Teacher prompts as token ids.

    Attributes:
        correct: one a rollout, None where it has no hints; the student's own prompt of a plain teacher.
        wrong: ragged, up to K a rollout.
        truncated_share: share of hinted prompts, over both kinds, that lost something to a limit.
        read: whether any loss reads what the teacher says of a rollout; None: of each that has hints.
    """

    correct: list[list[int] | None]
    wrong: list[list[list[int]]]
    truncated_share: float
    read: list[bool] | None = None

    @property
    def hinted(self) -> list[bool]:
        """Which rollouts the teacher is asked about: they have their hints, and somebody reads the answer."""
        read = self.read if self.read is not None else [True] * len(self.correct)
        return [context is not None and wanted for context, wanted in zip(self.correct, read, strict=True)]

    @property
    def correct_uses(self) -> list[Use]:
        """One use for each rollout that the teacher is asked about."""
        return [Use(row, self.correct[row]) for row in self._asked]

    @property
    def wrong_uses(self) -> list[Use]:
        """One use for each wrong hint of these rollouts."""
        return [Use(row, context, slot) for row in self._asked for slot, context in enumerate(self.wrong[row])]

    @property
    def wrong_mask(self) -> Tensor:
        """(B, K) bool, True where a rollout that the teacher is asked about has a wrong hint."""
        mask = torch.zeros(len(self.correct), max((len(self.wrong[row]) for row in self._asked), default=0)).bool()
        for use in self.wrong_uses:
            mask[use.row, use.slot] = True
        return mask

    @property
    def _asked(self) -> list[int]:
        return [row for row, hinted in enumerate(self.hinted) if hinted]

    def rows(self, index: Sequence[int]) -> "TeacherContexts":
        """Return the contexts of the given rollouts."""
        read = None if self.read is None else [self.read[i] for i in index]
        return replace(self, correct=[self.correct[i] for i in index], wrong=[self.wrong[i] for i in index], read=read)


def plain_contexts(prompts: Sequence[Sequence[int]]) -> TeacherContexts:
    """Return contexts of a teacher that reads what the student read: its own prompts, and no hint.

    Args:
        prompts: token ids of each rollout's.
    """
    return TeacherContexts([list(prompt) for prompt in prompts], [[] for _ in prompts], 0.0)


@dataclass(frozen=True)
class TeacherScores:
    """What the teacher says of B rollouts of up to T tokens under up to K wrong hints; zero where nothing was scored.

    Tensors have the names of Batch.

    Attributes:
        correct_logprobs: (B, T) nats.
        wrong_logprobs: (B, K, T) nats.
        wrong_mask: (B, K) bool, True on real hints.
        hinted: (B,) bool, the rollouts that were scored.
        tokens_forwarded: tokens that went through the teacher.
        tokens_plain: tokens that the plain scheme forwards for all rollouts with hints (teacher_queries.plain_tokens).
        support_ids: (B, T, k) int64; None for the full vocabulary, or without a support.
        correct_support: (B, T, S) nats there, under the correct hint.
        wrong_support: (B, T, S) nats there, under the first wrong hint.
        teacher_entropy: (B, T) nats under the correct hint, where asked.
    """

    correct_logprobs: Tensor
    wrong_logprobs: Tensor
    wrong_mask: Tensor
    hinted: Tensor
    tokens_forwarded: int
    tokens_plain: int
    support_ids: Tensor | None = None
    correct_support: Tensor | None = None
    wrong_support: Tensor | None = None
    teacher_entropy: Tensor | None = None

    @property
    def tensors(self) -> dict[str, Tensor | None]:
        """Everything that a Batch has room for, by name."""
        return {each.name: getattr(self, each.name) for each in fields(self) if not each.name.startswith("tokens_")}


#: Nothing is asked: a problem whose prompt is the template's own words.
_NO_PROBLEM = Problem("", "", "", "", "", "", 0, "")


class ContextBuilder:
    """Makes teacher prompts. One hint serves many rollouts: texts are encoded once a problem and hint."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        settings: HintSettings,
        max_sequence_tokens: int,
        chat: ChatSettings = DEFAULT,
    ):
        """Make no prompt yet.

        Args:
            tokenizer: of student and teacher.
            settings: how hints are shown.
            max_sequence_tokens: of hinted prompt and response together, where the prompt is cut from the left.
            chat: how prompts are rendered.
        """
        self._tokenizer, self._settings, self._max_sequence_tokens = tokenizer, settings, max_sequence_tokens
        controls = {**control_tokens(tokenizer), **turn_marks(tokenizer, chat)}
        self._chat, self._spellings = chat, _spellings(controls.values())
        self._controls = controls.keys() - {tokenizer.unk_token_id}
        names = settings.template, settings.framing
        self._template, self._of_own = (context_template(*names, own_prompts=own) for own in (False, True))
        for part in self._possible.parts:
            self._template.check(part)
        for literal in self._template.literals:
            if self._plain(literal) != literal:
                raise UserError(
                    f"hints.template: {settings.template}: {literal.strip()!r} spells a control token of "
                    f"{tokenizer.name_or_path}, which would end or begin a turn; take it out"
                )

    def build(
        self, problems: Sequence[Problem], assignments: Sequence[Assignment], response_lengths: Sequence[int]
    ) -> TeacherContexts:
        """Contexts of rollouts (problem, assignment and tokens of the response, row by row)."""
        known: dict[tuple[str, Hint], tuple[list[int], bool]] = {}
        truncated: list[bool] = []

        def context(problem: Problem, hint: Hint, response_length: int) -> list[int]:
            if (problem.id, hint) not in known:
                known[problem.id, hint] = self._encode(problem, hint)
            ids, cut = known[problem.id, hint]
            if self._settings.truncation == "left":
                room = max(self._max_sequence_tokens - response_length, 1)
                ids, cut = ids[-room:], len(ids) > room
            truncated.append(cut)
            return ids

        rows = list(zip(problems, assignments, response_lengths, strict=True))
        correct = [context(p, a.correct, length) if a.hinted else None for p, a, length in rows]
        wrong = [[context(p, hint, length) for hint in a.wrong] for p, a, length in rows]
        return TeacherContexts(correct, wrong, sum(truncated) / max(len(truncated), 1))

    def shown(self, hint: Hint) -> Hint:
        """What a teacher reads of a hint, where the prompt as a whole is not cut."""
        return self._within_budget(hint)[0]

    def template_ids(self) -> list[int]:
        """The context of an empty problem and hint: what the template alone takes, at most."""
        return self._encode(_NO_PROBLEM, self._possible)[0]

    @property
    def _possible(self) -> Hint:
        """Every part that a hint of these settings may have, and no text in it."""
        feedback = None if self._settings.feedback == "never" else ""
        if self._settings.source == "none" and feedback is not None:
            return Hint(feedback=feedback)
        return Hint("", "", feedback=feedback).shown(self._settings.mode)

    def _encode(self, problem: Problem, hint: Hint) -> tuple[list[int], bool]:
        shown, cut = self._within_budget(hint)
        asked = student_messages(problem, training=True, template=self._chat.template)
        template = self._of_own if problem.messages else self._template
        messages = template.messages(asked, problem.problem, shown)
        return encode_messages(self._tokenizer, messages, self._chat), cut

    def _within_budget(self, hint: Hint) -> tuple[Hint, bool]:
        """What is shown of a hint in at most max_tokens, answer included, and whether that cost it anything.

        An overlong answer (a wrong one may be a whole rollout) loses its end. The other parts share what it leaves:
        each has an equal share, and what others do not need. A solution loses its beginning, for its end leads to the
        answer; feedback and critique lose their end.
        """
        parts = {name: self._plain(text) for name, text in hint.shown(self._settings.mode).parts.items()}
        if self._settings.truncation == "left":
            return Hint(**parts), False
        ends = {name: self._token_ends(text) for name, text in parts.items()}
        budget, cut = self._settings.max_tokens, False
        shares = {"answer": min(len(ends.get("answer", ())), budget)}
        others = [name for name in parts if name != "answer"]
        shares |= dict(zip(others, fair_shares([len(ends[n]) for n in others], budget - shares["answer"]), strict=True))
        for name, text in parts.items():
            surplus = len(ends[name]) - shares[name]
            if surplus > 0:
                cut = True
                last = ends[name][shares[name] - 1] if shares[name] else 0
                parts[name] = text[ends[name][surplus - 1] :] if name == "solution" else text[:last]
        return Hint(**parts), cut

    def _plain(self, text: str) -> str:
        """Without the spelling of control tokens, which the chat template would take for its own."""
        removed = 1
        while removed:  # what is left around a removed one may spell another
            removed = 0
            if self._spellings is not None:
                text, removed = self._spellings.subn("", text)
            if not removed:  # a tokenizer that makes small letters of capitals, say, has more spellings of each
                text, removed = self._without_controls(text)
        return text

    def _without_controls(self, text: str) -> tuple[str, int]:
        """The text without what the tokenizer takes for control tokens, and how many those were."""
        cut = encoded(self._tokenizer, text, offsets=True)
        spans = [span for i, span in zip(cut.input_ids, cut.offset_mapping, strict=True) if i in self._controls]
        for start, end in reversed(spans):
            text = text[:start] + text[end:]
        return text, sum(end > start for start, end in spans)

    def _token_ends(self, text: str) -> list[int]:
        return [end for _, end in encoded(self._tokenizer, text, offsets=True).offset_mapping]


def fair_shares(lengths: Sequence[int], room: int) -> list[int]:
    """Return how many tokens each of some parts keeps, all together in the room: short ones all of theirs."""
    shares, left = [0] * len(lengths), room
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    for place, i in enumerate(order):
        shares[i] = min(lengths[i], left // (len(order) - place))
        left -= shares[i]
    return shares


def _spellings(controls: Iterable[str]) -> re.Pattern[str] | None:
    """Matches any control token's spelling, the longest that there is; None where there are no control tokens."""
    spelt = sorted(filter(None, set(controls)), key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, spelt))) if spelt else None


def score_contexts(
    teacher: Scorer,
    contexts: TeacherContexts,
    responses: Sequence[Sequence[int]],
    width: int,
    query: Query = LOGPROBS_ONLY,
) -> TeacherScores:
    """Score every rollout under each of its contexts, without gradient.

    Equivalent, for log-probs, to asking about one use at a time::

        for use in contexts.uses:
            teacher(Sequences([use.context], [responses[use.row]]), width).logprobs[0]

    Args:
        teacher: its weights.
        contexts: of B rollouts.
        responses: token ids as drawn.
        width: T of the tensors returned.
        query: what is read besides the log-probs: distributions under the correct and the first wrong hint of a
            rollout, at the ids given, (B, T, k), or at those that the teacher finds most likely under the correct
            hint; entropies under the correct hint alone.

    Returns:
        Scores of all B rollouts, with zeros where nothing was scored.
    """
    ask = partial(_ask, teacher, responses, width)
    if query.has_support or query.entropy:  # a wrong hint's distributions are read where the correct one's were
        correct = ask(contexts.correct_uses, query)
        query = _at_ids_of(correct, query, len(responses), width)
        wrong = ask(contexts.wrong_uses, replace(query, entropy=False))
        forwarded = correct.scores.forwarded + wrong.scores.forwarded
    else:  # all at once: contexts of a group begin alike
        both = ask([*contexts.correct_uses, *contexts.wrong_uses], query)
        correct, wrong = both.correct, both.wrong
        forwarded = both.scores.forwarded
    wrong_mask = contexts.wrong_mask.to(teacher.device)
    scores = TeacherScores(
        correct_logprobs=correct.by_row("logprobs", len(responses), width),
        wrong_logprobs=wrong.by_slot("logprobs", *wrong_mask.shape, width),
        wrong_mask=wrong_mask,
        hinted=torch.tensor(contexts.hinted, device=teacher.device),
        tokens_forwarded=forwarded,
        tokens_plain=plain_tokens(contexts.correct, contexts.wrong, responses),
        teacher_entropy=correct.by_row("entropy", len(responses), width) if query.entropy else None,
    )
    if not query.has_support:
        return scores
    shape = len(responses), width, teacher.vocabulary if query.full_vocabulary else query.ids.shape[-1]
    return replace(
        scores,
        support_ids=query.ids,
        correct_support=correct.by_row("support", *shape),
        wrong_support=wrong.of_first_hints.by_row("support", *shape),
    )


@dataclass(frozen=True)
class _Answers:
    """What the teacher says of some uses, in their order."""

    uses: list[Use]
    scores: Scores

    @property
    def correct(self) -> "_Answers":
        return self._where(lambda use: use.slot is None)

    @property
    def wrong(self) -> "_Answers":
        return self._where(lambda use: use.slot is not None)

    @property
    def of_first_hints(self) -> "_Answers":
        """Those under each rollout's first wrong hint."""
        return self._where(lambda use: use.slot == 0)

    def by_row(self, name: str, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Zeros of a shape (B, ...), with each use's values at its row."""
        return self._placed(name, shape, dtype, [use.row for use in self.uses])

    def by_slot(self, name: str, *shape: int) -> Tensor:
        """Zeros of a shape (B, K, ...), with each use's values at its row and slot."""
        return self._placed(
            name, shape, torch.float32, ([use.row for use in self.uses], [use.slot for use in self.uses])
        )

    def _placed(self, name: str, shape: Sequence[int], dtype: torch.dtype, index: Any) -> Tensor:
        whole = torch.zeros(shape, dtype=dtype, device=self.scores.logprobs.device)
        if self.uses:
            whole[index] = getattr(self.scores, name)
        return whole

    def _where(self, wanted: Callable[[Use], bool]) -> "_Answers":
        numbers = [number for number, use in enumerate(self.uses) if wanted(use)]
        return _Answers([self.uses[number] for number in numbers], self.scores.rows(numbers))


def _ask(
    teacher: Scorer, responses: Sequence[Sequence[int]], width: int, uses: Sequence[Use], query: Query
) -> _Answers:
    """Ask about distinct pairs of context and response, once each, and hand every use its answer."""
    if not uses:
        return _Answers([], Scores(torch.zeros(0, width, device=teacher.device)))
    distinct = distinct_queries(uses, responses, by_rollout=query.ids is not None)  # ids are a rollout's own
    scores = teacher(distinct.pairs, width, query.part(distinct.rows))
    return _Answers(list(uses), scores.rows(distinct.place))


def _at_ids_of(correct: _Answers, query: Query, rows: int, width: int) -> Query:
    """The query at the ids where the correct hint's distributions were read, with zeros for rows that have no hint."""
    if not query.has_support or query.full_vocabulary:
        return query
    size = query.top_k if query.ids is None else query.ids.shape[-1]
    return query.at(correct.by_row("ids", rows, width, size, dtype=torch.int64))
