"""Makes a task of one's own: two parquets of problems and a configuration that the workflow trains and evaluates on.

A problem is a question, a reference answer and, where a teacher is to read it, a worked solution. Any of the graders
may judge the responses (config/README.md#graders); here it is the one of mathematics. Of problems in
a CSV or JSON Lines file `python -m selfdistill.tasks.table` makes such parquets (docs/start.md).

    python examples/own_task.py my_task
    snakemake --profile profiles/local --configfile my_task/config.yaml
"""

import argparse
import shlex
from pathlib import Path

import yaml

from selfdistill.tasks.schema import write_problems
from toy import BASE_MODEL, chain_problems

CONFIG = {
    "matrix": {"tasks": ["my_task"], "models": ["my_model"], "variants": ["base", "grpo", "rlcsd"], "seeds": [0]},
    "tasks": {
        "my_task": {
            "grader": "maths",
            "metric": "mean@4",
            "draws": 4,
            "data": {"dataset": "my_problems"},  # and the folder, as `source`
            "benchmarks": {"my_test": {"distribution": "in"}},
            "evaluation": {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "max_response_tokens": 80},
            "run": {
                "rollout": {"prompts_per_step": 8, "max_prompt_tokens": 256, "max_response_tokens": 80},
                "optimizer": {"learning_rate": 4e-5, "warmup_steps": 1},
                "update": {"prompts_per_update": 8},
                "validation": {"problems": 10, "max_response_tokens": 80},
                "hints": {"max_tokens": 100},
                "steps": 4,
            },
        }
    },
    "models": {"my_model": {"parameters": 2.3e5, "source": str(BASE_MODEL), "run": {}}},
}


def main(folder: Path) -> Path:
    """Writes the problems and the configuration; returns the configuration's path."""
    for path, problems in {
        "data/my_problems/train.parquet": chain_problems(64, name="my_problems"),
        "data/my_test/val.parquet": chain_problems(20, name="my_test"),
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_problems(folder / path, problems)
    CONFIG["tasks"]["my_task"]["data"]["source"] = str((folder / "data").resolve())
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    return folder / "config.yaml"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write a task of your own and its configuration.")
    parser.add_argument("folder", type=Path)
    config = shlex.quote(str(main(parser.parse_args().folder)))
    print(f"Now: snakemake --profile profiles/local --configfile {config}")
