"""What shared prompts save through verl's engine: scores of whole rows beside both forms of sharing, on a CPU.

.venv-verl/bin/python -P benchmarks/verl_prompts.py [--sizes 100 400]; run from the repository's root. The demo's model
in verl's engine, in this process, without Ray; a group of eight under rlcsd's hints, which are as long as responses.
Whole rows twice: packed, as verl has them by default, which on a CPU attend over all rows of a micro-batch at once, for
want of a kernel; and padded (`use_remove_padding: false`), which is what a CPU should be compared with.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
os.environ.update(VERL_PLATFORM="cpu", VERL_ENGINE_DEVICE="cpu", VERL_ENGINE_VENDOR="selfdistill")
sys.path += [str(ROOT / "benchmarks"), str(ROOT / "tests/training/verl")]

from in_process import InProcess, InProcessEngine, Options, process_group  # isort: skip  (before anything of verl)

import torch
from side_by_side import as_text, machine, medians, write_csv
from teacher import MIDDLE, Size, make_batch

from selfdistill.scoring.prefix_schedule import schedule_prefixes
from selfdistill.scoring.scores import Scores, Sequences
from selfdistill.study.teacher_settings import TeacherSettings
from selfdistill.training.verl.loss import Loss
from selfdistill.training.verl.shared_prompts import SHARED, SHARED_TOKENS

OUTPUT = Path("results/benchmarks/verl_prompts.csv")
#: Whole rows as verl packs or pads them, and both forms of sharing.
FORMS = ("none", "none_padded", "padded", "packed")


def measure(size: Size, repetitions: int) -> dict[str, Any]:
    """One line of the table."""
    packed, padded = (InProcess(Options(budget=size.budget, packed=packed)) for packed in (True, False))
    contexts, responses = make_batch(size, MIDDLE, 103)
    uses = [*contexts.correct_uses, *contexts.wrong_uses]
    pairs = list(dict.fromkeys((tuple(use.context), tuple(responses[use.row])) for use in uses))
    sequences = Sequences([list(prompt) for prompt, _ in pairs], [list(response) for _, response in pairs])
    width = max(map(len, sequences.responses))
    found: dict[str, Scores] = {}

    def score(form: str) -> None:
        models = padded if form == "none_padded" else packed
        engine = InProcessEngine(models, Loss("grpo", {}), TeacherSettings(kind="live"))
        if not form.startswith("none"):
            engine.request |= {SHARED: form, SHARED_TOKENS: size.budget}
        found[form] = engine.scorer("teacher")(sequences, width)

    seconds = medians({form: partial(score, form) for form in FORMS}, repetitions)
    tokens, plain = schedule_prefixes(sequences, size.budget).tokens, sum(sequences.lengths)
    row: dict[str, Any] = {"response": size.response, "rows": len(pairs), "tokens": plain, "shared_tokens": tokens}
    row |= {"tokens_ratio": tokens / plain} | {f"{form}_s": seconds[form] for form in FORMS}
    row |= {f"{form}_ratio": seconds[form] / seconds["none_padded"] for form in FORMS[2:]}
    apart = max(float((found[form].logprobs - found["none"].logprobs).abs().max()) for form in FORMS[1:])
    return row | {"largest_difference": apart}


def main(arguments: Sequence[str]) -> None:
    """Measure all sizes, shortest first."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 400], help="tokens of the longest response")
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(machine(), flush=True)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="verl") as folder, process_group(Path(folder) / "store"):
        for response in options.sizes:
            size = Size(str(response), response, 40, 20, groups=1, budget=8192, repetitions=1)
            rows.append(measure(size, options.repetitions))
            write_csv(OUTPUT, rows)
            print(as_text(rows[-1:]), flush=True)
    print(f"written: {OUTPUT}")


if __name__ == "__main__":
    main(sys.argv[1:])
