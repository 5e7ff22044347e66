"""Computes a job's resource requests: GPUs, nodes, memory, time. The rules read them while Snakemake plans."""

import functools
import math
from dataclasses import dataclass, replace

from selfdistill.planning import estimates
from selfdistill.study.critic_settings import gpus_of_critic
from selfdistill.study.matrix import BASE
from selfdistill.study.study import Study

#: The longest that any job asks for, in minutes: partitions rarely allow more than a day. A run that takes longer puts
#: itself back into the queue before this is over, and goes on from its checkpoint.
LONGEST = 24 * 60
#: The shortest: of a job on GPUs, and without any, where a busy core or a slow file system makes ten minutes of one.
SHORTEST = 10
SHORTEST_TOY = 60
#: Estimates are rough: one and a half times as long, and half as much again with every attempt after the first.
MARGIN = 1.5
GROWTH = 1.5

#: Cores for each GPU: its worker, its vLLM engine and their input; on a CPU a job has one thread.
CPUS_PER_GPU = 8

#: Weights of student and teacher together from which on a diagnosis takes a GPU.
LEAST_ON_GPU = 5e8
_MIB_PER_GIB = 1024


@dataclass(frozen=True)
class Request:
    """Of one job. gpus: of each node; gres: "gpu:<gpus>" or ""; cpus: of each node; mem_mb: of each node, in MiB;
    runtime_minutes: wall time.
    """

    gpus: int
    nodes: int
    gres: str
    cpus: int
    mem_mb: int
    runtime_minutes: int


@functools.cache
def training_request(study: Study, task: str, model: str, variant: str, attempt: int = 1) -> Request:
    """Requests for one training run; attempt 1 is the first.

    Host memory of a node, all reasoned, none measured on GPUs:
    * verl on GPUs: 24 GiB for the trainer's process (a step's tensors of 2.3 GiB and a few copies, docs/verl.md) and
      Ray's own; 12 GiB for each GPU, which has a worker and a vLLM engine (libraries, CUDA contexts, pinned buffers);
      12 bytes a parameter for what some process holds as a whole: the float32 weights that one rank loads and shards
      or gathers for the export, the file cache of the weights that vLLM maps, the bfloat16 copy on its way to vLLM;
      and this node's share of what is offloaded (4 bytes a parameter of weights and as much of a teacher, 8 of AdamW;
      with FSDP2's offload policy all that an update needs, 16, and a teacher's 4).
    * verl on a CPU: 10 GiB, for Ray, vLLM and the trainer's processes, and 48 bytes a parameter.
    * another model as teacher, or what it is compared with: 4 bytes a parameter with verl, where it rests in the host's
      memory, 8 locally, while it is read.
    * a critic's server that the job starts: 24 GiB, and 12 for each of its GPUs, which the job has beside the
      trainer's.
    * local: 3 GiB of libraries, activations and data, and 32 bytes a parameter: weights, gradient, AdamW, teacher, and
      a checkpoint on its way.
    """
    settings, machine = study.resolve(task, model, variant, 0), study.machine(task, model, variant)
    parameters, gpus, nodes = float(study.config["models"][model]["parameters"]), machine["gpus"], machine["nodes"]
    if gpus:
        verl, own_teacher = settings["verl"], settings["teacher"]["kind"] in ("snapshot", "ema")
        offloaded = (4 + 4 * own_teacher) * verl["offload_parameters"] + 8 * verl["offload_optimizer"]
        if any(word.lower().endswith("offload_policy=true") for word in verl["overrides"]):
            offloaded = 16 + 4 * own_teacher
        memory = 24 + 12 * gpus + (12 + offloaded / nodes) * parameters / 2**30
    elif settings["trainer"] == "verl":
        memory = 10 + 48 * parameters / 2**30
    else:
        memory = 3 + 32 * parameters / 2**30
    held = 4 if settings["trainer"] == "verl" else 8  # other models in float32; locally read as a whole first
    others = study.external_models(task, model, variant).values()
    memory += sum(held * float(study.config["models"][name]["parameters"]) for name in others) / nodes / 2**30
    seconds = estimates.training(study, task, model, variant).seconds
    if of_critic := gpus_of_critic(settings):
        gpus = max(gpus, 1) + of_critic  # beside it even the local trainer is worth a GPU
        memory += 24 + 12 * of_critic
    return _request(gpus, nodes, memory, seconds, attempt)


@functools.cache
def evaluation_request(study: Study, task: str, model: str, attempt: int = 1) -> Request:
    """Requests for the evaluation of one run on all benchmarks of its task; attempt 1 is the first.

    Host memory, reasoned: with vLLM 32 GiB for libraries, CUDA context, pinned buffers and all draws of a benchmark,
    and 4 bytes a parameter for loading; else 3 GiB and 8 bytes a parameter.
    """
    parameters = float(study.config["models"][model]["parameters"])
    estimate = estimates.evaluation(study, task, model)
    memory = 32 + 4 * parameters / 2**30 if estimate.gpus else 3 + 8 * parameters / 2**30
    return _request(estimate.gpus, 1, memory, estimate.seconds, attempt)


def preflight_request(study: Study, task: str, model: str, variant: str, attempt: int = 1) -> Request:
    """Requests for a pre-flight: an evaluation's, and GPUs for a critic's server of its own; attempt 1 is the first."""
    found = evaluation_request(study, task, model, attempt)
    more = 0 if variant == BASE else gpus_of_critic(study.resolve(task, model, variant, 0))
    if not more:
        return found
    gpus = max(found.gpus, 1) + more  # the model that is measured has one to itself
    cpus = found.cpus + more * CPUS_PER_GPU
    return replace(found, gpus=gpus, gres=f"gpu:{gpus}", cpus=cpus, mem_mb=found.mem_mb + more * 32 * _MIB_PER_GIB)


def warm_start_request(study: Study, model: str, attempt: int = 1) -> Request:
    """Requests for the warm start of a pretrained model, some minutes on a core; attempt 1 is the first.

    Host memory: 3 GiB of libraries and activations, and 16 bytes a parameter for weights, gradient and AdamW (measured:
    4.2 GiB for 135 million).
    """
    return _request(0, 1, 3 + 16 * float(study.config["models"][model]["parameters"]) / 2**30, 0, attempt)


def diagnosis_request(study: Study, model: str, teacher: str, attempt: int = 1) -> Request:
    """Requests for a diagnosis of a teacher: a GPU for models above LEAST_ON_GPU weights; attempt 1 is the first.

    Host memory: 3 GiB, and 8 bytes for each parameter of both, while they are read. On a GPU some hours, most of them
    for drawing with transformers; reasoned, not measured.
    """
    parameters = sum(float(study.config["models"][name]["parameters"]) for name in (model, teacher))
    gpus = int(parameters > LEAST_ON_GPU)
    return _request(gpus, 1, 3 + 8 * parameters / 2**30, 16_000 * gpus, attempt)


def discovery_request(study: Study, task: str, model: str, attempt: int = 1, search: str = "") -> Request:
    """Requests for a search at test time; without a name, for the draws that choose questions. Attempt 1 is the first.

    A GPU for models above LEAST_ON_GPU weights. Host memory as of a local training run. Time, reasoned, not measured:
    every attempt of the job's share of the questions at its full length, where PAPER_TOKENS_PER_SECOND are drawn; a job
    that needs longer goes back into the queue. A search through verl has the machine of a training run.
    """
    parameters = float(study.config["models"][model]["parameters"])
    asked, gpus = study.discoveries.settings, int(parameters > LEAST_ON_GPU)
    run = study.resolve(task, model, asked.variant, 0)
    questions = max((len(each.questions or ()) for each in asked.sets.values()), default=0) or asked.parts
    tokens = asked.budget * math.ceil(questions / asked.parts) * run["rollout"]["max_response_tokens"]
    seconds = gpus * tokens * estimates.RESPONSE_SHARE / estimates.PAPER_TOKENS_PER_SECOND
    found = _request(gpus, 1, 3 + 32 * parameters / 2**30, seconds, attempt)
    if not study.discoveries.through_verl(task, model, search):
        return found
    machine = training_request(study, task, model, asked.variant, attempt)
    return replace(machine, runtime_minutes=found.runtime_minutes)


def _request(gpus: int, nodes: int, memory_gib: float, seconds: float, attempt: int) -> Request:
    grown = GROWTH ** (attempt - 1)
    shortest = SHORTEST if gpus else SHORTEST_TOY
    minutes = max(math.ceil(seconds * MARGIN / 60), shortest) * grown
    return Request(
        gpus=gpus,
        nodes=nodes,
        gres=f"gpu:{gpus}" if gpus else "",
        cpus=CPUS_PER_GPU * gpus or 1,
        mem_mb=math.ceil(memory_gib * _MIB_PER_GIB * grown),
        runtime_minutes=min(math.ceil(minutes), LONGEST),
    )
