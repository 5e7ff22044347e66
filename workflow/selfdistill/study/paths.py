"""Names the files that the workflow makes: the one place that rules, trainers and reporting take them from."""

from collections.abc import Mapping
from pathlib import Path

#: The repository that this library is part of, with its folders config/ and resources/.
CLONE = Path(__file__).parents[3]
_CELL = "{task}/{model}/{variant}/seed{seed}"
#: Where a run's files are; both are also the patterns of the rules' outputs.
RUN_FOLDER = f"results/runs/{_CELL}"
DRAWS_FOLDER = f"results/draws/{_CELL}"
#: Holds the states of training runs and of evaluations, each in a folder named by the hash of its settings.
STATES = "results/state"
#: In the state of a search that is done: the hash of what it published.
PUBLISHED_FILE = "published.json"
#: What training leaves in a run's folder beside the weights.
RUN_FILES: Mapping[str, str] = {
    "metrics": "metrics.jsonl",
    "config": "config.yaml",
    "provenance": "provenance.json",
    "records": "records.parquet",
}
#: The weights of a run, in its folder.
MODEL = "model"
#: The account of an evaluation, beside its draws.
ACCOUNT = "evaluation.json"


def run_log(stage: str, task: str, model: str, variant: str, seed: int | str) -> str:
    """Return the log of a run's job; `stage` is "train" or "evaluate"."""
    return f"results/logs/{stage}/{_CELL}.log".format(task=task, model=model, variant=variant, seed=seed)


def state_of(name: str) -> str:
    """Return the folder of a state; `name` is the hash of its settings."""
    return f"{STATES}/{name}"


def data_file(dataset: str, split: str) -> str:
    """Return where a rule puts a dataset's split: results/data/<dataset>/<split>.parquet."""
    return f"results/data/{dataset}/{split}.parquet"
