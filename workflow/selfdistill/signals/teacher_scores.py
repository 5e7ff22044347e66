"""Rollouts scored under the contexts that their hints make."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from selfdistill.models.chat import DEFAULT, ChatSettings, control_tokens, encode_chat
from selfdistill.models.tokenizer_check import encoded
from selfdistill.objectives.batch import Support
from selfdistill.scoring.scores import Scorer, Scores
from selfdistill.signals.hints import Assignment, HintSettings
from selfdistill.signals.plan import Use, plain_tokens, plan_scores
from selfdistill.tasks.prompts import Hint, teacher_prompt


@dataclass(frozen=True)
class TeacherContexts:
    """Teacher prompts as token ids.

    Attributes:
        correct: one a rollout, None where it has no hints.
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

    def rows(self, index: Sequence[int]) -> "TeacherContexts":
        """The contexts of the given rollouts."""
        read = None if self.read is None else [self.read[i] for i in index]
        return replace(self, correct=[self.correct[i] for i in index], wrong=[self.wrong[i] for i in index], read=read)


@dataclass(frozen=True)
class TeacherScores:
    """What the teacher says of B rollouts of up to T tokens under up to K wrong hints; zero where nothing was scored.

    Attributes:
        correct_logprobs: (B, T) nats. wrong_logprobs: (B, K, T) nats. wrong_mask: (B, K) bool. hinted: (B,) bool.
        support_ids: (B, T, k) int64; None for the full vocabulary, or without a support.
        correct_support, wrong_support: (B, T, S) nats there, under the correct and the first wrong hint.
        entropy: (B, T) nats under the correct hint, where asked.
        tokens_forwarded: tokens that went through the teacher.
        tokens_plain: tokens that the plain scheme forwards for all rollouts with hints (plan.plain_tokens).
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
    entropy: Tensor | None = None


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
        self._chat, self._controls = chat, _spellings(tokenizer)

    def build(
        self, problems: Sequence[str], assignments: Sequence[Assignment], response_lengths: Sequence[int]
    ) -> TeacherContexts:
        """Contexts of rollouts (problem text, assignment and tokens of the response, row by row)."""
        known: dict[tuple[str, Hint], tuple[list[int], bool]] = {}
        truncated: list[bool] = []

        def context(problem: str, hint: Hint, response_length: int) -> list[int]:
            if (problem, hint) not in known:
                known[problem, hint] = self._encode(problem, hint)
            ids, cut = known[problem, hint]
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
        within, _ = self._within_budget(hint)
        return Hint("", within.answer) if self._settings.mode == "answer_only" else within

    def template_ids(self) -> list[int]:
        """The context of an empty problem and hint: what the template alone takes."""
        return self._encode("", Hint("", ""))[0]

    def _encode(self, problem: str, hint: Hint) -> tuple[list[int], bool]:
        shown, cut = self._within_budget(hint)
        text = teacher_prompt(problem, shown, mode=self._settings.mode, framing=self._settings.framing)
        return encode_chat(self._tokenizer, text, self._chat), cut

    def _within_budget(self, hint: Hint) -> tuple[Hint, bool]:
        """The hint in at most max_tokens, answer included, and whether that cost it anything that would be shown.

        An overlong answer (a wrong one may be a whole rollout) loses its end. Then a solution loses its beginning: its
        end leads to the answer.
        """
        solution, answer = self._plain(hint.solution), self._plain(hint.answer)
        if self._settings.truncation == "left":
            return Hint(solution, answer), False
        budget = self._settings.max_tokens
        ends = self._token_ends(answer)
        cut = len(ends) > budget
        if cut:
            answer = answer[: ends[budget - 1]]
        if self._settings.mode == "answer_only":
            return Hint("", answer), cut
        surplus = len(self._token_ends(solution)) - max(budget - len(ends), 0)
        if surplus > 0:
            solution, cut = solution[self._token_ends(solution)[surplus - 1] :], True
        return Hint(solution, answer), cut

    def _plain(self, text: str) -> str:
        """Without the spelling of control tokens, which the chat template would take for its own."""
        found = 1
        while found and self._controls is not None:  # what is left around a removed one may spell another
            text, found = self._controls.subn("", text)
        return text

    def _token_ends(self, text: str) -> list[int]:
        return [end for _, end in encoded(self._tokenizer, text, offsets=True).offset_mapping]


def _spellings(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str] | None:
    """Matches any control token's spelling, the longest that there is; None where there are no control tokens."""
    spelt = sorted(filter(None, set(control_tokens(tokenizer).values())), key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, spelt))) if spelt else None


def score_contexts(
    teacher: Scorer,
    contexts: TeacherContexts,
    responses: Sequence[Sequence[int]],
    width: int,
    *,
    support: Support | None = None,
    student_ids: Tensor | None = None,
    entropy: bool = False,
) -> TeacherScores:
    """Score every rollout under each of its contexts, without gradient.

    Args:
        teacher: its weights.
        contexts: of B rollouts.
        responses: token ids as drawn.
        width: T of the tensors returned.
        support: where distributions are read, if at all.
        student_ids: (B, T, k) where the student chooses the support's ids.
        entropy: whether the teacher's entropies are wanted.
    """
    count = len(responses)
    top_k = None if support is None else support.top_k
    ids = student_ids if support is not None and support.chooser == "student" else None

    def ask(uses: Sequence[Use], ids: Tensor | None, entropy: bool) -> Scores:
        """Scores of the uses, in order; what is equal is asked once."""
        if not uses:
            return Scores(torch.zeros(0, width, device=teacher.device))
        plan = plan_scores(uses, responses, by_rollout=ids is not None)  # ids were chosen rollout by rollout
        chosen = None if ids is None else ids[plan.rows]
        scores = teacher(plan.pairs, width, top_k=top_k, ids=chosen, entropy=entropy)
        spread = {name: value[plan.place] for name, value in scores.tensors.items()}
        return Scores(**spread, forwarded=scores.forwarded)

    def placed(value: Tensor | None, rows: Sequence[int], *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """(B, T, ...) with the values in their rows, zero elsewhere; `value` is None where there are no rows."""
        whole = torch.zeros(count, width, *shape, dtype=dtype, device=teacher.device)
        if value is not None:
            whole[rows] = value
        return whole

    hinted = [i for i, asked in enumerate(contexts.hinted) if asked]
    jobs = [(i, k) for i in hinted for k in range(len(contexts.wrong[i]))]
    of_correct: list[Use] = [(i, contexts.correct[i]) for i in hinted]
    of_wrong: list[Use] = [(i, contexts.wrong[i][k]) for i, k in jobs]
    if support is None and not entropy:  # all at once: contexts of a group begin alike
        both = ask([*of_correct, *of_wrong], None, False)
        correct, wrong = (both.rows(part) for part in (slice(len(hinted)), slice(len(hinted), None)))
        tokens = both.forwarded
    else:  # the wrong hints' distributions are read where the correct hint's are; their entropies never
        correct = ask(of_correct, ids, entropy)
        if top_k:
            ids = placed(correct.ids, hinted, top_k, dtype=torch.int64)
        wrong = ask(of_wrong, ids, False)
        tokens = correct.forwarded + wrong.forwarded

    slots = max((k + 1 for _, k in jobs), default=0)
    wrong_logprobs = torch.zeros(count, slots, width, device=teacher.device)
    wrong_mask = torch.zeros(count, slots, dtype=torch.bool, device=teacher.device)
    if jobs:
        rows, hints = (list(part) for part in zip(*jobs, strict=True))
        wrong_logprobs[rows, hints], wrong_mask[rows, hints] = wrong.logprobs, True
    scores = TeacherScores(
        correct_logprobs=placed(correct.logprobs, hinted),
        wrong_logprobs=wrong_logprobs,
        wrong_mask=wrong_mask,
        hinted=torch.tensor(contexts.hinted, device=teacher.device),
        tokens_forwarded=tokens,
        tokens_plain=plain_tokens(contexts.correct, contexts.wrong, responses),
        entropy=placed(correct.entropy, hinted) if entropy else None,
    )
    if support is None:
        return scores
    size = top_k or teacher.vocabulary
    first = [number for number, (_, k) in enumerate(jobs) if k == 0]
    of_first = None if wrong.support is None else wrong.support[first]
    return replace(
        scores,
        support_ids=ids,
        correct_support=placed(correct.support, hinted, size),
        wrong_support=placed(of_first, [jobs[number][0] for number in first], size),
    )
