"""Ends a run whose helpers died: verl would wait for them for ever, wherever it happens to be."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayActorError

from selfdistill.texts import reportable

#: Where this variable names a file, a failed run leaves its reason there, in one line.
REASON_FILE = "SELFDISTILL_REASON_FILE"
_EVERY_SECONDS = 5.0
_PATIENCE_SECONDS = 10.0


def leave_reason(said: str) -> None:
    """Print why the run failed, and leave it in the file of REASON_FILE; the first reason counts."""
    said = reportable(said)
    print(said, file=sys.stderr, flush=True)
    file = os.environ.get(REASON_FILE)
    if file:
        with contextlib.suppress(FileExistsError), open(file, "x", encoding="utf-8") as new:
            new.write(said)


class Watchdog(threading.Thread):
    """Looks after Ray actors from a thread of its own; on a death it leaves the reason and ends this process.

    The process is that of the trainer, so that its main thread may wait for whatever it likes.
    """

    def __init__(self, actors: Iterable[ActorHandle], servers: Iterable[ActorHandle], give_up: Callable[[int], Any]):
        """`servers` are actors with a vLLM engine, which may die without them; `give_up` takes an exit status."""
        super().__init__(name="watchdog", daemon=True)
        self._actors, self._servers, self._give_up = list(actors), list(servers), give_up

    def run(self) -> None:
        """Look every few seconds until something is wrong; then leave the reason and end the process."""
        while (said := self.look()) is None:
            time.sleep(_EVERY_SECONDS)
        leave_reason(
            f"{said}; often a lack of memory: look at the messages above in the log, lower "
            "actor_rollout_ref.rollout.gpu_memory_utilization, and start again"
        )
        self._give_up(1)

    def look(self) -> str | None:
        """Returns what is wrong, or None."""
        pings = [actor.__ray_ready__.remote() for actor in self._actors]
        errors = [server.__ray_call__.remote(_engine_error) for server in self._servers]
        try:
            ray.get(pings, timeout=_PATIENCE_SECONDS)
            found = [error for error in ray.get(errors, timeout=_PATIENCE_SECONDS) if error]
        except GetTimeoutError:
            return None  # busy is not dead
        except RayActorError as error:
            return f"a worker died ({str(error).strip().partition(chr(10))[0]})"
        return f"a rollout engine died ({found[0]})" if found else None


def _engine_error(server: Any) -> str | None:
    """Returns the error of an actor around a vLLM engine, asked in its own process."""
    engine = getattr(server, "engine", None)
    return "vLLM's EngineCore ended unexpectedly" if getattr(engine, "errored", False) else None
