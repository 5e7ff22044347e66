"""Rollouts scored under the contexts that their hints make."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from selfdistill.sampling.chat import encode_chat
from selfdistill.sampling.scoring import Sequences, score
from selfdistill.signals.hints import Assignment, HintSettings
from selfdistill.tasks.prompts import Hint, teacher_prompt


@dataclass(frozen=True)
class TeacherContexts:
    """Teacher prompts as token ids.

    Attributes:
        correct: one a rollout, None where it has no hints.
        wrong: ragged, up to K a rollout.
        truncated_share: share of hints, over both kinds, that lost their beginning.
    """

    correct: list[list[int] | None]
    wrong: list[list[list[int]]]
    truncated_share: float


@dataclass(frozen=True)
class TeacherScores:
    """What the teacher says of B rollouts of up to T tokens under up to K wrong hints; zero where nothing was scored.

    Attributes:
        correct_logprobs: (B, T) nats. wrong_logprobs: (B, K, T) nats. wrong_mask: (B, K) bool. hinted: (B,) bool.
        tokens_forwarded: tokens that went through the teacher.
    """

    correct_logprobs: Tensor
    wrong_logprobs: Tensor
    wrong_mask: Tensor
    hinted: Tensor
    tokens_forwarded: int


class ContextBuilder:
    """Makes teacher prompts. One hint serves many rollouts: texts are encoded once a problem and hint."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, settings: HintSettings):
        self._tokenizer, self._settings = tokenizer, settings

    def build(self, problems: Sequence[str], assignments: Sequence[Assignment]) -> TeacherContexts:
        """Contexts of rollouts (problem text and assignment, row by row)."""
        encoded: dict[tuple[str, Hint], tuple[list[int], bool]] = {}
        truncated: list[bool] = []

        def context(problem: str, hint: Hint) -> list[int]:
            if (problem, hint) not in encoded:
                encoded[problem, hint] = self._encode(problem, hint)
            ids, cut = encoded[problem, hint]
            truncated.append(cut)
            return ids

        correct = [context(p, a.correct) if a.hinted else None for p, a in zip(problems, assignments, strict=True)]
        wrong = [[context(p, h) for h in a.wrong] for p, a in zip(problems, assignments, strict=True)]
        return TeacherContexts(correct, wrong, sum(truncated) / max(len(truncated), 1))

    def template_ids(self) -> list[int]:
        """The context of an empty problem and hint: what the template alone takes."""
        return self._encode("", Hint("", ""))[0]

    def _encode(self, problem: str, hint: Hint) -> tuple[list[int], bool]:
        shown, cut = self._within_budget(hint)
        text = teacher_prompt(problem, shown, mode=self._settings.mode, framing=self._settings.framing)
        return encode_chat(self._tokenizer, text), cut

    def _within_budget(self, hint: Hint) -> tuple[Hint, bool]:
        """The hint in at most max_tokens, answer included, and whether that cost it anything that would be shown.

        An overlong answer (a wrong one may be a whole rollout) loses its end. Then a solution loses its beginning: its
        end leads to the answer.
        """
        solution, answer = self._plain(hint.solution), self._plain(hint.answer)
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
        for token in self._tokenizer.all_special_tokens:
            text = text.replace(token, "")
        return text

    def _token_ends(self, text: str) -> list[int]:
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return [end for _, end in encoded.offset_mapping]


def score_contexts(
    model: PreTrainedModel,
    contexts: TeacherContexts,
    responses: Sequence[Sequence[int]],
    width: int,
    max_tokens: int,
    temperature: float = 1.0,
) -> TeacherScores:
    """Score every rollout under each of its contexts, without gradient; equal (context, response) pairs once.

    Args:
        model: the teacher.
        contexts: of B rollouts.
        responses: token ids as drawn.
        width: T of the tensors returned.
        max_tokens: padded tokens a forward.
        temperature: divides the logits.
    """
    pairs: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}

    def place(context: Sequence[int], row: int) -> int:
        return pairs.setdefault((tuple(context), tuple(responses[row])), len(pairs))

    rows = range(len(responses))
    correct = [place(contexts.correct[i], i) if contexts.correct[i] is not None else None for i in rows]
    wrong = [[place(context, i) for context in contexts.wrong[i]] for i in rows]
    sequences = Sequences([prompt for prompt, _ in pairs], [response for _, response in pairs])
    scored = score(model, sequences, width, max_tokens, temperature)

    slots = max(map(len, wrong), default=0)
    correct_logprobs = scored.new_zeros(len(responses), width)
    wrong_logprobs = scored.new_zeros(len(responses), slots, width)
    wrong_mask = torch.zeros(len(responses), slots, dtype=torch.bool, device=scored.device)
    for i in rows:
        if correct[i] is not None:
            correct_logprobs[i] = scored[correct[i]]
        for k, place_k in enumerate(wrong[i]):
            wrong_logprobs[i, k], wrong_mask[i, k] = scored[place_k], True
    hinted = torch.tensor([place is not None for place in correct], device=scored.device)
    return TeacherScores(correct_logprobs, wrong_logprobs, wrong_mask, hinted, sum(sequences.lengths))
