"""Implements our worker of verl: scores under the weights of student, teacher and others, and updates."""

import os
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from tensordict import TensorDict
from verl.single_controller.base.decorator import Dispatch, make_nd_compute_dataproto_dispatch_fn, register
from verl.utils import tensordict_utils
from verl.utils.config import omega_conf_to_dataclass
from verl.workers.config import TrainingWorkerConfig
from verl.workers.engine_workers import ActorRolloutRefWorker, TrainingWorker

from selfdistill.errors import UserError
from selfdistill.scoring.lengths import vocabulary_size
from selfdistill.training.verl import head_engine
from selfdistill.training.verl.export import export
from selfdistill.training.verl.teacher_weights import TeacherWeights
from selfdistill.training.verl.wire import OTHER_STATES, STATES

_OWN_WEIGHTS = ("snapshot", "ema")
_WITHOUT_OWN_WEIGHTS = ("none", "initial", "live", "trust_region", "external")


class Models:
    """A rank's share of the models: the student, its teacher, and the initial weights where somebody asks for them.

    Data are those of `wire`, with what `head_engine` reads beside them.
    """

    def __init__(self, student: TrainingWorker | None, initial: TrainingWorker | None):
        self._student, self._initial = student, initial
        self._kind, self._share, self._teacher = "none", 0.0, None
        self._external: dict[str, TrainingWorker] = {}

    def create_teacher(self, kind: str, student_share: float = 0.0) -> None:
        """The teacher begins with the student's weights of now, if it has its own (study.teacher_settings.KINDS).

        `student_share`: of the student's logits in a trust region's.
        """
        if kind not in _OWN_WEIGHTS + _WITHOUT_OWN_WEIGHTS:
            raise UserError(
                f"teacher.kind is {kind!r}, but verl's trainer has {', '.join(_OWN_WEIGHTS + _WITHOUT_OWN_WEIGHTS)}; "
                "choose one of these, or the local trainer"
            )
        self._kind, self._share = kind, student_share
        self._teacher = TeacherWeights(self._student.engine.module) if kind in _OWN_WEIGHTS else None

    def add_external(self, role: str, model: TrainingWorker) -> int:
        """Hold another model, forward only, as "teacher" or "reference"; returns the rows of its output layer."""
        self._external[role] = model
        return vocabulary_size(model.model_config.hf_config)

    def blend_teacher(self, decay: float) -> None:
        """Let the teacher's own weights follow the student's; it keeps the share `decay` of its own."""
        if self._teacher is None:
            raise RuntimeError(f"a teacher of the kind {self._kind!r} has no weights of its own")
        self._teacher.blend(decay)

    def score_student(self, data: TensorDict) -> TensorDict:
        """Scores under the weights in training, without gradient."""
        return _scores(self._student, data)

    def score_teacher(self, data: TensorDict) -> TensorDict:
        """Scores under the teacher's weights: its own, the student's if it is "live", or the mixture's."""
        if self._kind == "trust_region":
            return self._score_mixed(data)
        if self._teacher is None:
            if self._kind != "live":
                raise RuntimeError(f"a teacher of the kind {self._kind!r} is not to be asked here")
            return self.score_student(data)
        with self._teacher.swapped_in():
            return self.score_student(data)

    def score_initial(self, data: TensorDict) -> TensorDict:
        """Scores under the run's initial weights."""
        return _scores(self._initial, data)

    def _score_mixed(self, data: TensorDict) -> TensorDict:
        """Scores under logits that are the initial model's and the student's in one sum.

        The first forward leaves its hidden states at the responses, H numbers a token, and its output layer; the
        logits of both are made together, some rows at a time, in the second.
        """
        initial, student = self._initial.engine.head, self._student.engine.head
        asked = tensordict_utils.assign_non_tensor(data.copy(), read_states=True)
        try:
            states = _scores(self._initial, asked)[STATES]
            with student.mixing(initial.whole, self._share):
                return self.score_student(data.copy().set(OTHER_STATES, states))
        finally:
            initial.whole = None

    def score_external_teacher(self, data: TensorDict) -> TensorDict:
        """Scores under the weights of another model, the teacher."""
        return _scores(self._external["teacher"], data)

    def score_external_reference(self, data: TensorDict) -> TensorDict:
        """Scores under the weights of the model that the teacher is compared with."""
        return _scores(self._external["reference"], data)

    def update(self, data: TensorDict) -> TensorDict:
        """Take one step of the optimizer at the data's learning_rate; metrics for `wire.sums_of`.

        Where the gradient is not finite, no step is made.
        """
        rate = tensordict_utils.get(data, "learning_rate")
        for group in self._student.engine.optimizer.param_groups:
            group["lr"] = rate
        return self._student.train_batch(data)

    def save_teacher(self, folder: Path) -> None:
        """Write the teacher's own weights, if it has any, into a checkpoint's folder."""
        if self._teacher is not None:
            self._teacher.save(folder, self._student.rank, self._student.world_size)

    def load_teacher(self, folder: Path) -> None:
        """The inverse of save_teacher(); raises UserError where the folder has not what this teacher needs."""
        if self._teacher is not None:
            self._teacher.load(folder, self._student.rank, self._student.world_size)


class SelfDistillWorker(ActorRolloutRefWorker):
    """verl's worker with the operations of Models; data may come as its metadata of a queue."""

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def init_model(self) -> None:
        """Build verl's actor with our output head in place of verl's, and whatever the teacher needs."""
        os.environ["VERL_ENGINE_VENDOR"] = head_engine.VENDOR  # without it, verl would take its own engine
        head_engine.register()
        head_engine.SelfDistillEngine.freezes_vision_tower = bool(self.config.actor.get("freeze_vision_tower", False))
        super().init_model()
        self._models = Models(self.actor, self.ref)

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def create_teacher(self, kind: str, student_share: float = 0.0) -> None:
        """Give the teacher weights of its own: a copy, an average, or a mix with the student's."""
        self._models.create_teacher(kind, student_share)

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def add_external(self, role: str, path: str) -> int:
        """Load another model beside the student's; returns the rows of its output layer."""
        model = forward_only_worker(self.config, path)
        self.set_dispatch_collect(mesh_name=f"external_{role}", **model.get_dispatch_collect())
        return self._models.add_external(role, model)

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def blend_teacher(self, decay: float) -> None:
        """Move the teacher's weights to decay x its own + (1 - decay) x the student's."""
        self._models.blend_teacher(decay)

    @register(dispatch_mode=make_nd_compute_dataproto_dispatch_fn(mesh_name="actor"))
    def score_student(self, data: TensorDict) -> TensorDict:
        return self._models.score_student(data)

    @register(dispatch_mode=make_nd_compute_dataproto_dispatch_fn(mesh_name="actor"))
    def score_teacher(self, data: TensorDict) -> TensorDict:
        return self._models.score_teacher(data)

    @register(dispatch_mode=make_nd_compute_dataproto_dispatch_fn(mesh_name="ref"))
    def score_initial(self, data: TensorDict) -> TensorDict:
        return self._models.score_initial(data)

    @register(dispatch_mode=make_nd_compute_dataproto_dispatch_fn(mesh_name="external_teacher"))
    def score_external_teacher(self, data: TensorDict) -> TensorDict:
        return self._models.score_external_teacher(data)

    @register(dispatch_mode=make_nd_compute_dataproto_dispatch_fn(mesh_name="external_reference"))
    def score_external_reference(self, data: TensorDict) -> TensorDict:
        return self._models.score_external_reference(data)

    @register(dispatch_mode=make_nd_compute_dataproto_dispatch_fn(mesh_name="actor"))
    def update(self, data: TensorDict) -> TensorDict:
        return self._models.update(data)

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def export(self, folder: str) -> None:
        """Write the student as a model folder of transformers."""
        export(self.actor.engine.module, self.actor.model_config, Path(folder))

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def save_checkpoint(
        self, local_path: str, hdfs_path: str | None = None, global_step: int = 0, max_ckpt_to_keep: int | None = None
    ) -> None:
        super().save_checkpoint(local_path, hdfs_path, global_step, max_ckpt_to_keep)
        self._models.save_teacher(Path(local_path))

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def load_checkpoint(
        self, local_path: str, hdfs_path: str | None = None, del_local_after_load: bool = False
    ) -> None:
        self._models.load_teacher(Path(local_path))  # first: it refuses before anything has changed
        super().load_checkpoint(local_path, hdfs_path, del_local_after_load)


def forward_only_worker(config: DictConfig, path: str) -> TrainingWorker:
    """Return verl's worker around our engine with the weights of another model, sharded over the ranks as the student.

    verl's own reference worker cannot be one: its model config is a copy of the actor's. The engine is that of the
    reference, so the weights rest in the host's memory and are brought to the GPU layer by layer for each forward.

    Args:
        config: actor_rollout_ref.
        path: folder of the model.
    """
    model = OmegaConf.create(OmegaConf.to_container(config.model, resolve=True))
    model.path, model.enable_gradient_checkpointing = path, False
    for name in ("local_path", "hf_config_path", "tokenizer_path", "local_hf_config_path", "local_tokenizer_path"):
        model[name] = None
    actor = omega_conf_to_dataclass(config.actor)
    engine = omega_conf_to_dataclass(config.ref.fsdp_config)
    engine = replace(engine, strategy=config.actor.strategy, forward_only=True)
    engine.use_dynamic_bsz = True
    engine.infer_max_token_len_per_gpu = config.rollout.log_prob_max_token_len_per_gpu
    engine.use_remove_padding = model.use_remove_padding
    worker = TrainingWorker(
        TrainingWorkerConfig(
            model_type="language_model",
            model_config=omega_conf_to_dataclass(model),
            engine_config=engine,
            optimizer_config=actor.optim,
            checkpoint_config=actor.checkpoint,
        )
    )
    worker.reset()
    return worker


def _scores(model: TrainingWorker, data: TensorDict) -> TensorDict:
    tensordict_utils.assign_non_tensor(data, compute_loss=False)
    return model.infer_batch(data)
