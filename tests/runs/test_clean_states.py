"""Which states go."""

import yaml

from selfdistill.runs.clean_states import clean_states
from selfdistill.study.study import config_hash


def test_only_finished_states_without_a_published_run_go(tmp_path):
    current, old = {"steps": 4}, {"steps": 3}
    run = tmp_path / "runs/arithmetic/tiny/grpo/seed0"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(yaml.safe_dump(current))
    for name in (config_hash(current), config_hash(old)):
        (tmp_path / "state" / name / "final").mkdir(parents=True)
    (tmp_path / "state" / "unfinished" / "checkpoints").mkdir(parents=True)

    said = clean_states(tmp_path)

    left = {folder.name for folder in (tmp_path / "state").iterdir()}
    assert left == {config_hash(current), "unfinished"}
    assert len(said) == 2


def test_the_hash_of_a_published_config_is_the_name_of_its_state(tmp_path):
    """YAML must give back what was hashed: numbers as numbers, null as null."""
    config = {"a": 1.0e-6, "b": None, "c": [1, 2.5], "d": "0", "e": True}
    assert config_hash(yaml.safe_load(yaml.safe_dump(config, sort_keys=False))) == config_hash(config)


def test_the_state_of_a_published_evaluation_stays_and_that_of_a_former_one_goes(tmp_path):
    draws = tmp_path / "draws/arithmetic/tiny/base/seed0"
    draws.mkdir(parents=True)
    (draws / "evaluation.json").write_text('{"state": "0abc"}')
    for name in ("0abc", "0def"):
        (tmp_path / "state" / name / "final").mkdir(parents=True)
    clean_states(tmp_path)
    assert [folder.name for folder in (tmp_path / "state").iterdir()] == ["0abc"]
