"""Which states go, and which may hold the only copy of something."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save

from selfdistill.runs.clean_states import clean_states, main
from selfdistill.runs.folder_lock import folder_lock
from selfdistill.study.study import config_hash

RUN = {"task": "arithmetic", "model": "tiny", "variant": "grpo", "seed": 0}
PLACE = "arithmetic/tiny/grpo/seed0"


def write_run(folder: Path, steps: int) -> None:
    """Results of a run, as its state and its published folder have them."""
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "model.safetensors").write_bytes(save({"a": torch.full((2,), float(steps))}))
    (folder / "config.yaml").write_text(yaml.safe_dump(RUN | {"steps": steps}))
    for name, text in (("metrics.jsonl", "{}"), ("provenance.json", "{}"), ("records.parquet", "PAR1 PAR1")):
        (folder / name).write_text(text)


def write_draws(folder: Path, state: str) -> None:
    folder.mkdir(parents=True)
    (folder / "evaluation.json").write_text(json.dumps({"state": state, "run": RUN}))
    (folder / "chain-3.parquet").write_text(f"PAR1 {state} PAR1")


@pytest.fixture
def results(tmp_path):
    """Settings of 3 steps, then of 4; finished both, and published the latter, as are their evaluations."""
    for steps in (3, 4):
        write_run(tmp_path / "state" / config_hash(RUN | {"steps": steps}) / "final", steps)
    for name in ("0abc", "0def"):
        write_draws(tmp_path / "state" / name / "final", name)
    write_run(tmp_path / "runs" / PLACE, 4)
    write_draws(tmp_path / "draws" / PLACE, "0def")
    (tmp_path / "state" / "unfinished" / "checkpoints").mkdir(parents=True)
    return tmp_path


OLD, NEW = (config_hash(RUN | {"steps": steps}) for steps in (3, 4))


def states(results: Path) -> set[str]:
    return {folder.name for folder in (results / "state").iterdir()}


def test_states_that_others_have_followed_go(results):
    said = clean_states(results)
    assert states(results) == {NEW, "0def", "unfinished"}
    assert len(said) == 3


def test_a_search_that_is_done_is_not_called_unfinished(results):
    (results / "state" / "5abc").mkdir()
    (results / "state" / "5abc" / "published.json").write_text("{}")
    (line,) = [line for line in clean_states(results) if "5abc" in line]
    assert "kept, a search that is done" in line
    assert "5abc" in states(results)


@pytest.mark.parametrize("lost", ["runs", f"runs/{PLACE}/model", f"runs/{PLACE}/config.yaml"])
def test_the_only_copy_of_finished_weights_stays(results, lost):
    """Snakemake removed what was published, and the job that was to make it anew died."""
    shutil.rmtree(results / lost) if (results / lost).is_dir() else (results / lost).unlink()
    said = clean_states(results)
    assert {OLD, NEW} <= states(results)
    assert any(OLD in line and "kept, the only copy" in line for line in said)


@pytest.mark.parametrize("spoilt", ["config.yaml", "model/model.safetensors", "metrics.jsonl"])
def test_results_that_a_crash_spoilt_stand_for_nothing(results, spoilt):
    (results / "runs" / PLACE / spoilt).write_bytes(b"")
    clean_states(results)
    assert {OLD, NEW} <= states(results)


def test_draws_stay_until_there_are_others(results):
    (results / "draws" / PLACE / "chain-3.parquet").unlink()
    clean_states(results)
    assert {"0abc", "0def"} <= states(results)


def test_a_state_that_a_process_holds_or_that_is_nobodys_stays(results):
    (results / "state" / "0abc" / "final" / "evaluation.json").write_text("{}")
    with folder_lock(results / "state" / OLD, print, "training this run"):
        clean_states(results)
    assert {OLD, "0abc"} <= states(results)


def test_nothing_goes_unasked(results, capsys):
    before = states(results)
    main([str(results)])
    said = capsys.readouterr().out
    assert states(results) == before
    assert f"{OLD} (0.0 MB): {results}/runs/{PLACE} has results of other settings, would be removed" in said
    assert "make gc YES=1" in said
    main([str(results), "--yes"])
    assert f"{results}/runs/{PLACE} has results of other settings, removed" in capsys.readouterr().out
    assert states(results) == {NEW, "0def", "unfinished"}


def test_the_hash_of_a_published_config_is_the_name_of_its_state(tmp_path):
    """YAML must give back what was hashed: numbers as numbers, null as null."""
    config = {"a": 1.0e-6, "b": None, "c": [1, 2.5], "d": "0", "e": True}
    assert config_hash(yaml.safe_load(yaml.safe_dump(config, sort_keys=False))) == config_hash(config)
