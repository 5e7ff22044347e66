"""A real Slurm of one node on this machine, with pretended GPUs: what the tests of the cluster run on.

Debian's packages, installed if they are missing; needs root. Configuration as found by trial (spec/slurm.md).
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from selfdistill.training.free_ports import free_port

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
_CONFIG = Path("/etc/slurm")  # the executor's job steps drop SLURM_CONF: no other place is read
_MUNGE_KEY = Path("/etc/munge/munge.key")
_CLIENT_SECONDS = 60  # with slurmctld dead a client can hang for minutes
_GPUS = 8

_OURS = "ClusterName=tests\n"
_SLURM_CONF = """\
ClusterName=tests
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/munge.sock
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
# Memory is enforced by nothing else here: without it, 600 MB run under --mem=100.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0,bf_interval=2,requeue_delay=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
# Seconds: what ended long ago is asked about, too, on a machine that takes long.
MinJobAge=86400
KillWait=2
CompleteWait=0
MaxArraySize=1001
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
NodeName={node} NodeAddr=127.0.0.1 CPUs=64 RealMemory=512000 Gres=gpu:h100:{gpus}
PartitionName=cpu Nodes={node} Default=YES MaxTime=INFINITE State=UP PriorityTier=10
PartitionName=gpu Nodes={node} MaxTime=INFINITE State=UP PriorityTier=10
PartitionName=preempt Nodes={node} MaxTime=INFINITE State=UP PriorityTier=1
"""


def install() -> str | None:
    """Install what is missing. Returns why there can be no cluster here, or None."""
    if os.geteuid() != 0:
        return "a Slurm of one's own needs root"
    conf = _CONFIG / "slurm.conf"
    if conf.exists() and _OURS not in conf.read_text(errors="replace"):
        return f"{conf} is of another Slurm: this machine belongs to a cluster"
    if all(shutil.which(name) for name in ("slurmctld", "slurmd", "sbatch", "munged")):
        return None
    if not shutil.which("apt-get"):
        return "Slurm is not installed, and there is no apt-get to install it"
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    said = ""
    for words in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(["apt-get", *words], env=environment, timeout=900, check=False, **quiet)
        said = done.stdout
    if done.returncode:
        return f"Slurm cannot be installed: {said.strip().splitlines()[-1]}"
    return None


class Cluster:
    """The daemons and the folder of their state. Call `start`, and `stop` whatever happens."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.node = socket.gethostname().partition(".")[0]
        self._daemons: dict[str, subprocess.Popen] = {}
        self._kept: dict[Path, str | None] = {}

    def start(self) -> None:
        """Write the configuration and start munged, slurmctld and slurmd; returns when the node is idle."""
        controller, node = free_port("127.0.0.1"), free_port("127.0.0.1")
        for name in ("munge", "state", "spool", "gpus"):
            (self.folder / name).mkdir(mode=0o755)
        for i in range(_GPUS):
            # Character devices, so that Slurm sets CUDA_VISIBLE_DEVICES; regular files would be scheduled only.
            subprocess.run(["mknod", self.folder / f"gpus/nvidia{i}", "c", "1", "3"], check=True)
        gpus = (
            f"AutoDetect=off\nNodeName={self.node} Name=gpu Type=h100 File={self.folder}/gpus/nvidia[0-{_GPUS - 1}]\n"
        )
        conf = {
            "node": self.node,
            "folder": self.folder,
            "controller_port": controller,
            "node_port": node,
            "gpus": _GPUS,
        }
        self._put(_CONFIG / "slurm.conf", _SLURM_CONF.format(**conf))
        self._put(_CONFIG / "gres.conf", gpus)
        self.folder.chmod(0o755)
        self._start_munge()
        self.start_controller()
        self._run("slurmd", ["slurmd", "-D"])
        self._wait(lambda: "idle" in self.ask("sinfo", "--noheader", "--format=%T"), "the node is not idle")

    def stop(self) -> None:
        """End all jobs and daemons, and put back what was in /etc/slurm."""
        if "slurmctld" in self._daemons:
            self.ask("scancel", "--user=root", "--full")
            self._wait(lambda: not self.jobs(), "jobs do not end", seconds=120, fail=False)
        for name in ("slurmd", "slurmctld", "munged"):
            self.end(name)
        _end_processes_of_jobs()
        for file, text in self._kept.items():
            if text is None:
                file.unlink(missing_ok=True)
            else:
                file.write_text(text)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start_controller(self) -> None:
        """Start slurmctld (again), with the state that it left."""
        self._run("slurmctld", ["slurmctld", "-D"])
        self._wait(lambda: self.ask("scontrol", "ping").count("UP"), "slurmctld does not answer")

    def end(self, name: str, *, kill: bool = False) -> None:
        """End one daemon, by its own pid."""
        daemon = self._daemons.pop(name, None)
        if daemon is None:
            return
        (daemon.kill if kill else daemon.terminate)()
        try:
            daemon.wait(timeout=60)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def ask(self, *words: str) -> str:
        """What a client prints; an empty text where it fails or hangs."""
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=_CLIENT_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout

    def jobs(self, *states: str) -> dict[str, dict[str, str]]:
        """Job id -> what squeue knows of it: of jobs that wait or run, or of those in the given states ("all")."""
        chosen = [f"--states={','.join(states)}"] if states else []
        keys = ("state", "comment", "gres", "memory", "limit", "partition", "cpus", "name", "restarts")
        fields = (
            "JobID",
            "State",
            "Comment",
            "tres-per-node",
            "MinMemory",
            "TimeLimit",
            "Partition",
            "NumCPUs",
            "Name",
        )
        form = "--Format=" + ",".join(f"{field}:|" for field in (*fields, "RestartCnt"))
        rows = [line.split("|") for line in self.ask("squeue", "--noheader", *chosen, form).splitlines()]
        return {row[0].strip(): dict(zip(keys, map(str.strip, row[1:]), strict=False)) for row in rows if len(row) > 1}

    def _start_munge(self) -> None:
        if not _MUNGE_KEY.exists():
            self._put(_MUNGE_KEY, os.urandom(32).hex())
            _MUNGE_KEY.chmod(0o400)
        folder = self.folder / "munge"
        places = [f"--{key}={folder}/munge.{key.partition('-')[0]}" for key in ("pid-file", "log-file", "seed-file")]
        self._run("munged", ["munged", "--foreground", "--force", f"--socket={folder}/munge.sock", *places])
        self._wait((folder / "munge.sock").exists, "munged does not start")

    def _put(self, file: Path, text: str) -> None:
        self._kept[file] = file.read_text() if file.exists() else None
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def _run(self, name: str, command: list[str]) -> None:
        with open(self.folder / f"{name}.out", "a") as output:
            self._daemons[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    def _wait(self, condition, what: str, seconds: float = 300, *, fail: bool = True) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                if not fail:
                    return
                logs = "\n".join(
                    f"{file}:\n{file.read_text()[-2000:]}" for file in sorted(self.folder.glob("*.[lo][ou][gt]"))
                )
                raise RuntimeError(f"{what}\n{logs}")
            time.sleep(0.1)


def _end_processes_of_jobs() -> None:
    """What linuxproc lost track of: without cgroups, a process that left its parent outlives its job."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"SLURM_CLUSTER_NAME=tests\0" in (process / "environ").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
