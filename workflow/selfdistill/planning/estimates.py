"""Estimates seconds, GPU-hours and bytes of a run or an evaluation, and says where each number comes from.

Best source first: measured runs of the same task, model and loss; measured runs of the same task and model with another
loss, times the ratio of the published seconds; the paper's seconds a step, scaled. The demo's time and the small tier's
are the yardsticks of runs without GPUs. Nothing heavy is imported: jobs' requests come from these while it is planned.
"""

import csv
import functools
import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfdistill.methods.catalogue import shipped
from selfdistill.planning import measured
from selfdistill.planning.measured import step_work
from selfdistill.study.paths import DRAWS_FOLDER, RUN_FOLDER
from selfdistill.study.study import Study

_PUBLISHED = Path(__file__).parents[3] / "resources/published"

#: The setting of the published seconds (resources/published/README.md): weights of Qwen3-4B; GPUs; tokens of a step.
PAPER_PARAMETERS = 4.02e9
PAPER_GPUS = 8
PAPER_WORK = 64 * 8 * 16384
#: Tokens that one of the paper's GPUs drew in a second: grpo's 512 responses of some 8,300 tokens, in 503.8 s on 8.
PAPER_TOKENS_PER_SECOND = 512 * 8300 / 503.8 / PAPER_GPUS

#: Of the limit, in the mean: the paper's training responses are half as long as they may be. Assumed of evaluation too.
RESPONSE_SHARE = 0.5
#: The demo (README.md): 16 runs of 30 steps in 9 min 20 s x 2 cores, validation among them, for 13,760 tokens a step
#: (mean of its two tasks) and 2.3e5 weights.
TOY_STEP_SECONDS = 2.3
TOY_WORK = 13760
TOY_PARAMETERS = 2.3e5
#: Tokens a second that one core draws with the toy's model, seconds until something is drawn: the demo's logs.
TOY_TOKENS_PER_SECOND = 5000
TOY_START_SECONDS = 10
#: How much longer a token of the small tier takes than one of the toy's, on the same core: its steps of grpo on sums
#: take 34 s for 3,072 tokens (docs/small.md). The toy's small matrices keep a core less busy than these.
SMALL_PARAMETERS = 1.345e8
SMALL_SLOWDOWN = (34 / 3072) / (TOY_STEP_SECONDS / TOY_WORK)
#: Start of Ray, vLLM and verl: measured on two cores (docs/verl.md), assumed on GPUs.
VERL_START_SECONDS = 100
#: Loading weights and compiling in an evaluation with vLLM: assumed.
VLLM_START_SECONDS = 180

#: A response's token on disk: some four characters, halved by the parquet's compression. Assumed.
DRAW_BYTES_PER_TOKEN = 2
#: Float32 weights and AdamW's two moments; a snapshot's or an EMA's own weights beside them (docs/verl.md).
CHECKPOINT_BYTES = 12
TEACHER_BYTES = 4
#: Checkpoints that lie side by side (study/verl_words.py; the local trainer: the old one and its successor).
CHECKPOINTS = 2
#: Of what is finished: in its state and published, which share nothing (file systems with reflinks: at first).
COPIES = 2


@dataclass(frozen=True)
class Estimate:
    """Holds what one job takes.

    Attributes:
        seconds: of wall time.
        gpus: of all its nodes together; 0 on a CPU.
        disk_bytes: what it leaves.
        running_bytes: what it needs on top of that while it lasts.
        source: where `seconds` comes from, in words.
        basis: the numbers in it.
    """

    seconds: float
    gpus: int
    disk_bytes: float
    running_bytes: float
    source: str
    basis: str

    @property
    def hours(self) -> float:
        """Returns the hours of wall time."""
        return self.seconds / 3600

    @property
    def gpu_hours(self) -> float:
        """Hours x GPUs."""
        return self.hours * self.gpus


@functools.cache
def training(study: Study, task: str, model: str, variant: str) -> Estimate:
    """Return one training run, validation included.

    The seed makes no difference. Raises UserError for unknown names.
    """
    settings, machine = study.resolve(task, model, variant, 0), study.machine(task, model, variant)
    parameters, gpus = _parameters(study, model), machine["gpus"] * machine["nodes"]
    seconds, source, basis = _measured_training(study, task, model, settings, gpus) or _unmeasured_training(
        study, settings, parameters, gpus
    )
    own_weights = settings["teacher"]["kind"] in ("snapshot", "ema")
    on_disk = 2 if settings["trainer"] == "verl" and settings["verl"]["dtype"] == "bfloat16" else 4
    return Estimate(
        seconds=seconds,
        gpus=gpus,
        disk_bytes=COPIES * on_disk * parameters,
        running_bytes=CHECKPOINTS * (CHECKPOINT_BYTES + (TEACHER_BYTES if own_weights else 0)) * parameters,
        source=source,
        basis=basis,
    )


@functools.cache
def evaluation(study: Study, task: str, model: str) -> Estimate:
    """Return the evaluation of one run on all benchmarks of its task, those of other tasks (`also`) among them."""
    settings = study.evaluation(task)
    engine = settings["evaluation"]["engine"]
    gpus = int(engine == "vllm")
    tokens = _evaluation_tokens(study, task)
    # One on fewer benchmarks says too little. Draws of benchmarks that are no longer asked for stay where they are.
    asked = study.benchmarks(task).keys()
    evaluated = [
        run
        for run in measured.evaluations(task, model, study.placed(DRAWS_FOLDER))
        if run.gpus == gpus and run.benchmarks >= asked
    ]
    took = [run.wall_seconds for run in evaluated]
    if took:
        seconds, source = statistics.fmean(took), "measured evaluations of the same task and model"
        basis = f"{seconds:.3g} s ({len(took)} measured)"
    else:
        rate, start, source = _sampling_rate(_parameters(study, model), gpus)
        seconds, basis = start + tokens / rate, f"{tokens:,.0f} tokens at {rate:,.0f} a second"
    return Estimate(seconds, gpus, COPIES * tokens * DRAW_BYTES_PER_TOKEN, 0.0, source, basis)


def _measured_training(
    study: Study, task: str, model: str, settings: dict[str, Any], gpus: int
) -> tuple[float, str, str] | None:
    """From runs with the same trainer, with GPUs where GPUs are asked for; scaled to this run's steps and sizes."""
    runs = [
        run
        for run in measured.trainings(task, model, study.placed(RUN_FOLDER))
        if run.trainer == settings["trainer"] and bool(run.gpus) == bool(gpus)
    ]
    same = [run for run in runs if run.implementation == settings["implementation"]]
    if not runs:
        return None
    work, here = step_work(settings), published_seconds(settings["implementation"])[0]
    seconds = [
        run.wall_seconds
        / run.steps
        * work
        / run.work
        * max(run.gpus, 1)
        / max(gpus, 1)
        # 1 among runs of the same loss.
        * here
        / published_seconds(run.implementation)[0]
        for run in same or runs
    ]
    step = statistics.fmean(seconds)
    source = "measured runs of the same task, model and loss"
    if not same:
        source = "measured runs of the same task and model with other losses, by the ratio of the paper's seconds"
    return settings["steps"] * step, source, f"{step:.3g} s a step ({len(seconds)} measured)"


def _unmeasured_training(
    study: Study, settings: dict[str, Any], parameters: float, gpus: int
) -> tuple[float, str, str]:
    steps, work = settings["steps"], step_work(settings)
    if not gpus:
        start = VERL_START_SECONDS if settings["trainer"] == "verl" else TOY_START_SECONDS
        step = TOY_STEP_SECONDS * work / TOY_WORK * _slowdown(parameters)
        source = "the demo's and the small tier's seconds a step, by tokens and parameters; no GPU"
        return start + steps * step, source, f"{step:.3g} s a step"
    published, row = published_seconds(settings["implementation"])
    step = published * work / PAPER_WORK * parameters / PAPER_PARAMETERS * PAPER_GPUS / gpus
    validation = settings["validation"]
    sizes = [min(n, validation["problems"]) for n in benchmark_sizes(study, settings["task"], settings["benchmarks"])]
    tokens = sum(sizes) * validation["draws"] * RESPONSE_SHARE * validation["max_response_tokens"]
    rate, _, _ = _sampling_rate(parameters, gpus)
    validations = 1 + -(-steps // validation["every"])  # before the first step, and after the last
    source = "the paper's seconds a step (Qwen3-4B, maths, 8 x H20), in proportion to parameters, tokens and GPUs"
    if settings["grader"] != "maths":
        source += "; maths' as an upper bound, for no others are published"
    if row != settings["implementation"]:
        source += "; those of the nearest loss that has any"
    factors = {"parameters": parameters / PAPER_PARAMETERS, "tokens": work / PAPER_WORK, "GPUs": PAPER_GPUS / gpus}
    scaled = [f"x {by:.3g} {name}" for name, by in factors.items() if by != 1]
    basis = " ".join([f"{published:.0f} s a step ({row})", *scaled])
    return VERL_START_SECONDS + steps * step + validations * tokens / rate, source, basis


def _slowdown(parameters: float) -> float:
    """Returns the cost of a token over the toy's: a power of the weights up to the small tier's, and then linear."""
    power = math.log(SMALL_SLOWDOWN) / math.log(SMALL_PARAMETERS / TOY_PARAMETERS)
    within = max(1.0, min(parameters, SMALL_PARAMETERS) / TOY_PARAMETERS)
    return within**power * max(1.0, parameters / SMALL_PARAMETERS)


def published_seconds(implementation: str) -> tuple[float, str]:
    """Return the paper's seconds of one training step, and the method that they are of.

    A loss without any has those of the one that reads about as much; a loss of the user's own has the slowest.
    """
    table = _published()
    kind = shipped().get(implementation)
    row = (kind.costs_like if kind else "") or implementation
    row = row if row in table else max(table, key=table.__getitem__)
    return table[row], row


def _sampling_rate(parameters: float, gpus: int) -> tuple[float, float, str]:
    """Tokens a second, seconds of start-up, and the source in words."""
    if not gpus:
        rate = TOY_TOKENS_PER_SECOND / _slowdown(parameters)
        return rate, TOY_START_SECONDS, "the demo's tokens a second, slower by parameters; no GPU"
    rate = PAPER_TOKENS_PER_SECOND * PAPER_PARAMETERS / parameters * gpus
    source = "assumed: responses half as long as allowed, drawn as fast as in the paper's training, by parameters"
    return rate, VLLM_START_SECONDS, source


def _evaluation_tokens(study: Study, task: str) -> float:
    settings = study.evaluation(task)
    sizes = benchmark_sizes(study, task, settings["benchmarks"])
    for other, about in settings.get("also", {}).items():
        sizes += [min(n, about.get("problems", n)) for n in benchmark_sizes(study, other, about["benchmarks"])]
    return sum(sizes) * settings["draws"] * RESPONSE_SHARE * settings["evaluation"]["max_response_tokens"]


def benchmark_sizes(study: Study, task: str, benchmarks: list[str]) -> list[int]:
    """Problems of each: those that the generator is asked for, else the published number, else 100."""
    entries, published = study.config["tasks"][task]["benchmarks"], _problems()
    return [int(entries[name].get("problems", published.get(name, 100))) for name in benchmarks]


def _parameters(study: Study, model: str) -> float:
    return float(study.config["models"][model]["parameters"])


@functools.cache
def _published() -> dict[str, float]:
    return {row["method"]: float(row["step_seconds"]) for row in _rows("step_seconds.csv")}


@functools.cache
def _problems() -> dict[str, int]:
    return {row["benchmark"]: int(row["problems"]) for row in _rows("benchmark_problems.csv")}


def _rows(name: str) -> list[dict[str, str]]:
    with open(_PUBLISHED / name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
