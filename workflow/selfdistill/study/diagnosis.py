"""Resolves a configuration's diagnoses: which teachers are compared with which students before any training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from selfdistill.errors import UserError
from selfdistill.methods.setting import Settings, defaults, from_mapping, setting
from selfdistill.schemas import nearest
from selfdistill.study.base_chat import base_chat, base_section
from selfdistill.study.matrix import BASE

if TYPE_CHECKING:
    from selfdistill.study.study import Study

#: Where what a diagnosis found lies.
DIAGNOSIS_FILE = "results/diagnosis/{task}/{model}/{teacher}.parquet"


@dataclass(frozen=True)
class DiagnosisSettings(Settings):
    """Section `diagnosis` of a configuration: how teachers are diagnosed (docs/opd.md)."""

    at: ClassVar[tuple[str, ...]] = ("diagnosis",)

    teachers: list[str] = setting(
        [],
        "Entries of `models` that are diagnosed for every task and model of the matrix, beside the external teachers "
        "of its runs.",
        pattern=("the name of a model", r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$(?!\n)"),
    )
    prompts: int = setting(200, "The first so many of the training set.", unit="prompts", minimum=1)
    rollouts: int = setting(2, "The student's, of each prompt.", unit="rollouts", minimum=1)
    engine: str = setting(
        "own", "What draws them: as `rollout.engine` with trainer local.", choices=("own", "transformers")
    )
    top_k: int = setting(16, "Size of the sets of likely ids whose overlap is measured.", unit="ids", minimum=1)
    least_count: int = setting(
        20, "A type of token that occurs less often is in no list: a rare one has no mean to speak of.", minimum=1
    )
    batch_tokens: int = setting(8192, "In one forward pass, padding included; memory only.", unit="tokens", minimum=1)
    seed: int = setting(0, "Of the rollouts.", minimum=0)


@dataclass(frozen=True)
class Diagnosed:
    """A teacher, an entry of `models`, and the untrained student that it is compared with, on the prompts of a task."""

    task: str
    model: str
    teacher: str

    @property
    def file(self) -> str:
        """Returns where what was found lies."""
        return DIAGNOSIS_FILE.format(**vars(self))


class Diagnoses:
    """The diagnoses that a configuration asks for. Raises UserError where its section `diagnosis` is wrong."""

    def __init__(self, study: "Study"):
        """study: a checked configuration."""
        self._study = study
        given = study.config.get("diagnosis", {})
        self.settings = from_mapping(DiagnosisSettings, given, study.origin(("diagnosis",), given))
        models = study.config["models"]
        for name in self.settings.teachers:
            if name not in models:
                raise UserError(
                    f"{study.origin(('diagnosis', 'teachers'), self.settings.teachers)}: diagnosis.teachers: unknown "
                    f"model {name!r}; the nearest known one is {nearest(name, models)!r} (known: {', '.join(models)})"
                )

    def cells(self) -> list[Diagnosed]:
        """Return them in the order of the matrix, each once."""
        found: dict[Diagnosed, None] = {}
        for run in self._study.runs():
            own = [] if run.variant == BASE else self._study.external_models(run.task, run.model, run.variant).items()
            teachers = [model for role, model in own if role == "teacher"]
            students = [] if run.model in self.settings.teachers else self.settings.teachers
            found |= dict.fromkeys(Diagnosed(run.task, run.model, each) for each in [*teachers, *students])
        return list(found)

    def of(self, task: str, model: str, teacher: str) -> dict[str, Any]:
        """Return all that decides one diagnosis: its settings, how rollouts are drawn, and digests of what is read."""
        study, entry = self._study, self._study.config["tasks"][task]
        own = {key: getattr(self.settings, key) for key in defaults(DiagnosisSettings)}
        for key in ("teachers", "least_count", "batch_tokens"):  # which, how they are listed, and memory
            del own[key]
        return {
            "task": task,
            "model": model,
            "teacher": teacher,
            **own,
            "rollout": base_section(study.config, task, model, "rollout"),
            "chat": base_chat(study.config, task, model),
            "grader": entry["grader"],
            **{key: _plain(entry[key]) for key in ("grading", "prompt") if key in entry},
            "data": {"digest": study.data_digest(task, model)},
            "student": {"digest": study.base_model_digest(model, task)},
            "teacher_model": {"digest": study.base_model_digest(teacher, task)},
        }


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value
