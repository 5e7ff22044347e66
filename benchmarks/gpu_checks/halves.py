"""bfloat16: what numerics alone give the contrast, by shape of batch, and how much of the evidence keeps its sign."""

from collections.abc import Callable, Iterator

import torch
from evidence import evidence_of, hinted_batch, share, sizes, smallest_selected
from torch import Tensor
from transformers import PreTrainedModel

from gpu_checks.lines import Line
from gpu_checks.models import SHAPES, random_qwen3, tokens
from selfdistill.objectives.rlcsd import RLCSD
from selfdistill.scoring.prefix_schedule import schedule_prefixes
from selfdistill.scoring.scorer import ModelScorer, read_responses, score
from selfdistill.scoring.scores import Sequences
from selfdistill.scoring.shared_prefixes import ModelForwards, score_with_prefixes

ROWS, LENGTH, BUDGET = 8, 512, 16_384
#: Largest share of tokens that noise may select, as in the demo's models.
SELECTED = 0.1


def lines(device: torch.device, tiny: bool) -> Iterator[Line]:
    """Null contrast and evidence of each shape; the hints are random tokens, so all evidence is a random model's."""
    yield from product(device, tiny)
    for shape in ("tiny",) if tiny else ("0.6B", "1.7B", "4B"):
        model = random_qwen3(shape, torch.bfloat16, device)
        yield from of_model(shape, model, 16 if tiny else LENGTH)
        del model
        if device.type == "cuda":
            torch.cuda.empty_cache()


def of_model(shape: str, model: PreTrainedModel, length: int) -> Iterator[Line]:
    """Scores of rows alone against other shapes of batch, under a right hint; then right against wrong."""
    method, size = RLCSD(), SHAPES[shape].vocabulary
    front = tokens(length // 4, size, "front")
    responses = [tokens(length - i * length // 16, size, "response", i) for i in range(ROWS)]
    right, wrong = ([*front, *tokens(length, size, hint)] for hint in ("right", "wrong"))
    width = max(map(len, responses))

    def rows(hint: list[int]) -> Sequences:
        return Sequences([hint] * ROWS, responses)

    alone = score(model, rows(right), width, 1).logprobs
    under_wrong = score(model, rows(wrong), width, 1).logprobs
    clean, clean_selected = evidence_of(method, hinted_batch(responses, alone, under_wrong[:, None]))
    yield Line(
        f"{shape}: evidence of random hints, each row alone: mean size",
        sizes(clean)["mean"],
        "nats",
        note=f"{100 * share(clean_selected):.1f} % selected, beyond {smallest_selected(method):.1g} nats",
    )
    for name, scored in batch_shapes(model, width).items():
        noise, selected = evidence_of(method, hinted_batch(responses, alone, scored(rows(right))[:, None]))
        again = hinted_batch(responses, scored(rows(right)), scored(rows(wrong))[:, None])
        evidence, now = evidence_of(method, again)
        kept = clean_selected
        same = share((evidence.sign() == clean.sign())[kept] & now[kept]) if kept.any() else 0.0
        found = sizes(noise)
        yield Line(
            f"{shape}: null contrast, {name}: share selected by noise alone",
            share(selected),
            "",
            SELECTED,
            f"mean {found['mean']:.1e}, largest {found['max']:.1e} nats; {100 * same:.1f} % of the evidence stays",
            details={"noise": found, "evidence_same": same},
        )


def batch_shapes(model: PreTrainedModel, width: int) -> dict[str, Callable[[Sequences], Tensor]]:
    """Ways to the same log-probs (N, width)."""

    def together(sequences: Sequences) -> Tensor:
        with torch.no_grad():
            found = read_responses(model, sequences, range(len(sequences.responses))).logprobs
        return torch.nn.functional.pad(found, (0, width - found.shape[1]))

    def shared(sequences: Sequences, *, packed: bool) -> Tensor:
        schedule = schedule_prefixes(sequences, BUDGET)
        return score_with_prefixes(ModelForwards(model, packed=packed), sequences, schedule, width, BUDGET).logprobs

    return {
        "alone, padded": lambda rows: ModelScorer(model, BUDGET)(rows, width, alone=True).logprobs,
        "one batch": together,
        "shared prompts, padded": lambda rows: shared(rows, packed=False),
        "shared prompts, packed": lambda rows: shared(rows, packed=True),
    }


def product(device: torch.device, tiny: bool) -> Iterator[Line]:
    """torch.mm with float32 output: what the head's products of bfloat16 numbers lose, against float64."""
    made = torch.Generator(device).manual_seed(0)
    rows, hidden, size = (4, 32, 211) if tiny else (64, 2560, 151_936)
    states = torch.randn(rows, hidden, generator=made, device=device).bfloat16()
    weight = (torch.randn(size, hidden, generator=made, device=device) * 3 * hidden**-0.5).bfloat16()
    exact = states.double() @ weight.double().t()
    rounded = float(((states @ weight.t()).double() - exact).abs().max())
    try:
        out = torch.mm(states, weight.t(), out_dtype=torch.float32)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        yield Line("torch.mm of bfloat16 with float32 output", None, note=f"not on this device: {error}"[:160])
        return
    apart = float((out.double() - exact).abs().max())
    yield Line(
        "torch.mm of bfloat16 with float32 output: off float64 by", apart, "", 1e-4, f"in bfloat16: {rounded:.1e}"
    )
