"""What scoring under hints takes: the plain scheme against selfdistill.signals.teacher_scores, on the same batch.

python benchmarks/teacher.py [--sizes demo 512 ...] [--long]; run from the repository's root. Groups of 8
of one outcome (right/wrong), 1/7 to 7/1, and one of each together, with rlcsd's hints; ids are made up, since only
their numbers and lengths matter.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from side_by_side import as_text, in_own_process, machine, medians, peak_growth, write_csv
from torch import Tensor
from transformers import PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from selfdistill.models.loading import load_weights, pick_device
from selfdistill.objectives.rlcsd import RLCSD
from selfdistill.randomness import generator
from selfdistill.scoring.scorer import ModelScorer
from selfdistill.signals.hints import Candidate, assign_hints
from selfdistill.signals.teacher_contexts import TeacherContexts
from selfdistill.signals.teacher_scores import TeacherScores, score_contexts
from selfdistill.study.teacher_settings import HintSettings
from selfdistill.tasks.prompts import Hint

OUTPUT = Path("results/benchmarks/teacher.csv")
DEMO_MODEL = Path("resources/base_models/tiny_qwen3/arithmetic")
GROUP = 8
WRONG_HINTS = 4
MIXED = "mixed"
#: Outcome -> right rollouts of its groups, once or repeated.
OUTCOMES = {f"{right}/{GROUP - right}": (right,) for right in range(1, GROUP)}
OUTCOMES[MIXED] = tuple(range(1, GROUP))
#: Outcomes over which tokens and seconds are averaged, and what they are to be of the plain scheme's.
AVERAGED, GOAL = tuple(OUTCOMES)[1:6], 0.6
#: The outcome that memory is measured of.
MIDDLE = "4/4"


@dataclass(frozen=True)
class Size:
    """How large a batch is, in tokens.

    Attributes:
        name: of the rows that it makes.
        response: of the longest response, which is also the longest hint; the shortest has half as many.
        before, after: of a context in front of its hint (template and problem) and behind it.
        groups: of eight rollouts; a batch of mixed outcomes has one of each.
        budget: padded tokens of a micro-batch.
        repetitions: of which the median is taken.
    """

    name: str
    response: int
    before: int
    after: int
    groups: int
    budget: int
    repetitions: int

    @property
    def positions(self) -> int:
        """Most tokens of a context and a response."""
        return self.before + self.after + 2 * self.response


#: The demo's, and longer ones on a small random model.
SIZES = (
    Size("demo", 100, 40, 20, groups=4, budget=8192, repetitions=3),
    Size("512", 512, 160, 40, groups=1, budget=16384, repetitions=3),
    Size("1024", 1024, 160, 40, groups=1, budget=16384, repetitions=1),
    Size("2048", 2048, 160, 40, groups=1, budget=16384, repetitions=1),
    Size("4096", 4096, 160, 40, groups=1, budget=16384, repetitions=1),
)
LONG = Size("16384", 16384, 160, 40, groups=1, budget=40960, repetitions=1)


class Plain(NamedTuple):
    """What the plain scheme found of B rollouts, and what it cost.

    Attributes:
        correct: (B, T) nats under the correct hint. wrong: (B, K, T) nats under each wrong one.
        tokens: that were forwarded. positions: of all micro-batches, padding included.
    """

    correct: Tensor
    wrong: Tensor
    tokens: int
    positions: int


def build_model(size: Size, device: torch.device) -> PreTrainedModel:
    """The demo's base model for its size, else a small random Qwen3 with room for the size."""
    if size.name == "demo":
        return load_weights(DEMO_MODEL, device)
    config = Qwen3Config(
        vocab_size=1024,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=size.positions,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    return Qwen3ForCausalLM(config).float().to(device).eval()


def make_batch(size: Size, outcome: str, vocabulary: int) -> tuple[TeacherContexts, list[list[int]]]:
    """Contexts and responses of groups of an outcome.

    Hints are chosen as in training; a context is its problem, the whole of another response, and the question again.
    """
    settings = HintSettings(source="self_rollout", k_max=WRONG_HINTS)
    correct: list[list[int] | None] = []
    wrong: list[list[list[int]]] = []
    responses: list[list[int]] = []
    rng = generator("benchmark teacher", size.name, outcome)
    behind = rng.integers(vocabulary, size=size.after).tolist()
    rights = OUTCOMES[outcome]
    for number, right in enumerate(rights if len(rights) > 1 else rights * size.groups):
        before = rng.integers(vocabulary, size=size.before).tolist()
        lengths = rng.integers(size.response // 2, size.response + 1, size=GROUP)
        own = [rng.integers(vocabulary, size=length).tolist() for length in lengths]
        group = [Candidate(float(member < right), str(member), str(member)) for member in range(GROUP)]
        for assignment in assign_hints(group, Hint("", ""), settings, RLCSD().needs, ("benchmark", number)):
            # A candidate's text is its number.
            hint = assignment.correct
            correct.append(None if hint is None else [*before, *own[int(hint.solution)], *behind])
            wrong.append([[*before, *own[int(hint.solution)], *behind] for hint in assignment.wrong])
        responses += own
    return TeacherContexts(correct, wrong, 0.0), responses


@torch.no_grad()
def score_plainly(
    model: PreTrainedModel,
    contexts: TeacherContexts,
    responses: Sequence[Sequence[int]],
    width: int,
    budget: int,
    temperature: float = 1.0,
) -> Plain:
    """Score every hinted rollout under its correct hint and then under K wrong ones, as one would write it down.

    K is the largest number of wrong hints of any rollout; one with fewer repeats its first. Each row is forwarded with
    the whole of its context; micro-batches are consecutive rows, padded to their longest; logits are made at every
    position. `width` is T of the tensors returned.
    """
    slots = max(map(len, contexts.wrong))
    rows = [row for row, context in enumerate(contexts.correct) if context is not None]
    found = torch.zeros(len(responses), 1 + slots, width, device=model.device)
    tokens = positions = 0
    for slot in range(1 + slots):
        used = {row: [contexts.correct[row], *contexts.wrong[row]] for row in rows}
        texts = {row: [*hinted[slot if slot < len(hinted) else 1], *responses[row]] for row, hinted in used.items()}
        for part in _in_order(rows, [len(texts[row]) for row in rows], budget):
            longest = max(len(texts[row]) for row in part)
            input_ids = torch.zeros(len(part), longest, dtype=torch.long)
            attention = torch.zeros_like(input_ids)
            for i, row in enumerate(part):
                input_ids[i, : len(texts[row])] = torch.tensor(texts[row])
                attention[i, : len(texts[row])] = 1
            input_ids, attention = input_ids.to(model.device), attention.to(model.device)
            logits = model(input_ids=input_ids, attention_mask=attention, use_cache=False).logits
            logprobs = torch.log_softmax(logits.float() / temperature, dim=-1)
            taken = logprobs[:, :-1].gather(-1, input_ids[:, 1:, None])[..., 0]
            for i, row in enumerate(part):
                length = len(responses[row])
                found[row, slot, :length] = taken[i, len(texts[row]) - length - 1 : len(texts[row]) - 1]
            tokens += sum(len(texts[row]) for row in part)
            positions += input_ids.numel()
    return Plain(found[:, 0], found[:, 1:], tokens, positions)


def largest_difference(plain: Plain, scores: TeacherScores) -> float:
    """In nats, over all that a loss reads."""
    gaps = [
        (plain.correct - scores.correct_logprobs)[scores.hinted],
        (plain.wrong - scores.wrong_logprobs)[scores.wrong_mask],
    ]
    return max((float(gap.abs().max()) for gap in gaps if gap.numel()), default=0.0)


def measure(size: Size, outcome: str, memory: bool) -> dict[str, Any]:
    """One line of the table: groups of one outcome, at one size."""
    model = build_model(size, pick_device())
    results: dict[str, Any] = {}
    warm_up(model, size)
    variants = _variants(model, size, outcome)

    def kept(name: str) -> None:
        results[name] = variants[name]()

    seconds = medians({name: partial(kept, name) for name in variants}, size.repetitions, warmups=0)
    plain, plan = results["plain"], results["plan"]
    peaks = {name: in_own_process(peak_of, name, size, outcome) / 2**20 if memory else None for name in variants}
    return {
        "size": size.name,
        "outcome": outcome,
        "plain_tokens": plain.tokens,
        "plan_tokens": plan.tokens_forwarded,
        "tokens_ratio": plan.tokens_forwarded / plain.tokens,
        "plain_positions": plain.positions,
        "plain_s": seconds["plain"],
        "plan_s": seconds["plan"],
        "seconds_ratio": seconds["plan"] / seconds["plain"],
        "plain_mib": peaks["plain"],
        "plan_mib": peaks["plan"],
        "largest_difference": largest_difference(plain, plan),
    }


def peak_of(name: str, size: Size, outcome: str) -> int:
    """Bytes that one variant adds to what model and batch take; for a process of its own."""
    model = build_model(size, pick_device())
    warm_up(model, size)
    return peak_growth(_variants(model, size, outcome)[name])


def warm_up(model: PreTrainedModel, size: Size) -> None:
    """Load what both variants need, at a tiny size: a whole batch takes minutes."""
    for variant in _variants(model, replace(size, response=8, groups=1), MIDDLE).values():
        variant()


def _variants(model: PreTrainedModel, size: Size, outcome: str) -> dict[str, Callable[[], Any]]:
    contexts, responses = make_batch(size, outcome, model.config.vocab_size)
    width = max(map(len, responses))
    return {
        "plain": lambda: score_plainly(model, contexts, responses, width, size.budget),
        "plan": lambda: score_contexts(ModelScorer(model, size.budget), contexts, responses, width),
    }


def averages(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each size with all of the averaged outcomes, the mean ratios over these, and whether they meet the goal."""
    found = []
    for size in dict.fromkeys(row["size"] for row in rows):
        part = [row for row in rows if row["size"] == size and row["outcome"] in AVERAGED]
        if len(part) == len(AVERAGED):
            ratios = {key: float(np.mean([row[key] for row in part])) for key in ("tokens_ratio", "seconds_ratio")}
            met = "met" if max(ratios.values()) <= GOAL else "missed"
            found.append({"size": size, "mean of": f"{AVERAGED[0]} to {AVERAGED[-1]}", **ratios, f"goal {GOAL}": met})
    return found


def _in_order(rows: Sequence[int], lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Consecutive rows whose padded tokens stay within the budget; always at least one row."""
    batches: list[list[int]] = []
    longest = 0
    for row, length in zip(rows, lengths, strict=True):
        longest = max(longest, length)
        if batches and (len(batches[-1]) + 1) * longest <= budget:
            batches[-1].append(row)
        else:
            batches.append([row])
            longest = length
    return batches


def main(arguments: Sequence[str]) -> None:
    """Measure all sizes, shortest first; what is done is written after each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    names = [size.name for size in SIZES]
    parser.add_argument("--sizes", nargs="+", choices=names, default=names, help="names of sizes")
    parser.add_argument("--outcomes", nargs="+", choices=OUTCOMES, help="all without; mixed of the demo's size only")
    parser.add_argument("--threads", type=int, default=1, help="as many as a job of the demo has")
    parser.add_argument("--long", action="store_true", help=f"also {LONG.name} tokens: on a GPU")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    rows: list[dict[str, Any]] = []
    print(machine(), flush=True)
    for size in [*(size for size in SIZES if size.name in options.sizes), *([LONG] if options.long else [])]:
        # The toy's memory is that of the libraries; of the others, one outcome tells it.
        for outcome in options.outcomes or [each for each in OUTCOMES if each != MIXED or size.name == "demo"]:
            rows.append(measure(size, outcome, memory=size.name != "demo" and outcome == MIDDLE))
            write_csv(OUTPUT, rows)
        print(as_text([row for row in rows if row["size"] == size.name]), flush=True)
    if found := averages(rows):
        print(as_text(found))
    print(f"written: {OUTPUT}")


if __name__ == "__main__":
    main(sys.argv[1:])
