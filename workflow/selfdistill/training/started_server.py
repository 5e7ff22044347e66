"""Starts and ends a critic's server within the job: vLLM next to the trainer, on GPUs of its own.

It listens on this machine alone, at a free port, and takes a key that only the job knows: nodes are shared.
"""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from selfdistill.errors import UserError
from selfdistill.study.critic_settings import CriticSettings
from selfdistill.training.free_ports import free_port
from selfdistill.training.run_critic import SERVED_NAME, Address
from selfdistill.training.verl.process_group import end_guarded, start_guarded

#: Seconds until it answers: loading weights from a cold shared disk and compiling take minutes.
PATIENCE = 1800.0
LOG = "critic_server.log"
_KEY = "VLLM_API_KEY"
_POLL_SECONDS = 0.5
_LAST_LINES = 15


@contextlib.contextmanager
def started_server(
    settings: CriticSettings,
    folder: Path,
    state: Path,
    report: Callable[[str], None],
    *,
    gpus: str | None = None,
    patience: float = PATIENCE,
) -> Iterator[Address]:
    """Yield the address of a server of a model; it ends with the block, whatever ends that.

    Args:
        settings: of the critic.
        folder: of the model.
        state: folder of the run's state; the server's log is there.
        report: takes one line of progress.
        gpus: CUDA_VISIBLE_DEVICES of the server (`split_devices`); None: no GPU.
        patience: seconds until it must answer.

    Raises:
        UserError: where it ends, or does not answer in time, with the end of its log.
    """
    port = free_port("127.0.0.1")
    key, log = secrets.token_urlsafe(24), Path(state) / LOG
    environment = {**os.environ, _KEY: key, "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    environment["CUDA_VISIBLE_DEVICES"] = gpus or ""
    if not settings.gpus:
        environment.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB; it would take half of the machine's memory
    address = Address(f"http://127.0.0.1:{port}/v1", SERVED_NAME, key)
    began = time.monotonic()
    with open(log, "ab") as output:
        process = start_guarded(_words(settings, folder, port), environment, output=output)
    try:
        _wait(process, address, log, patience)
        report(f"critic: vLLM serves {folder} at {address.url} after {time.monotonic() - began:.0f} s ({log})")
        yield address
    finally:
        end_guarded([process])


def split_devices(environment: Mapping[str, str], total: int, own: int) -> tuple[str | None, str | None]:
    """Return CUDA_VISIBLE_DEVICES of the trainer and of its critic's server: the last `own` GPUs are the server's.

    Args:
        environment: of the job; what it sees already is divided.
        total: GPUs of the job.
        own: of them the server's; 0: it has none.

    Raises:
        UserError: where the job does not see so many.
    """
    if not own:
        return environment.get("CUDA_VISIBLE_DEVICES"), None
    seen = environment.get("CUDA_VISIBLE_DEVICES")
    devices = seen.split(",") if seen else [str(number) for number in range(total)]
    if len(devices) < total:
        raise UserError(
            f"the job sees {len(devices)} GPUs (CUDA_VISIBLE_DEVICES={seen}), but needs {total}, of which {own} for "
            "the critic's server (critic.gpus); ask for more, or lower critic.gpus or verl.gpus_per_node"
        )
    return ",".join(devices[: len(devices) - own]), ",".join(devices[len(devices) - own :])


def _words(settings: CriticSettings, folder: Path, port: int) -> list[str]:
    """vLLM's own server, as `vllm serve` starts it."""
    words = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", os.path.abspath(folder)]
    words += ["--served-model-name", SERVED_NAME, "--host", "127.0.0.1", "--port", str(port)]
    words += ["--generation-config", "vllm"]  # the model's own would change the sampling
    words += ["--max-num-seqs", str(settings.in_flight)]
    if not settings.gpus:
        words.append("--enforce-eager")  # compiling takes many minutes on a CPU
    return words + (["--tensor-parallel-size", str(settings.gpus)] if settings.gpus > 1 else [])


def _wait(process: subprocess.Popen, address: Address, log: Path, patience: float) -> None:
    end = time.monotonic() + patience
    request = urllib.request.Request(f"{address.url}/models", headers={"Authorization": f"Bearer {address.key}"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine is behind no proxy
    while True:
        if process.poll() is not None:
            raise UserError(f"critic: its server ended with exit status {process.returncode}; {_last_words(log)}")
        try:
            with opener.open(request, timeout=5) as answer:
                if any(each.get("id") == SERVED_NAME for each in json.load(answer)["data"]):
                    return
        except (OSError, ValueError, KeyError):  # not listening yet
            pass
        if time.monotonic() > end:
            raise UserError(f"critic: its server did not answer within {patience:.0f} s; {_last_words(log)}")
        time.sleep(_POLL_SECONDS)


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
    return f"the end of {log}:\n" + "\n".join(lines)
