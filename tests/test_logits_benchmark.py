"""The benchmark of the output head runs at a tiny size, and its plain form is right; no time is asserted."""

import csv
import importlib
import sys
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="module")
def logits():
    """The benchmark as a module, importable by processes that it starts."""
    folder = str(Path(__file__).parents[1] / "benchmarks")
    sys.path.append(folder)  # behind all others: some benchmarks have names that libraries have too
    yield importlib.import_module("logits")
    sys.path.remove(folder)


@pytest.fixture
def size(logits):
    return logits.Size(rows=5, hidden=6, vocabulary=2 * logits.TOP)


@torch.no_grad()
def test_the_plain_form_is_that_of_probabilities(logits, size):
    case = logits.made(size)
    probabilities = (case.hidden.double() @ case.weight.double().t()).softmax(dim=-1)
    found = logits.materialised(case.hidden, case.weight, case.labels)
    for row, distribution in enumerate(probabilities):
        assert float(found.logprobs[row]) == pytest.approx(float(distribution[case.labels[row]].log()), abs=1e-5)
        assert float(found.entropy[row]) == pytest.approx(-float((distribution * distribution.log()).sum()), abs=1e-4)
        most_likely = distribution.sort(descending=True).values[: logits.TOP].log().float()
        torch.testing.assert_close(found.support[row], most_likely, rtol=0, atol=1e-5)
    given = logits.materialised(case.hidden, case.weight, case.labels, case.ids)
    torch.testing.assert_close(given.support.double(), probabilities.log().gather(1, case.ids), rtol=0, atol=1e-5)


def test_it_compares_both_jobs(logits, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(logits, "OUTPUT", tmp_path / "out.csv")
    monkeypatch.setattr(logits, "in_own_process", lambda function, *arguments: function(*arguments))
    logits.main(["--hidden", "6", "8", "--rows", "5", "--vocabulary", str(2 * logits.TOP), "--repetitions", "1"])
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["job"], row["hidden"]) for row in rows] == [(job, hidden) for hidden in "68" for job in logits.JOBS]
    for row in rows:
        assert float(row["chunked_s"]) / float(row["materialised_s"]) == pytest.approx(float(row["ratio_s"]))
        assert float(row["difference"]) < 1e-5
    assert "ratio_MiB" in capsys.readouterr().out
