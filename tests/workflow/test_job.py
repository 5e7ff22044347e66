"""A job's log and errors: no secret in them, one last line that says why it failed, nothing too long to be read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import SECONDS

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow" / "scripts"
SECRETS = {"HF_ENDPOINT": "https://me:s3cretpw@hub.example", "HF_TOKEN": "hf_s3cretpw"}


def run(tmp_path, body):
    """The terminal's lines and the log of a job with this body, and its exit status."""
    lines = "\n    ".join(body)
    script = f"from job import job\nwith job({str(tmp_path / 'log')!r}) as report:\n    {lines}\n"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=SCRIPTS,
        env=os.environ | SECRETS,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    return done.stderr, (tmp_path / "log").read_text(encoding="utf-8"), done.returncode


RAISED = {
    "user error": "from selfdistill.errors import UserError; raise UserError({})",
    "any error": "raise ValueError({})",
    "a panic": "raise type('PanicException', (BaseException,), {{}})({})",
}


@pytest.mark.parametrize("kind", RAISED)
def test_a_failed_job_says_why_in_one_line_without_secrets(tmp_path, kind):
    text = "'https://me:s3cretpw@hub.example refuses\\nhf_s3cretpw \\ud800 ' + 3_000_000 * 'x'"
    terminal, log, status = run(tmp_path, [RAISED[kind].format(text)])
    assert status == 1
    assert terminal.count("\n") == 1
    last = log.rstrip("\n").rpartition("\n")[2]
    assert last == f"failed: {terminal.rstrip()}"
    assert "https://<secret>@hub.example refuses <secret> \\ud800 xxx" in last
    assert "s3cret" not in log
    assert len(log) < 50_000
    assert ("Traceback" in log) == (kind != "user error")


def test_lines_of_the_job_and_of_libraries_have_no_secret(tmp_path):
    body = [
        "import logging",
        "report('from https://me:s3cretpw@hub.example')",
        "logging.getLogger('hub').warning('again: %s', 'https://me:s3cretpw@hub.example/x')",
        "logging.getLogger('hub').warning('does not fit %d', 'x')",
    ]
    terminal, log, status = run(tmp_path, body)
    assert (terminal, status) == ("", 0)
    assert "from https://<secret>@hub.example" in log
    assert "again: https://<secret>@hub.example/x" in log
    assert "s3cret" not in log
