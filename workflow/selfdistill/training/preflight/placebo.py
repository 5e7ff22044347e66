"""Measures what a context does to wrong responses, and to right ones that it is not about.

A longer prompt in other words changes the log-probs of whatever is read after it. So what is said of a wrong response
is also read before right responses to the same problem: only the difference is about the response.
"""

from collections.abc import Mapping, Sequence

import torch

from selfdistill.scoring.query import Query
from selfdistill.scoring.scores import Sequences
from selfdistill.tasks.boxed import last_boxed
from selfdistill.training.preflight.reader import Attempt, Reader
from selfdistill.training.token_texts import token_texts


def placebo_measures(
    reader: Reader, wrong: Sequence[Attempt], contexts: Sequence[list[int]], right: Mapping[str, Sequence[Attempt]]
) -> dict[str, float]:
    """Return how far contexts move the log-probs of responses, in nats, as `study.preflight.MEASURES` says.

    Args:
        reader: the model.
        wrong: responses; {} is returned where there are none.
        contexts: token ids of the teacher's prompt of each.
        right: id of a problem -> right responses to it, each of which is read under the context of every wrong one.
    """
    if not wrong:
        return {}
    pairs = [
        (context, other)
        for each, context in zip(wrong, contexts, strict=True)
        for other in right.get(each.problem.id, ())
    ]
    own = _delta(reader, wrong, contexts)
    found = {"delta_wrong": _mean(own), "delta_first": _mean([each[:1] for each in own])}
    found |= _at_answers(reader, "delta_answer", wrong, own)
    if pairs:
        siblings = [other for _, other in pairs]
        theirs = _delta(reader, siblings, [context for context, _ in pairs])
        found |= {"delta_right": _mean(theirs), "delta_gap": found["delta_wrong"] - _mean(theirs)}
        found |= _at_answers(reader, "delta_answer_right", siblings, theirs)
        # Wrong and right ones may differ in kind: answers at once, and working. Those that begin alike do less so.
        owners = [each for each in wrong for _ in right.get(each.problem.id, ())]
        alike = [n for n, (one, other) in enumerate(zip(owners, siblings, strict=True)) if _begin_alike(one, other)]
        if alike:
            ours = {id(owners[n]): None for n in alike}
            kept = [delta for each, delta in zip(wrong, own, strict=True) if id(each) in ours]
            found["delta_gap_alike"] = _mean(kept) - _mean([theirs[n] for n in alike])
    return found


def _begin_alike(one: Attempt, other: Attempt) -> bool:
    return one.response[:1] == other.response[:1]


def _delta(reader: Reader, attempts: Sequence[Attempt], contexts: Sequence[list[int]]) -> list[torch.Tensor]:
    """Log-probs of each response's tokens under its context, minus those without."""
    responses = [each.response for each in attempts]
    width = max(map(len, responses))
    student = reader.scorer(Sequences([each.prompt for each in attempts], responses), width, Query())
    teacher = reader.scorer(Sequences(contexts, responses), width, Query())
    apart = (teacher.logprobs - student.logprobs).cpu().double()
    return [row[: len(response)] for row, response in zip(apart, responses, strict=True)]


def _mean(parts: Sequence[torch.Tensor]) -> float:
    """Over all tokens together."""
    return float(torch.cat(list(parts)).mean())


def _at_answers(
    reader: Reader, name: str, attempts: Sequence[Attempt], deltas: Sequence[torch.Tensor]
) -> dict[str, float]:
    """The mean over the tokens of boxed answers, where there are any."""
    places = [answer_tokens(reader, each) for each in attempts]
    parts = [delta[place] for delta, place in zip(deltas, places, strict=True) if place]
    return {name: _mean(parts)} if parts else {}


def answer_tokens(reader: Reader, attempt: Attempt) -> list[int]:
    """Numbers of the tokens that hold a response's last boxed answer, or a part of it; none without a box."""
    answer = last_boxed(attempt.text)
    if answer is None:
        return []
    texts = token_texts(reader.tokenizer, attempt.response)
    whole = "".join(texts)
    begin = whole.find(answer, whole.rfind("boxed"))
    begin = whole.rfind(answer) if begin < 0 else begin  # a later box holds nothing, or never closes
    ends, place = [], 0
    for text in texts:
        place += len(text)
        ends.append(place)
    return [
        number
        for number, (text, end) in enumerate(zip(texts, ends, strict=True))
        if text and begin < end and end - len(text) < begin + len(answer)
    ]
