"""A real vLLM server as the critic of the local trainer: started by the run, asked, and gone with it."""

import copy
import sys
from pathlib import Path

import pytest

pytest.importorskip("vllm")
psutil = pytest.importorskip("psutil")
sys.path.insert(0, str(Path(__file__).parents[2] / "fakes"))

from small_run import CONFIG, go, metrics_of, problems

from selfdistill.tasks.schema import write_problems
from selfdistill.training.started_server import LOG

ROOT = Path(__file__).parents[3]
BASE = ROOT / "resources/base_models/tiny_qwen3_critique/arithmetic"

pytestmark = [pytest.mark.verl, pytest.mark.timeout(900)]


def test_the_run_starts_its_critic_reads_what_it_says_and_ends_it(tmp_path):
    write_problems(tmp_path / "train.parquet", problems("train", 3, 10))
    write_problems(tmp_path / "val.parquet", problems("chain-1", 1, 4))
    config = copy.deepcopy(CONFIG) | {
        "implementation": "rlsd_add",
        "steps": 1,
        "benchmarks": ["chain-1"],
        "teacher": {"kind": "live"},
        "hints": {"source": "critique", "template": "critique", "max_tokens": 100},
        "critic": {"kind": "server", "start": True, "gpus": 0, "model": "tiny", "max_tokens": 48},
    }
    config["critic"]["max_failed_share"] = 0.0
    config["rollout"] |= {"max_prompt_tokens": 100, "max_response_tokens": 40}
    files = {"train_file": tmp_path / "train.parquet", "val_file": tmp_path / "val.parquet", "base_model": BASE}
    told: list[str] = []
    out = go(config, {**files, "external": {"critic": BASE}}, tmp_path, told.append)
    step = metrics_of(out["metrics"])[1]
    assert step["critique/coverage"] == pytest.approx(1 - step["reward/mean"])
    assert step["critique/coverage"] > 0
    assert step["critique/failed"] == 0
    assert step["critique/tokens_mean"] > 1
    assert any(line.startswith("critic: vLLM serves") for line in told)
    log = (tmp_path / "state" / LOG).read_text(errors="replace")
    assert "POST /v1/chat/completions" in log
    named = ("--served-model-name", "critic")
    assert not [each for each in psutil.process_iter(["cmdline"]) if set(named) <= set(each.info["cmdline"] or [])]
