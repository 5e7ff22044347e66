"""What a worker of verl does for self-distillation: scores under three sets of weights, and updates."""

import os
from pathlib import Path

from tensordict import TensorDict
from verl.single_controller.base.decorator import Dispatch, make_nd_compute_dataproto_dispatch_fn, register
from verl.utils import tensordict_utils
from verl.workers.engine_workers import ActorRolloutRefWorker, TrainingWorker

from selfdistill.errors import UserError
from selfdistill.training.verl import head_engine
from selfdistill.training.verl.export import export
from selfdistill.training.verl.teacher_weights import TeacherWeights

_OWN_WEIGHTS = ("snapshot", "ema")
_WITHOUT_OWN_WEIGHTS = ("none", "initial", "live")


class Models:
    """A rank's share of the models: the student, its teacher, and the initial weights where somebody asks for them.

    Data are those of `wire`, with what `head_engine` reads beside them.
    """

    def __init__(self, student: TrainingWorker | None, initial: TrainingWorker | None):
        self._student, self._initial = student, initial
        self._kind, self._teacher = "none", None

    def create_teacher(self, kind: str) -> None:
        """The teacher begins with the student's weights of now, if it has any of its own (signals.teachers.KINDS)."""
        if kind not in _OWN_WEIGHTS + _WITHOUT_OWN_WEIGHTS:
            raise UserError(
                f"teacher.kind is {kind!r}, but verl's trainer has {', '.join(_OWN_WEIGHTS + _WITHOUT_OWN_WEIGHTS)}; "
                "choose one of these, or the local trainer"
            )
        self._kind = kind
        self._teacher = TeacherWeights(self._student.engine.module) if kind in _OWN_WEIGHTS else None

    def blend_teacher(self, decay: float) -> None:
        """Let the teacher's own weights follow the student's; it keeps the share `decay` of its own."""
        if self._teacher is None:
            raise RuntimeError(f"a teacher of the kind {self._kind!r} has no weights of its own")
        self._teacher.blend(decay)

    def score_student(self, data: TensorDict) -> TensorDict:
        """Scores under the weights in training, without gradient."""
        return _scores(self._student, data)

    def score_teacher(self, data: TensorDict) -> TensorDict:
        """Scores under the teacher's weights: its own, or the student's if it is "live"."""
        if self._teacher is None:
            if self._kind != "live":
                raise RuntimeError(f"a teacher of the kind {self._kind!r} is not to be asked here")
            return self.score_student(data)
        with self._teacher.swapped_in():
            return self.score_student(data)

    def score_initial(self, data: TensorDict) -> TensorDict:
        """Scores under the run's initial weights."""
        return _scores(self._initial, data)

    def update(self, data: TensorDict) -> TensorDict:
        """One step of the optimizer at the data's learning_rate; metrics for `wire.sums_of`.

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
        os.environ["VERL_ENGINE_VENDOR"] = head_engine.VENDOR  # without it, verl would take its own engine
        head_engine.register()
        super().init_model()
        self._models = Models(self.actor, self.ref)

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def create_teacher(self, kind: str) -> None:
        self._models.create_teacher(kind)

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def blend_teacher(self, decay: float) -> None:
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


def _scores(model: TrainingWorker, data: TensorDict) -> TensorDict:
    tensordict_utils.assign_non_tensor(data, compute_loss=False)
    return model.infer_batch(data)
