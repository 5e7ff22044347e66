"""What only a GPU can say (benchmarks/gpu.py): all of it on one, and at tiny sizes anywhere."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def load():
    """A benchmark's module by its name."""
    folder = str(ROOT / "benchmarks")
    sys.path.append(folder)  # behind all others: some benchmarks have names that libraries have too
    yield importlib.import_module
    sys.path.remove(folder)


@pytest.fixture
def gpu(load):
    return load("gpu")


@pytest.fixture
def real_gpu(gpu, capsys):
    if not torch.cuda.is_available():
        pytest.skip(f"torch finds no GPU. {gpu.plan(480)}")


@pytest.mark.gpu
@pytest.mark.usefixtures("real_gpu")
def test_every_goal_is_met_on_a_gpu(gpu):
    assert gpu.main([]) == 0
    result = json.loads((ROOT / gpu.OUTPUT).read_text())
    missed = [line["what"] for section in result["sections"] for line in section["lines"] if line["met"] is False]
    assert missed == []


def in_this_process(load, name):
    """The lines of a section at tiny sizes, by what they say."""
    found = list(load(f"gpu_checks.{name}").lines(torch.device("cpu"), True))
    assert len({line.what for line in found}) == len(found)
    return {line.what: line for line in found}


def test_two_devices_that_are_one_say_the_same(load):
    found = in_this_process(load, "parity")
    assert {name.partition(",")[0] for name in found} == {"demo's model", "grpo", "rlcsd"}
    assert all(line.found == 0 and line.met for line in found.values())


def test_another_model_is_not_passed_off_as_the_same(load, monkeypatch):
    parity = load("gpu_checks.parity")
    copies = []

    def on(model, device):
        copies.append(device)
        return parity.moved(model) if len(copies) == 2 else model

    monkeypatch.setattr(parity, "on", on)
    monkeypatch.setattr(parity, "FEW", ())
    assert not any(line.met for line in parity.lines(torch.device("cpu"), True))


def test_noise_and_evidence_of_halves(load):
    found = in_this_process(load, "halves")
    for shape in ("alone, padded", "one batch", "shared prompts, padded", "shared prompts, packed"):
        line = found[f"tiny: null contrast, {shape}: share selected by noise alone"]
        assert 0 <= line.found <= 1
        assert 0 < line.details["noise"]["max"] < 0.1
    assert found["tiny: evidence of random hints, each row alone: mean size"].found > 0.01


def test_the_head_is_timed_beside_all_logits(load):
    found = in_this_process(load, "head")
    seconds = [line for name, line in found.items() if "seconds" in name]
    assert len(seconds) == 2
    assert all(line.found > 0 for line in seconds)


def test_passes_forward_fewer_tokens_and_say_the_same(load):
    found = in_this_process(load, "passes")
    for form in ("padded", "packed"):
        assert 0.3 < found[f"group of 8 x tiny, planned, {form}: tokens, of plain"].found < 0.7
        assert found[f"group of 8 x tiny, planned, {form}: mean difference"].found < 1e-5
        assert found[f"group of 8 x tiny, planned, {form}: seconds, of plain"].found > 0
    assert found["packed rows: kernel"].found is None


def test_one_way_that_fails_is_not_the_others_failure(load, monkeypatch):
    passes = load("gpu_checks.passes")

    def broken(*args, **kwargs):
        raise RuntimeError("no such kernel\nat line 5")

    monkeypatch.setattr(passes, "score_with_prefixes", broken)
    found = {line.what: line for line in passes.lines(torch.device("cpu"), True)}
    assert found["group of 8 x tiny, planned, packed"].note == "RuntimeError: no such kernel"
    assert "group of 8 x tiny, planned, padded: tokens, of plain" in found
    assert "group of 8 x tiny, whole rows, head in chunks: seconds, of plain" in found


def test_steps_are_split_and_compared(load):
    found = in_this_process(load, "steps")
    parts = found["rlcsd: a step"].details
    assert parts["teacher"] > 0
    assert parts["rollout"] + parts["teacher"] + parts["update"] < parts["step"]
    assert found["rlcsd: a step, of one of grpo"].at_most == 1.1


def test_rollouts_are_counted(load):
    (line,) = in_this_process(load, "rollouts").values()
    assert line.found > 0


# ------------------------------------------------------------------------------------------------------- the command


def test_without_a_gpu_it_says_what_it_would_do_and_ends_well(gpu, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "device_name", lambda: None)
    assert gpu.main([]) == 0
    said = capsys.readouterr().out
    assert all(section.name in said for section in gpu.SECTIONS)
    assert sum(section.seconds for section in gpu.SECTIONS) <= 480


SECTION = """
import sys, time
from gpu_checks.lines import Line
def lines(device, tiny):
    yield Line("first", 0.5, "", 0.4)
    {then}
"""


def run_bad(gpu, folder, monkeypatch, then, limit):
    """What is made of a section that says a line and then does something."""
    package = folder / "gpu_checks"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "lines.py").write_text((ROOT / "benchmarks/gpu_checks/lines.py").read_text())
    (package / "bad.py").write_text(SECTION.format(then=then))
    (folder / "gpu.py").write_text((ROOT / "benchmarks/gpu.py").read_text())
    monkeypatch.setattr(gpu, "__file__", str(folder / "gpu.py"))
    return gpu.in_own_process(gpu.Section("bad", limit, ""), limit, True, [str(folder)])


def test_a_section_that_fails_keeps_its_lines_and_the_others(gpu, tmp_path, monkeypatch):
    """Each in a process of its own; what there is is written, as JSON and as a table."""
    done = run_bad(gpu, tmp_path, monkeypatch, "raise MemoryError('of the device')", 600)
    assert [line["what"] for line in done["lines"]] == ["first"]
    assert "MemoryError: of the device" in done["failed"]
    result = {"device": "CPU", "date": "today", "machine": "this", "sections": [done]}
    gpu.write(result, tmp_path / "found.json")
    assert json.loads((tmp_path / "found.json").read_text()) == result
    table = (tmp_path / "found.md").read_text()
    assert "| bad | first | 0.5 | \u2264 0.4 | **missed** |" in table
    assert "| bad | **not finished** |" in table


def test_a_section_that_hangs_is_ended(gpu, tmp_path, monkeypatch):
    done = run_bad(gpu, tmp_path, monkeypatch, "time.sleep(3600)", 1)
    assert done["failed"] == "ended after its 1 s"


#: What the library uses elsewhere, and a machine that has torch and transformers need not have; pip's links too.
ABSENT = (
    *("scipy", "pandas", "matplotlib", "accelerate", "snakemake", "math_verify", "tensorboardX", "markdown_it", "gguf"),
    *("latex2sympy2", "psutil", "pytest", "_pytest", "hypothesis", "datasets", "__editable__"),
)


def test_nothing_is_imported_that_such_a_machine_lacks(load, tmp_path):
    """torch and transformers with what they bring along, and what gpu_wheels.py collects."""
    wheels = load("gpu_wheels")
    assert {"pyarrow", "jsonschema"} <= set(wheels.PACKAGES)
    assert len(wheels.pinned()) == len(wheels.PACKAGES)
    for entry in Path(torch.__file__).parents[1].iterdir():
        if not entry.name.startswith(ABSENT) and entry.suffix != ".pth":
            (tmp_path / entry.name).symlink_to(entry)
    code = "; ".join(f"import gpu_checks.{section.name}" for section in load("gpu").SECTIONS)
    path = f"{tmp_path}:{ROOT / 'workflow'}:{ROOT / 'benchmarks'}"
    command = [sys.executable, "-S", "-c", code]  # -S: without the packages of this environment
    done = subprocess.run(command, env={"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
