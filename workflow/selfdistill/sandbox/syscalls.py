"""Builds a filter of system calls (seccomp) that bubblewrap sets before the interpreter starts.

What it refuses has no place in a program that answers a question: memory that no limit counts (System V segments and
semaphores, message queues), other processes' insides, limits and turns, namespaces of one's own, networks that no
namespace holds (a virtual machine's line to its host), children whose processor time nobody counts, and the parts of
the kernel in which most of the ways out of containers have been found.
"""

import errno
import os
import signal
import struct

_X86_64 = {
    "rt_sigaction": 13, "shmget": 29, "socket": 41, "clone": 56, "semget": 64, "msgget": 68, "ptrace": 101,
    "setpriority": 141, "sched_setparam": 142, "sched_setscheduler": 144, "pivot_root": 155, "mount": 165,
    "sched_setaffinity": 203, "mq_open": 240, "add_key": 248, "request_key": 249, "keyctl": 250, "ioprio_set": 251,
    "migrate_pages": 256, "unshare": 272, "move_pages": 279,
    "perf_event_open": 298, "prlimit64": 302, "open_by_handle_at": 304, "setns": 308, "process_vm_readv": 310,
    "process_vm_writev": 311, "sched_setattr": 314, "bpf": 321, "userfaultfd": 323,
}  # fmt: skip
_AARCH64 = {
    "ioprio_set": 30, "mount": 40, "pivot_root": 41, "unshare": 97, "ptrace": 117, "sched_setparam": 118,
    "sched_setscheduler": 119, "sched_setaffinity": 122, "rt_sigaction": 134, "setpriority": 140, "mq_open": 180,
    "msgget": 186, "semget": 190, "shmget": 194, "socket": 198, "add_key": 217, "request_key": 218, "keyctl": 219,
    "clone": 220, "migrate_pages": 238, "move_pages": 239, "perf_event_open": 241, "prlimit64": 261,
    "open_by_handle_at": 265, "setns": 268, "process_vm_readv": 270, "process_vm_writev": 271, "sched_setattr": 274,
    "bpf": 280, "userfaultfd": 282,
}  # fmt: skip
#: Allowed of a process on itself, which is process 0 to it: of others they change limits, places or turns.
_ON_ITSELF = (
    "sched_setparam", "sched_setscheduler", "sched_setaffinity", "sched_setattr", "migrate_pages", "move_pages",
    "prlimit64",
)  # fmt: skip
#: AF_UNIX, AF_INET, AF_INET6 and AF_NETLINK: what a namespace of the network holds.
_FAMILIES = (1, 2, 10, 16)
_EVERYWHERE = {"io_uring_setup": 425, "clone3": 435, "pidfd_getfd": 438}
_MACHINES = {"x86_64": (0xC000003E, _X86_64), "aarch64": (0xC00000B7, _AARCH64)}
_NEW_USER_NAMESPACE = 0x10000000
_X32 = 0x40000000  # numbers of the other interface of x86_64

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _SECOND_ARGUMENT, _ITS_UPPER_HALF = 0, 4, 16, 24, 28


def refused_calls(machine: str | None = None) -> bytes | None:
    """Return the filter as bubblewrap reads it, or None for a machine of which we do not know the numbers."""
    if (machine or os.uname().machine) not in _MACHINES:
        return None
    architecture, numbers = _MACHINES[machine or os.uname().machine]
    calls = numbers | _EVERYWHERE
    clone, clone3, handler = calls.pop("clone"), calls.pop("clone3"), calls.pop("rt_sigaction")
    turns, socket = calls.pop("setpriority"), calls.pop("socket")
    on_itself = [calls.pop(name) for name in _ON_ITSELF]
    refuse, allow = (_RETURN, 0, 0, _ERRNO | errno.EPERM), (_RETURN, 0, 0, _ALLOW)
    lines = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, architecture), refuse, (_LOAD, 0, 0, _NUMBER)]
    lines += [(_AT_LEAST, 0, 1, _X32), refuse]
    for number in calls.values():
        lines += [(_EQUAL, 0, 1, number), refuse]
    lines += [(_EQUAL, 0, 1, clone3), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]  # libraries then take clone
    for number in on_itself:
        lines += [(_EQUAL, 0, 4, number), (_LOAD, 0, 0, _FIRST_ARGUMENT), (_EQUAL, 0, 1, 0), allow, refuse]
    # A turn's first argument is PRIO_PROCESS, which is 0, its second the process.
    lines += [(_EQUAL, 0, 6, turns), (_LOAD, 0, 0, _FIRST_ARGUMENT), (_EQUAL, 0, 3, 0)]
    lines += [(_LOAD, 0, 0, _SECOND_ARGUMENT), (_EQUAL, 0, 1, 0), allow, refuse]
    lines += [(_EQUAL, 0, len(_FAMILIES) + 3, socket), (_LOAD, 0, 0, _FIRST_ARGUMENT)]
    lines += [(_EQUAL, len(_FAMILIES) - place, 0, family) for place, family in enumerate(_FAMILIES)]
    lines += [(_RETURN, 0, 0, _ERRNO | errno.EAFNOSUPPORT), allow]
    # Who ignores SIGCHLD has children whose processor time is added to nobody's. To ask for the handler is fine.
    lines += [(_EQUAL, 0, 8, handler), (_LOAD, 0, 0, _FIRST_ARGUMENT), (_EQUAL, 0, 4, signal.SIGCHLD)]
    lines += [(_LOAD, 0, 0, _SECOND_ARGUMENT), (_EQUAL, 0, 3, 0), (_LOAD, 0, 0, _ITS_UPPER_HALF), (_EQUAL, 0, 1, 0)]
    lines += [allow, refuse]
    lines += [(_EQUAL, 0, 3, clone), (_LOAD, 0, 0, _FIRST_ARGUMENT), (_ANY_BIT, 0, 1, _NEW_USER_NAMESPACE), refuse]
    lines += [allow]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)
