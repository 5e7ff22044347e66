import dataclasses

import numpy as np
import pytest

from selfdistill.errors import UserError
from selfdistill.reporting.read.accuracy import counted_benchmarks, gather_scores, read_scores, write_scores


def test_scores_are_read_back_to_the_last_bit(seeded_study, tmp_path):
    scores = gather_scores(seeded_study.runs, seeded_study.tasks)
    name, result = next(iter(scores[0].results.items()))
    variants = dataclasses.replace(result.draws, clusters=tuple(p[:-1] for p in result.draws.problems))
    scores[0].results[name] = dataclasses.replace(result, draws=variants)
    write_scores(tmp_path / "scores.parquet", scores)
    back = read_scores(tmp_path / "scores.parquet", seeded_study.tasks)
    assert [(v.task, v.model, v.variant, list(v.results)) for v in back] == [
        (v.task, v.model, v.variant, list(v.results)) for v in scores
    ]
    for ours, theirs in zip(scores, back, strict=True):
        assert (ours.seeds, theirs.seeds) == (2, 2)
        for name, result in ours.results.items():
            for part in ("scores", "variances"):
                np.testing.assert_array_equal(getattr(result, part), getattr(theirs.results[name], part))
            for field in dataclasses.fields(result.draws):
                expected, value = getattr(result.draws, field.name), getattr(theirs.results[name].draws, field.name)
                np.testing.assert_array_equal(expected, value)
                assert type(expected) is type(value)


def test_scores_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "scores.parquet").write_text("none")
    with pytest.raises(UserError, match=r"scores\.parquet: cannot be read as parquet"):
        read_scores(tmp_path / "scores.parquet", {})


def test_which_benchmarks_count():
    benchmarks = {
        "near": {"distribution": "in"},
        "far": {"distribution": "out", "counted": True},
        "extra": {"distribution": "in", "counted": False},
    }
    assert counted_benchmarks({"benchmarks": benchmarks}) == ["near", "far"]
    assert counted_benchmarks({"benchmarks": benchmarks}, ("in",)) == ["near"]
