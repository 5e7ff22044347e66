"""Names the files and folders that a training run reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from selfdistill.runs.provenance import RunInputs


@dataclass(frozen=True)
class TrainingInputs:
    """Holds the paths of a run's data and of the models that it begins with.

    Attributes:
        train_file, val_file: parquets of the task.
        base_model: folder of the initial weights.
        external: "teacher", "reference" and "critic" -> folder of another model, as the config asks for them.
    """

    train_file: Path
    val_file: Path
    base_model: Path
    external: Mapping[str, Path]

    @classmethod
    def of(
        cls, train_file: Path, val_file: Path, base_model: Path, external: Mapping[str, Path] | None = None
    ) -> "TrainingInputs":
        """Return them of paths that may also be text."""
        others = {role: Path(folder) for role, folder in (external or {}).items()}
        return cls(Path(train_file), Path(val_file), Path(base_model), others)

    def with_weights(self, weights: Path) -> RunInputs:
        """Return them as a run's provenance has them; weights: the folder of the trained model."""
        return RunInputs(self.train_file, self.val_file, self.base_model, weights)
