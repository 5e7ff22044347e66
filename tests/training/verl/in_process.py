"""verl's engine in this process, without Ray and without a queue: what the workers do, at a start-up of seconds.

`process_group()` must be open around everything here.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# Before anything of verl asks for the device.
from selfdistill.study.teacher_settings import TeacherSettings

from selfdistill.training.verl import cpu  # noqa: F401  # isort: skip

import torch
import torch.distributed
from tensordict import TensorDict
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from verl.trainer.config import CheckpointConfig
from verl.utils import tensordict_utils
from verl.workers.config import FSDPEngineConfig, FSDPOptimizerConfig, HFModelConfig, TrainingWorkerConfig
from verl.workers.engine_workers import TrainingWorker

from selfdistill.objectives.batch import Batch, Targets
from selfdistill.scoring.lengths import vocabulary_size
from selfdistill.scoring.query import LOGPROBS_ONLY, Query
from selfdistill.scoring.scores import Scores, Sequences
from selfdistill.signals.teachers import TeacherSchedule
from selfdistill.training.update import Sums
from selfdistill.training.verl import head_engine
from selfdistill.training.verl.loss import Loss
from selfdistill.training.verl.ray_engine import scored_as
from selfdistill.training.verl.wire import pack_scores_request, pack_update, sums_of, unpack_scores
from selfdistill.training.verl.worker import Models

TINY = Path(__file__).parents[3] / "resources/base_models/tiny_qwen3/arithmetic"


@contextmanager
def process_group(store: Path, rank: int = 0, ranks: int = 1) -> Iterator[None]:
    """Gloo over a file that does not exist yet; verl's workers find it open."""
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(ranks), MASTER_ADDR="127.0.0.1", MASTER_PORT="1")
    torch.distributed.init_process_group(
        "cpu:gloo", rank=rank, world_size=ranks, init_method=f"file://{store.resolve()}"
    )
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


@dataclass(frozen=True)
class Options:
    """What differs between tests; otherwise as the trainer sets verl up, in float32."""

    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    budget: int = 256
    packed: bool = True
    checkpointing: bool = False
    precision: str = "fp32"
    engine: tuple[tuple[str, Any], ...] = ()
    model: tuple[tuple[str, Any], ...] = ()


def build_worker(folder: Path, options: Options, *, frozen: bool = False) -> TrainingWorker:
    """verl's worker around our engine, with the weights of a folder."""
    head_engine.register()
    model = HFModelConfig(
        path=str(folder),
        use_remove_padding=options.packed,
        enable_gradient_checkpointing=options.checkpointing,
        override_config={"attn_implementation": "sdpa"},
        **dict(options.model),
    )
    engine = {
        "strategy": "fsdp2",
        "forward_only": frozen,
        "model_dtype": "fp32",
        "mixed_precision": {"param_dtype": options.precision, "reduce_dtype": "fp32", "buffer_dtype": "fp32"},
        "use_torch_compile": False,
        "use_dynamic_bsz": True,
        "max_token_len_per_gpu": options.budget,
        "infer_max_token_len_per_gpu": options.budget,
    }
    worker = TrainingWorker(
        TrainingWorkerConfig(
            model_type="language_model",
            model_config=model,
            engine_config=FSDPEngineConfig(**(engine | dict(options.engine))),
            optimizer_config=FSDPOptimizerConfig(
                lr=options.learning_rate,
                weight_decay=options.weight_decay,
                clip_grad=options.max_grad_norm,
                lr_warmup_steps=0,
                total_training_steps=100,
            ),
            checkpoint_config=CheckpointConfig(save_contents=["model", "optimizer", "extra"]),
        )
    )
    worker.reset()
    return worker


class InProcess(Models):
    """SelfDistillWorker's operations on TensorDicts, by one rank in this process."""

    def __init__(
        self,
        options: Options = Options(),
        folder: Path = TINY,
        *,
        with_initial: bool = False,
        external: Mapping[str, Path] | None = None,
    ):
        self.student = build_worker(folder, options)
        super().__init__(self.student, build_worker(folder, options, frozen=True) if with_initial else None)
        for role, other in (external or {}).items():
            self.add_external(role, build_worker(other, options, frozen=True))

    def set_loss(self, loss: Loss) -> None:
        self.student.set_loss_fn(loss)

    def save(self, folder: Path) -> None:
        """As SelfDistillWorker.save_checkpoint does."""
        self.student.save_checkpoint(str(folder))
        self.save_teacher(folder)

    def load(self, folder: Path) -> None:
        """As SelfDistillWorker.load_checkpoint does."""
        self.load_teacher(folder)
        self.student.load_checkpoint(str(folder))


class InProcessEngine:
    """Implements training.engine.Engine over InProcess: all that the trainer on Ray does, but for Ray."""

    device = torch.device("cpu")

    def __init__(self, models: InProcess, loss: Loss, teacher: TeacherSettings, temperature: float = 1.0):
        models.set_loss(loss)
        models.create_teacher(teacher.kind, teacher.student_share)
        self._models, self._names, self._schedule = models, scored_as(teacher), TeacherSchedule(teacher)
        self.request = {"temperature": temperature, "head_rows": 7}

    def scorer(self, who: str) -> "InProcessScorer":
        return InProcessScorer(self, self._names.get(who, who))

    def update(
        self, sequences: Sequences, batch: Batch, targets: Targets, kl_weights: Tensor, learning_rate: float
    ) -> tuple[Sums, float]:
        data = pack_update(sequences, batch, targets, kl_weights)
        reply = self._models.update(asking(data, learning_rate=learning_rate, **self.request))
        return sums_of(tensordict_utils.get(reply, "metrics"))

    def tick(self, clock: str) -> None:
        kept = self._schedule.tick(clock)
        if kept is not None:
            self._models.blend_teacher(kept)

    def ask(self, who: str, data: TensorDict, **options: Any) -> TensorDict:
        """A worker's reply of scores under the weights of `who`."""
        return getattr(self._models, f"score_{who}")(asking(data, **self.request, **options))

    @property
    def vocabulary(self) -> int:
        return vocabulary_size(self._models.student.model_config.hf_config)


@dataclass(frozen=True)
class InProcessScorer:
    """Implements scoring.scores.Scorer."""

    engine: InProcessEngine
    who: str
    device = torch.device("cpu")

    @property
    def vocabulary(self) -> int:
        return self.engine.vocabulary

    def __call__(
        self,
        sequences: Sequences,
        width: int,
        query: Query = LOGPROBS_ONLY,
        *,
        alone: bool = False,
    ) -> Scores:
        options = {"use_dynamic_bsz": False, "micro_batch_size_per_gpu": 1} if alone else {}
        data = pack_scores_request(sequences, query.ids)
        reply = self.engine.ask(self.who, data, read_top_k=query.top_k, read_entropy=query.entropy, **options)
        scores = unpack_scores(reply, width)
        ids = scores.ids if query.ids is None else query.ids
        return replace(scores, ids=ids, forwarded=sum(sequences.lengths))


def asking(data: TensorDict, **options: Any) -> TensorDict:
    """Data with non-tensor keys beside its fields, as the queue delivers them."""
    return tensordict_utils.assign_non_tensor(data, **options)


def toy_update() -> tuple[Sequences, Batch, Targets, Tensor]:
    """Eight ragged rows for a loss that needs no teacher (grpo), with a KL term, near the tiny model's own words."""
    made = torch.Generator().manual_seed(5)
    lengths = [9, 4, 12, 1, 6, 3, 12, 8]
    prompts, responses = ([torch.randint(103, (n,), generator=made).tolist() for n in lengths] for _ in range(2))
    shape = len(lengths), max(lengths)
    mask = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]
    batch = Batch(
        response_mask=mask,
        advantages=torch.randn(shape[0], generator=made),
        old_logprobs=-4 - torch.rand(shape, generator=made),
        reference_logprobs=-4 - torch.rand(shape, generator=made),
    )
    weights = mask / mask.sum()
    targets = Targets(batch.advantages[:, None].expand(shape).clone(), weights, {})
    return Sequences(prompts, responses), batch, targets, 0.1 * weights


def weights_of(models: InProcess) -> dict[str, Tensor]:
    """Copies of all parameters in one piece; to be called by all ranks."""
    module = models.student.engine.module
    for each in module.modules():
        if isinstance(each, FSDPModule):
            each.reshard()  # a forward may have left whole ones in their place
    return {name: parameter.full_tensor().clone() for name, parameter in module.named_parameters()}


def gradients_of(models: InProcess) -> dict[str, Tensor]:
    """Copies of all gradients in one piece, behind a backward; to be called by all ranks."""
    return {name: p.grad.full_tensor().clone() for name, p in models.student.engine.module.named_parameters()}
