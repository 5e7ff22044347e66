"""Teacher passes of a group under hints as long as its responses: plain, and planned in each form and attention."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from teacher import GOAL, MIDDLE, Size, largest_difference, make_batch, score_plainly
from torch import Tensor
from transformers import PreTrainedModel

from gpu_checks.lines import Line
from gpu_checks.models import peak_of, random_qwen3, seconds_of, without_memory
from selfdistill.scoring.attention import attending_as
from selfdistill.scoring.packed_attention import has_kernel
from selfdistill.scoring.prefix_schedule import schedule_prefixes
from selfdistill.scoring.query import LOGPROBS_ONLY, Query
from selfdistill.scoring.scorer import ModelScorer, score
from selfdistill.scoring.scores import Scores, Sequences
from selfdistill.scoring.shared_prefixes import ModelForwards, score_with_prefixes
from selfdistill.signals.teacher_scores import score_contexts

SIZES = (
    Size("4096", 4096, 160, 40, groups=1, budget=16_384, repetitions=1),
    Size("16384", 16_384, 160, 40, groups=1, budget=40_960, repetitions=1),
)
TINY = Size("tiny", 12, 5, 3, groups=1, budget=80, repetitions=1)
#: Nats by which bfloat16 may move a log-prob of a random model between shapes of batch, in the mean over tokens.
APART = 0.05


@dataclass(frozen=True)
class OtherScorer:
    """A Scorer that shares prompts in packed rows, or not at all; `attention` by its name in transformers."""

    model: PreTrainedModel
    max_tokens: int
    packed: bool
    attention: str | None = None

    @property
    def vocabulary(self) -> int:
        return self.model.config.vocab_size

    @property
    def device(self) -> torch.device:
        return self.model.device

    def __call__(
        self, sequences: Sequences, width: int, query: Query = LOGPROBS_ONLY, *, alone: bool = False
    ) -> Scores:
        """Score N sequences: (N, width) float32 nats, zero behind each response."""
        if self.packed:
            schedule = schedule_prefixes(sequences, self.max_tokens)
            forwards = ModelForwards(self.model, packed=True)
            return score_with_prefixes(forwards, sequences, schedule, width, self.max_tokens, query)
        with attending_as(self.model, self.attention):
            return score(self.model, sequences, width, self.max_tokens, query=query)


def lines(device: torch.device, tiny: bool) -> Iterator[Line]:
    """Seconds, tokens and memory of each way, shortest sizes first."""
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    model = random_qwen3("tiny" if tiny else "0.6B", dtype, device)
    if not has_kernel(device, dtype):
        yield Line("packed rows: kernel", None, note="torch has none here: row by row")
    for size in (TINY,) if tiny else SIZES:
        warm = Size("warm-up", 8, 4, 2, groups=1, budget=size.budget, repetitions=1)
        for way in ways(model, warm).values():
            attempt(way)
        yield from compared(model, size)


def compared(model: PreTrainedModel, size: Size) -> Iterator[Line]:
    """All ways of one size, told as they end; the plain scheme, which comes first, is the measure."""
    every = dict(ways(model, size))
    outcome = timed(every.pop("plain"))
    if isinstance(outcome, str):
        yield Line(f"group of 8 x {size.name}, plain", None, note=outcome)
        return
    peak_plain, (seconds_plain, plain) = outcome
    for name, way in every.items():
        label, planned = f"group of 8 x {size.name}, {name}", name.startswith("planned")
        outcome = timed(way)
        if isinstance(outcome, str):
            yield Line(label, None, note=outcome)
            continue
        peak, (seconds, scores) = outcome
        yield Line(
            f"{label}: seconds, of plain",
            seconds / seconds_plain,
            "",
            GOAL if planned else None,
            f"{seconds:.2f} of {seconds_plain:.2f} s; peak {peak:.1f} of {peak_plain:.1f} GiB",
        )
        if planned:
            yield Line(f"{label}: tokens, of plain", scores.tokens_forwarded / plain.tokens, "", GOAL)
        mean = mean_difference(plain.correct, scores.correct_logprobs, scores.hinted)
        yield Line(f"{label}: mean difference", mean, "nats", APART, f"largest {largest_difference(plain, scores):.1e}")


def timed(way: Callable[[], Any]) -> Any:
    """Peak memory, seconds and what a way returns; or why it failed."""
    return attempt(lambda: peak_of(lambda: seconds_of(way)))


def mean_difference(one: Tensor, other: Tensor, rows: Tensor) -> float:
    """Mean size of the difference over the tokens that some rows have."""
    gaps = (one - other)[rows]
    real = (one != 0)[rows]
    return float(gaps.abs()[real].mean())


def ways(model: PreTrainedModel, size: Size) -> Mapping[str, Callable[[], Any]]:
    """The plain scheme, with logits everywhere; the same rows read in chunks; and plans."""
    contexts, responses = make_batch(size, MIDDLE, model.config.vocab_size)
    width = max(map(len, responses))

    def by(scorer: ModelScorer | OtherScorer) -> Any:
        return score_contexts(scorer, contexts, responses, width)

    budget = size.budget
    found: dict[str, Callable[[], Any]] = {
        "plain": lambda: score_plainly(model, contexts, responses, width, budget),
        "planned, padded": partial(by, ModelScorer(model, budget)),
        "planned, packed": partial(by, OtherScorer(model, budget, True)),
        "whole rows, head in chunks": partial(by, OtherScorer(model, budget, False)),
    }
    if model.device.type == "cuda":  # compiled at its first use
        found["whole rows, flex attention"] = partial(by, OtherScorer(model, budget, False, "flex_attention"))
    return found


def attempt(call: Callable[[], Any]) -> Any:
    """What a call returns, or why it failed: one way's failure is not the others'."""
    try:
        return call()
    except Exception as error:  # whatever a kernel or a compiler says
        if without_memory(error):
            torch.cuda.empty_cache()
            return "out of memory"
        return f"{type(error).__name__}: {str(error).strip()}".partition("\n")[0][:160]
