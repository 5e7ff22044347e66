"""A study as a few small files: what is packed comes back as the folder that draws.source reads."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from configurations import ROOT, study_of
from token_records import record

from selfdistill.errors import UserError
from selfdistill.evaluation.draws import Draw, read_draws, write_draws
from selfdistill.reporting.archive import DRAWS, TEXTS, TOKENS, main, pack, read, targets, unpack
from selfdistill.reporting.tokens.rollouts import mean_wrong
from selfdistill.runs.records import write_records
from selfdistill.study.results import Reported

SEEDS = (0, 1)


def a_study(source: Path, variants: str = "[base, rlcsd]"):
    return study_of(
        f"matrix: {{tasks: [arithmetic, slips], variants: {variants}, seeds: [0, 1]}}",
        f"{{aggregate: available, draws: {{source: {source}}}}}",
    )


@pytest.fixture
def source(tmp_path):
    """Draws, metrics and records of two variants and seeds; of one benchmark with feedback, of the others without."""
    folder = tmp_path / "source"
    study = a_study(folder, "[base, rlcsd]")
    for run in study.runs():
        place = folder / run.task / run.model / run.variant / f"seed{run.seed}"
        place.mkdir(parents=True)
        for benchmark in study.benchmarks(run.task):
            feedback = "wrong" if run.task == "slips" else None
            drawn = [
                Draw(
                    f"{benchmark}/{i}",
                    0,
                    f"{run.variant} {run.seed}",
                    3,
                    "stop",
                    str(i),
                    i % 2 == run.seed,
                    feedback=feedback,
                )
                for i in range(4)
            ]
            write_draws(place / f"{benchmark}.parquet", drawn)
        if run.variant == "rlcsd":
            (place / "metrics.jsonl").write_text(f'{{"step": 1, "reward/mean": 0.{run.seed}}}\n')
            words = ["1", "+", "1", "=", "2"]
            rows = [record(words, step=step, marked=[False, True, False, False, True]) for step in (1, 12)]
            write_records(place / "records.parquet", rows)
    return folder


def test_what_is_packed_comes_back_byte_for_byte_in_what_is_read(source, tmp_path):
    runs = pack(a_study(source), tmp_path / "archive")
    assert len(runs) == 8
    assert unpack(tmp_path / "archive", tmp_path / "again") == 8
    kept = [path.relative_to(source) for path in sorted(source.rglob("*")) if path.is_file()]
    back = [path.relative_to(tmp_path / "again") for path in sorted((tmp_path / "again").rglob("*")) if path.is_file()]
    assert back == [path for path in kept if path.name != "records.parquet"]
    for path in back:
        before, after = source / path, tmp_path / "again" / path
        if path.suffix == ".parquet":
            assert pq.read_table(before).equals(pq.read_table(after))
            assert read_draws(before).equals(read_draws(after))
        else:
            assert before.read_bytes() == after.read_bytes()
    found = Reported(a_study(tmp_path / "again"))
    assert len(found.runs) == 8
    assert len(found.trained) == 4


def test_the_first_steps_tokens_are_kept_with_their_evidence(source, tmp_path):
    pack(a_study(source), tmp_path / "archive")
    rows = read(tmp_path / "archive", TOKENS).to_pylist()
    assert [(row["task"], row["seed"]) for row in rows] == [
        ("arithmetic", 0),
        ("arithmetic", 1),
        ("slips", 0),
        ("slips", 1),
    ]
    given = record(["1", "+", "1", "=", "2"], step=1, marked=[False, True, False, False, True])
    evidence = np.array(given["correct_logprobs"]) - mean_wrong(np.array(given["wrong_logprobs"]))
    assert rows[0]["selected"] == [False, True, False, False, True]
    assert rows[0]["evidence"] == pytest.approx(evidence, abs=1e-4)


def test_only_whole_runs_are_packed_and_an_empty_folder_is_refused(source, tmp_path):
    (source / "slips/tiny_qwen3/rlcsd/seed1/slips-5.parquet").unlink()
    assert len(pack(a_study(source), tmp_path / "archive")) == 7
    with pytest.raises(UserError, match="none of the 4 runs of the matrix is complete"):
        pack(a_study(source, "[grpo]"), tmp_path / "nothing")
    assert main(["unpack", str(tmp_path / "nothing"), str(tmp_path / "again")]) == 1


def test_runs_of_elsewhere_stay_and_those_no_longer_planned_go(source, tmp_path):
    """A study run in parts gives the archive of one that was run at once."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    pack(a_study(source), whole)
    shutil.copytree(source, tmp_path / "other")
    shutil.rmtree(source / "slips/tiny_qwen3/rlcsd")
    shutil.rmtree(tmp_path / "other/slips/tiny_qwen3/base/seed0")
    assert len(pack(a_study(source), parts)) == 6
    assert len(pack(a_study(tmp_path / "other"), parts)) == 7
    for name in (DRAWS, TEXTS, TOKENS):
        assert read(whole, name).equals(read(parts, name))
    pack(a_study(source, "[base]"), parts)
    assert set(read(parts, DRAWS)["variant"].to_pylist()) == {"base"}


def test_targets_are_those_of_a_seed():
    study = study_of("matrix: {tasks: [slips], variants: [grpo, rlcsd], seeds: [0, 1]}")
    found = [f"results/draws/slips/tiny_qwen3/{name}/seed1/slips-5.parquet" for name in ("grpo", "rlcsd")]
    assert targets(study, 1) == found
    assert (ROOT / "config/findings.yaml").is_file()


def test_draws_are_the_largest_part_and_are_small(source, tmp_path):
    pack(a_study(source), tmp_path / "archive")
    assert read(tmp_path / "archive", DRAWS).num_rows == sum(
        pq.read_table(path).num_rows for path in source.rglob("*.parquet") if path.name != "records.parquet"
    )
