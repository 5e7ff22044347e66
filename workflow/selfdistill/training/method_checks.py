"""Checks a method against a run's other settings, where only the trainer's models can tell."""

from selfdistill.errors import UserError
from selfdistill.objectives.batch import Needs, Support
from selfdistill.objectives.methods import Method
from selfdistill.study.critic_settings import CRITIQUE
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
    _check_hints(method.needs, settings)
    _check_controls(method.needs, settings)
    _check_models(method.needs, settings)
    if settings.rollout.group_size == 1 and getattr(method, "compares_rollouts", True):
        raise UserError(
            f"rollout.group_size is 1, but method {settings.implementation} compares the rollouts of a group: "
            "expected 2 or more; raise it"
        )
    if method.needs.support is not None:
        _check_vocabulary(method.needs.support, settings, engine)


def _check_hints(needs: Needs, settings: TrainingSettings) -> None:
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
    if needs.wrong_hints and settings.hints.source == CRITIQUE:
        raise UserError(
            f"method {settings.implementation} contrasts right and wrong hints, and a critique of a rollout has no "
            "counterpart: set hints.source to self_rollout or gt_cot"
        )


def _check_controls(needs: Needs, settings: TrainingSettings) -> None:
    controls = settings.controls
    if (controls.change_scores or controls.change_hints) and (needs.support is not None or not needs.correct_hint):
        raise UserError(
            f"controls change a hinted teacher's evidence of the sampled tokens, which method "
            f"{settings.implementation} does not read: take one that does, such as rlcsd or rlsd, or remove them"
        )
    if controls.wrong_hints != "group" and not needs.wrong_hints:
        raise UserError(
            f"controls.wrong_hints is {controls.wrong_hints!r}, but method {settings.implementation} reads no wrong "
            "hints: take a method that contrasts, such as rlcsd, or leave it at 'group'"
        )


def _check_models(needs: Needs, settings: TrainingSettings) -> None:
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


def _check_vocabulary(support: Support, settings: TrainingSettings, engine: Engine) -> None:
    vocabulary = engine.scorer("student").vocabulary
    if settings.teacher.kind == EXTERNAL and (others := engine.scorer("teacher").vocabulary) != vocabulary:
        raise UserError(
            f"teacher.model {settings.teacher.model}: its output layer has {others} rows, the student's "
            f"{vocabulary}, so their distributions cannot be compared id by id; take method opd, which reads "
            "the sampled token alone"
        )
    if support.top_k > vocabulary:
        raise UserError(
            f"run config: objective.top_k is {support.top_k}, but the model's vocabulary has {vocabulary} "
            "tokens; lower it, or set it to 0 for the full vocabulary"
        )
