"""New weights of a model whose output layer shares the embedding's, in vLLM on a CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("verl")
pytestmark = pytest.mark.verl


def test_an_output_layer_with_the_embeddings_weights_gets_the_new_ones(tmp_path):
    """The fault is shown first: once vLLM's own reload is enough, `tie_again` may go."""
    script = Path(__file__).with_name("tied_llama.py")
    done = subprocess.run(
        [sys.executable, script, tmp_path / "llama"], capture_output=True, text=True, timeout=900, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    gaps = json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"loaded"')))
    assert gaps["loaded"] < 1e-4
    assert gaps["reloaded"] > 1e-2
    assert gaps["tied again"] < 1e-4
