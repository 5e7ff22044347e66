"""Finds ports for servers that must be told one."""

import random
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST, _TRIES = 10_000, 100


def free_port(host: str = "") -> int:
    """Return a port of this machine that nobody listens at.

    It is below those that the kernel hands out itself, where there is room: of these, another's connection may have
    taken it before the server does.
    """
    for port in random.SystemRandom().choices(range(_FIRST, _end()), k=_TRIES):
        try:
            return _bound(host, port)
        except OSError:  # taken
            continue
    return _bound(host, 0)


def _end() -> int:
    try:
        return max(int(_RANGE.read_text(encoding="ascii").split()[0]), _FIRST + _TRIES)
    except (OSError, ValueError, IndexError):
        return 32_768


def _bound(host: str, port: int) -> int:
    with socket.socket() as probe:
        probe.bind((host, port))
        return probe.getsockname()[1]
