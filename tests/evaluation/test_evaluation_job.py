"""An evaluation as a job: what it resumes, what it never draws twice, and the account that it leaves."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from selfdistill.evaluation import job as evaluation_job
from selfdistill.evaluation.draws import Draw, write_draws
from selfdistill.evaluation.job import evaluate_job
from selfdistill.files import sha256_file

BENCHMARKS = ("chain-3", "chain-5", "chain-8")
RUN = {"task": "arithmetic", "model": "tiny", "variant": "grpo", "seed": 3}


class KilledError(Exception):
    pass


class Evaluation:
    """A place for the job, with a stand-in for the drawing itself that can be killed before a benchmark."""

    def __init__(self, folder: Path, monkeypatch):
        self.folder, self.drawn, self.dies_before, self.lines = folder, [], None, []
        (folder / "model").mkdir()
        self.train("weights")
        monkeypatch.setattr(evaluation_job, "evaluate_run", self._draw)
        monkeypatch.setattr(evaluation_job, "planned_draws", lambda names, *_: dict.fromkeys(names, 1))

    def train(self, weights: str) -> None:
        (self.folder / "model" / "model.safetensors").write_text(weights)

    def _draw(self, model, val, task, seed, outputs, report, also):
        assert (val, also) == (self.folder / "val.parquet", {"math": self.folder / "others.parquet"})
        report("engine own, float32 on cpu")
        for name, path in outputs.items():
            if name == self.dies_before:
                raise KilledError
            self.drawn.append(name)
            write_draws(path, [Draw(f"{name}/0", 0, f"seed {seed}", 7, "stop", "1", True)])
            report(f"{name}: drawn")

    def run(self) -> dict:
        self.lines.clear()
        outputs = {name: self.folder / "draws" / f"{name}.parquet" for name in BENCHMARKS}
        account = self.folder / "draws" / "evaluation.json"
        where = {"state_dir": self.folder / "state" / "0abc", "outputs": outputs, "account": account, "gpus": 0}
        where["also"] = {"math": str(self.folder / "others.parquet")}
        val = self.folder / "val.parquet"
        evaluate_job(RUN, self.folder / "model", val, {"draws": 1}, **where, report=self.lines.append)
        assert all(pq.read_table(path).num_rows == 1 for path in outputs.values())
        return json.loads(account.read_text())


@pytest.fixture
def evaluation(tmp_path, monkeypatch):
    return Evaluation(tmp_path, monkeypatch)


def test_draws_and_their_account_are_published_together(evaluation):
    account = evaluation.run()
    assert evaluation.drawn == list(BENCHMARKS)
    assert account["run"] == RUN
    assert account["tokens"] == 21
    assert account["engine"] == "own, float32 on cpu"
    assert account["weights_sha256"] == sha256_file(evaluation.folder / "model" / "model.safetensors")
    assert (account["gpus"], account["gpu_hours"]) == (0, 0)
    assert account["peak_memory_gib"]["host"] > 0
    assert account["state"] == "0abc"


def test_after_a_kill_only_what_is_missing_is_drawn_and_the_time_of_all_attempts_counts(evaluation, monkeypatch):
    evaluation.dies_before = "chain-8"
    with pytest.raises(KilledError):
        evaluation.run()
    assert not (evaluation.folder / "draws").exists()
    progress = evaluation.folder / "state" / "0abc" / "progress.json"
    facts = json.loads(progress.read_text())
    progress.write_text(json.dumps(facts | {"seconds": 1000.0}))
    evaluation.dies_before = None
    account = evaluation.run()
    assert evaluation.drawn == list(BENCHMARKS)
    assert "2 of 3 benchmarks are drawn already" in evaluation.lines
    assert account["wall_seconds"] >= 1000


def test_a_complete_one_is_published_again_and_not_drawn(evaluation):
    account = evaluation.run()
    for file in (evaluation.folder / "draws").iterdir():
        file.unlink()
    assert evaluation.run() == account
    assert evaluation.drawn == list(BENCHMARKS)


#: What a power loss or a full disk makes of a file.
DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
}


def flipped(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [*DAMAGES, "first bit", "a bit inside"])
def test_draws_that_are_not_as_they_were_written_are_drawn_again_and_no_others(evaluation, damage):
    evaluation.dies_before = "chain-8"
    with pytest.raises(KilledError):
        evaluation.run()
    others = {"first bit": lambda path: flipped(path, 0), "a bit inside": lambda path: flipped(path, 40)}
    (DAMAGES | others)[damage](evaluation.folder / "state" / "0abc" / "draws" / "chain-3.parquet")
    evaluation.dies_before = None
    evaluation.run()
    assert evaluation.drawn == ["chain-3", "chain-5", "chain-3", "chain-8"]
    assert any("chain-3.parquet" in line and "drawn anew" in line for line in evaluation.lines)


@pytest.mark.parametrize("damage", DAMAGES)
def test_draws_of_which_nothing_says_whose_they_are_do_not_count(evaluation, damage):
    evaluation.dies_before = "chain-8"
    with pytest.raises(KilledError):
        evaluation.run()
    DAMAGES[damage](evaluation.folder / "state" / "0abc" / "progress.json")
    evaluation.dies_before = None
    evaluation.run()
    assert evaluation.drawn == ["chain-3", "chain-5", *BENCHMARKS]


@pytest.mark.parametrize("damage", [*DAMAGES, "missing", "flipped"])
@pytest.mark.parametrize("name", ["chain-5.parquet", "evaluation.json", "files.json"])
def test_a_spoilt_result_is_not_published_again(evaluation, name, damage):
    account = evaluation.run()
    file = evaluation.folder / "state" / "0abc" / "final" / name
    content = file.read_bytes()
    middle = len(content) // 2
    others = {
        "missing": file.unlink,
        "flipped": lambda: file.write_bytes(content[:middle] + b"\0" + content[middle + 1 :]),
    }
    others[damage]() if damage in others else DAMAGES[damage](file)
    again = evaluation.run()
    redrawn = (name, damage) != ("files.json", "missing")  # as an older version left it
    assert evaluation.drawn == [*BENCHMARKS, *(BENCHMARKS if redrawn else ())]
    assert again["tokens"] == account["tokens"]


def test_a_complete_one_needs_no_progress_to_be_published_again(evaluation):
    evaluation.run()
    DAMAGES["empty"](evaluation.folder / "state" / "0abc" / "progress.json")
    evaluation.run()
    assert evaluation.drawn == list(BENCHMARKS)


def test_no_change_of_what_is_published_reaches_the_state(evaluation):
    evaluation.run()
    for file in (evaluation.folder / "draws").iterdir():
        with open(file, "r+b") as handle:
            handle.write(b"changed")
    evaluation.run()
    assert evaluation.drawn == list(BENCHMARKS)


def test_other_weights_under_the_same_settings_are_drawn_anew(evaluation):
    first = evaluation.run()
    evaluation.train("other weights")
    second = evaluation.run()
    assert evaluation.drawn == [*BENCHMARKS, *BENCHMARKS]
    assert second["weights_sha256"] != first["weights_sha256"]


def test_half_of_other_weights_draws_is_no_start_either(evaluation):
    evaluation.dies_before = "chain-8"
    with pytest.raises(KilledError):
        evaluation.run()
    evaluation.train("other weights")
    evaluation.dies_before = None
    evaluation.run()
    assert evaluation.drawn == ["chain-3", "chain-5", *BENCHMARKS]
