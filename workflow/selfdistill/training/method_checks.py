"""Whether a method can be had with a run's other settings, which only the trainer's models can tell in full."""

from selfdistill.errors import UserError
from selfdistill.objectives.methods import Method
from selfdistill.study.teacher_settings import EXTERNAL, NO_REFERENCE
from selfdistill.study.training_settings import TrainingSettings
from selfdistill.training.engine import Engine


def check_method(method: Method, settings: TrainingSettings, engine: Engine) -> None:
    """Raise UserError where a method lacks what it reads: a teacher, a context, siblings, ids of the vocabulary.

    Args:
        method: of the run.
        settings: of the run.
        engine: tells the sizes of vocabularies.
    """
    needs = method.needs
    nothing_read = settings.hints.source == "none" and settings.hints.feedback == "never"
    if needs.correct_hint and (nothing_read or settings.teacher.kind == "none"):
        raise UserError(
            f"method {settings.implementation} needs a hinted teacher: set hints.source (or hints.feedback) and "
            f"teacher.kind (they are {settings.hints.source!r} and {settings.teacher.kind!r})"
        )
    if needs.wrong_hints and settings.hints.feedback != "never":
        raise UserError(
            f"method {settings.implementation} contrasts right and wrong hints, which must not differ by feedback: "
            f"set hints.feedback to never (it is {settings.hints.feedback!r})"
        )
    if needs.plain and settings.teacher.kind == "none":
        raise UserError(
            f"method {settings.implementation} needs a teacher, but teacher.kind is 'none': set it, to external "
            "for another model (teacher.model)"
        )
    if needs.reference and settings.teacher.reference == NO_REFERENCE:
        raise UserError(
            f"method {settings.implementation} compares the teacher with another model, but teacher.reference is "
            "'none': set it to initial or to an entry of models"
        )
    if settings.rollout.group_size == 1 and getattr(method, "compares_rollouts", True):
        raise UserError(
            f"rollout.group_size is 1, but method {settings.implementation} compares the rollouts of a group: "
            "expected 2 or more; raise it"
        )
    vocabulary = engine.scorer("student").vocabulary
    if needs.support is not None and settings.teacher.kind == EXTERNAL:
        others = engine.scorer("teacher").vocabulary
        if others != vocabulary:
            raise UserError(
                f"teacher.model {settings.teacher.model}: its output layer has {others} rows, the student's "
                f"{vocabulary}, so their distributions cannot be compared id by id; take method opd, which reads "
                "the sampled token alone"
            )
    if needs.support is not None and needs.support.top_k > vocabulary:
        raise UserError(
            f"run config: objective.top_k is {needs.support.top_k}, but the model's vocabulary has {vocabulary} "
            "tokens; lower it, or set it to 0 for the full vocabulary"
        )
