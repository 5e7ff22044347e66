"""Renders what teachers read: a hint in its template, within a budget of tokens and without control tokens."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from selfdistill.errors import UserError
from selfdistill.models.chat import DEFAULT, ChatSettings, encode_messages
from selfdistill.models.control_text import ControlText
from selfdistill.models.pictures import PictureReader, problem_pictures
from selfdistill.models.tokenizer_check import encoded
from selfdistill.signals.hints import Assignment
from selfdistill.signals.teacher_queries import Use
from selfdistill.study.teacher_settings import HintSettings
from selfdistill.study.templates import shown_parts
from selfdistill.tasks.contexts import Hint
from selfdistill.tasks.pictures import PLACEHOLDER
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

    correct: list[Sequence[int] | None]
    wrong: list[list[Sequence[int]]]
    truncated_share: float
    read: list[bool] | None = None

    @property
    def hinted(self) -> list[bool]:
        """Returns which rollouts the teacher is asked about: they have their hints, and somebody reads the answer."""
        read = self.read if self.read is not None else [True] * len(self.correct)
        return [context is not None and wanted for context, wanted in zip(self.correct, read, strict=True)]

    @property
    def correct_uses(self) -> list[Use]:
        """Returns one use for each rollout that the teacher is asked about."""
        return [Use(row, self.correct[row]) for row in self._hinted_rows]

    @property
    def wrong_uses(self) -> list[Use]:
        """Returns one use for each wrong hint of these rollouts."""
        return [Use(row, context, slot) for row in self._hinted_rows for slot, context in enumerate(self.wrong[row])]

    @property
    def wrong_mask(self) -> Tensor:
        """Returns (B, K) bool, True where a rollout that the teacher is asked about has a wrong hint."""
        mask = torch.zeros(
            len(self.correct), max((len(self.wrong[row]) for row in self._hinted_rows), default=0)
        ).bool()
        for use in self.wrong_uses:
            mask[use.row, use.slot] = True
        return mask

    @property
    def _hinted_rows(self) -> list[int]:
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
    return TeacherContexts(list(prompts), [[] for _ in prompts], 0.0)


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
        pictures: PictureReader | None = None,
    ):
        """Make no prompt yet.

        Args:
            tokenizer: of student and teacher.
            settings: how hints are shown.
            max_sequence_tokens: of hinted prompt and response together, where the prompt is cut from the left.
            chat: how prompts are rendered.
            pictures: reads those of problems, which a teacher sees as the student does; None for models of text alone.
        """
        self._pictures = pictures
        self._tokenizer, self._settings, self._max_sequence_tokens = tokenizer, settings, max_sequence_tokens
        self._chat = chat
        # What would be taken for the place of a picture is no hint's to write either.
        self._plain = ControlText(tokenizer, chat, [] if pictures is None else [PLACEHOLDER]).without
        names = settings.template, settings.framing
        self._template, self._of_own = (context_template(*names, own_prompts=own) for own in (False, True))
        for part in shown_parts(dataclasses.asdict(settings)):  # of a method without a teacher none
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
        """Contexts of rollouts (problem, assignment and tokens of the response, row by row).

        Raises UserError where a prompt with pictures would be cut as a whole.
        """
        known: dict[tuple[str, Hint], tuple[Sequence[int], bool]] = {}
        truncated: list[bool] = []

        def context(problem: Problem, hint: Hint, response_length: int) -> Sequence[int]:
            if (problem.id, hint) not in known:
                known[problem.id, hint] = self._encode(problem, hint)
            ids, cut = known[problem.id, hint]
            if self._settings.truncation == "left":
                if problem.images:
                    raise UserError(
                        f"problem {problem.id}: hints.truncation is 'left', which cuts a whole prompt, pictures and "
                        "all; set it to 'hint_body', which cuts the hint alone"
                    )
                room = max(self._max_sequence_tokens - response_length, 1)
                ids, cut = ids[-room:], len(ids) > room
            truncated.append(cut)
            return ids

        rows = list(zip(problems, assignments, response_lengths, strict=True))
        correct = [context(p, a.correct, length) if a.hinted else None for p, a, length in rows]
        wrong = [[context(p, hint, length) for hint in a.wrong] for p, a, length in rows]
        return TeacherContexts(correct, wrong, sum(truncated) / max(len(truncated), 1))

    def shown(self, hint: Hint) -> Hint:
        """Returns what a teacher reads of a hint, where the prompt as a whole is not cut."""
        return self._within_budget(hint)[0]

    def template_ids(self) -> list[int]:
        """Return the context of an empty problem and hint: what the template alone takes, at most."""
        return list(self._encode(_NO_PROBLEM, self._possible)[0])

    @property
    def _possible(self) -> Hint:
        """Every part that a hint of these settings may have, and no text in it."""
        shown = shown_parts(dataclasses.asdict(self._settings))
        return Hint(**dict.fromkeys(shown, "")) if shown else Hint("", "").shown(self._settings.mode)

    def _encode(self, problem: Problem, hint: Hint) -> tuple[Sequence[int], bool]:
        shown, cut = self._within_budget(hint)
        asked = student_messages(problem, training=True, template=self._chat.template)
        template = self._of_own if problem.messages else self._template
        messages = template.messages(asked, problem.problem, shown)
        pictures = problem_pictures(problem, self._pictures)
        return encode_messages(self._tokenizer, messages, self._chat, pictures), cut

    def _within_budget(self, hint: Hint) -> tuple[Hint, bool]:
        """Returns what is shown of a hint in at most max_tokens, answer included, and whether that cost it anything.

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
