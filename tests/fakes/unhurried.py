"""Programs in the sandbox that no limit of the clock ends, however busy this machine is."""

import contextlib
from collections.abc import Iterator

import pytest
from waiting import SECONDS

from selfdistill.sandbox import runner


@contextlib.contextmanager
def unhurried(*inputs: str) -> Iterator[None]:
    """While the block runs, programs on these inputs take as long as they take, and so does the harness's answer."""
    ask = runner._Session._ask

    def patiently(session, message, deadline):
        if message.get("stdin") in inputs:
            message, deadline = message | {"wall_seconds": SECONDS}, deadline + SECONDS
        return ask(session, message, deadline)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner._Session, "_ask", patiently)
        patch.setattr(runner, "_GRACE_SECONDS", float(SECONDS))
        yield
