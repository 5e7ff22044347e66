"""Starts a Ray cluster over the nodes of one Slurm allocation, for as long as one training run lasts.

Ports are all chosen free, folders are the job's own, and no cluster is found by accident: jobs may share a node.
"""

import contextlib
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from selfdistill.errors import UserError
from selfdistill.training.free_ports import free_port
from selfdistill.training.verl.process_group import FOLDER, end_guarded, start_guarded

PATIENCE = 600  # seconds until all nodes must be in: a cold Python environment on a shared disk takes minutes
_POLL_SECONDS = 0.2
#: Ray's own folder, which it opens to everybody, in the guard's, which is open to nobody else. Short: the names of the
#: sockets in it have a limit of 107 bytes.
_RAY_FOLDER = "r"
#: Every port is the system's to choose.
_FREE_PORTS = (
    "--node-manager-port=0",
    "--object-manager-port=0",
    "--min-worker-port=0",
    "--max-worker-port=0",
    "--dashboard-agent-listen-port=0",
    "--dashboard-agent-grpc-port=0",
    "--runtime-env-agent-port=0",
    "--metrics-export-port=0",
)


class RayCluster:
    """A cluster that a run may join: the variables that do it, and whether it is still whole."""

    def __init__(self, variables: Mapping[str, str], parts: Mapping[str, subprocess.Popen]):
        """`parts`: the processes that hold it up, by what they are; none for a cluster of the user's own."""
        self.variables, self._parts = variables, parts

    def check(self) -> None:
        """Raises UserError where a part of it has ended."""
        for name, process in self._parts.items():
            if process.poll() is not None:
                raise UserError(
                    f"{name} ended with exit status {process.returncode}; its last words are in the log above"
                )


@contextlib.contextmanager
def ray_cluster(
    nodes: int, gpus: int, *, environment: Mapping[str, str], report: Callable[[str], None], patience: int = PATIENCE
) -> Iterator[RayCluster]:
    """Yield a Ray cluster over `nodes` machines; ended on leaving, whatever the reason.

    In a Slurm allocation of so many nodes one is started, this node its head; elsewhere it is the one that RAY_ADDRESS
    names, which stays.

    Args:
        nodes: machines, this one included; at least 2.
        gpus: of each node, or processes that pose as GPUs.
        environment: of Ray's processes and, through them, of all workers.
        report: takes one line of progress.
        patience: seconds until all nodes must be in.

    Raises:
        UserError: where there is neither, or not all nodes came.
    """
    hosts = allocated_hosts(environment)
    if len(hosts) != nodes:
        address = environment.get("RAY_ADDRESS")
        if address:
            yield RayCluster({"RAY_ADDRESS": address}, {})
            return
        found = f"this Slurm job has {len(hosts)}" if hosts else "this is no Slurm job"
        raise UserError(
            f"verl.nodes is {nodes}, but {found} and no Ray cluster is named: let Slurm start the job on {nodes} nodes "
            "(profiles/slurm), or start Ray on them yourself and set RAY_ADDRESS"
        )
    token = _token()
    clean = _without_rays(environment) | token
    parts: dict[str, subprocess.Popen] = {}
    try:
        folder = tempfile.mkdtemp(prefix="sd")
        # Ray's client server cannot be switched off, nor be told to choose for itself.
        head = ["--head", "--port=0", f"--ray-client-server-port={free_port()}", "--include-dashboard=false"]
        parts["Ray's head node"] = start_guarded(_ray_start(head, gpus), clean, folder=folder)
        cluster = RayCluster(token, parts)
        address = _head_address(Path(folder, _RAY_FOLDER), cluster, patience)
        cluster.variables = token | {"RAY_ADDRESS": address}
        report(f"Ray's head is {address}; starting Ray on {nodes - 1} more of the job's nodes")
        further = [host for host in hosts if host != _this_host(hosts, environment)]
        # What srun reads of the job's own options would contradict the ones given here.
        kept = {k: v for k, v in clean.items() if not k.startswith("SLURM_") or k == "SLURM_CONF"}
        parts["Ray on the job's other nodes"] = start_guarded(
            _ray_start([f"--address={address}"], gpus), kept, through=srun(environment, further, gpus)
        )
        _await(cluster, nodes, gpus, clean, patience)
        report(f"all {nodes} nodes are in")
        yield cluster
    finally:
        end_guarded(parts.values())


def ray_of_one_node(words: Sequence[str], environment: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """verl's command line and environment for a Ray of this run alone, whatever else runs on the machine.

    Args:
        words: of the command, to be run under a guard.
        environment: of it and of all workers.

    Returns:
        Both, with a folder, a token and no cluster's address. Ray's own token would lie in the user's home, which may
        be read-only.
    """
    folder = f"+ray_kwargs.ray_init._temp_dir={FOLDER}/{_RAY_FOLDER}"
    return [*words, folder], _without_rays(environment) | _token()


def _token() -> dict[str, str]:
    """Makes a token of this job alone: others on its nodes neither join by accident nor run code in our name."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _without_rays(environment: Mapping[str, str]) -> dict[str, str]:
    """Without another cluster's address, and another token's file."""
    return {key: value for key, value in environment.items() if key not in ("RAY_ADDRESS", "RAY_AUTH_TOKEN_PATH")}


def allocated_hosts(environment: Mapping[str, str]) -> list[str]:
    """Return the names of the nodes of the Slurm job that this is a part of, in its own order; none outside Slurm.

    Slurm is asked: in a step of one node, where Snakemake puts its scripts, SLURM_JOB_NODELIST names that one only.
    """
    job = environment.get("SLURM_JOB_ID")
    if not job:
        return []
    names = _output_of(["squeue", "--noheader", f"--jobs={job}", "--format=%N"], environment)
    return _output_of(["scontrol", "show", "hostnames", names], environment).split() if names else []


def _output_of(words: list[str], environment: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(words, env=dict(environment), capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"the nodes of this Slurm job cannot be listed ({error})") from error
    if done.returncode:
        raise UserError(f"the nodes of this Slurm job cannot be listed: {done.stderr.strip() or ' '.join(words)}")
    return done.stdout.strip()


def srun(environment: Mapping[str, str], hosts: list[str], gpus: int) -> list[str]:
    """The words that run one task on each of these nodes of the job, beside what runs there (Slurm 22.05 and later)."""
    shares = "CUDA_VISIBLE_DEVICES" in environment  # Slurm gave this job GPUs; on CPUs processes only pose as some
    return [
        "srun",
        f"--jobid={environment['SLURM_JOB_ID']}",
        "--overlap",
        f"--nodes={len(hosts)}",
        f"--ntasks={len(hosts)}",
        "--ntasks-per-node=1",
        f"--nodelist={','.join(hosts)}",
        f"--cpus-per-task={environment.get('SLURM_CPUS_ON_NODE', '1')}",
        "--mem=0",  # all that the job has there
        *([f"--gres=gpu:{gpus}"] if shares else []),
        "--kill-on-bad-exit=1",
        "--input=all",  # the guards' sign of life
    ]


def _ray_start(words: list[str], gpus: int) -> list[str]:
    # CPUs are what Ray counts, not what it uses: verl wants three for each GPU and one for each of its helpers.
    counted = [f"--num-gpus={gpus}", f"--num-cpus={16 + 4 * gpus}"]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *words, *counted, *_FREE_PORTS]
    return [*command, f"--temp-dir={FOLDER}/{_RAY_FOLDER}", "--disable-usage-stats", "--block"]


def _this_host(hosts: list[str], environment: Mapping[str, str]) -> str:
    name = environment.get("SLURMD_NODENAME", "")
    if name not in hosts:
        raise UserError(
            f"SLURMD_NODENAME is {name!r}, which is none of the job's nodes ({', '.join(hosts)}): start it by srun"
        )
    return name


def _head_address(folder: Path, cluster: RayCluster, patience: float) -> str:
    """host:port of the head, which Ray writes down when it is up."""
    file, end = folder / "ray_current_cluster", time.monotonic() + patience
    while not (file.exists() and file.read_text().strip()):
        cluster.check()
        if time.monotonic() > end:
            raise UserError(f"Ray's head node did not start within {patience} s; see the log above")
        time.sleep(_POLL_SECONDS)
    return file.read_text().strip()


def _await(cluster: RayCluster, nodes: int, gpus: int, environment: Mapping[str, str], patience: int) -> None:
    words = [cluster.variables["RAY_ADDRESS"], str(nodes), str(nodes * gpus), str(patience)]
    command = [sys.executable, "-m", "selfdistill.training.verl.ray_nodes", *words]
    waiting = start_guarded(command, environment)
    try:
        end = time.monotonic() + patience + 60
        while waiting.poll() is None and time.monotonic() < end:
            cluster.check()
            time.sleep(_POLL_SECONDS)
    finally:
        end_guarded([waiting])
    if waiting.returncode:
        raise UserError(
            f"not all of the {nodes} nodes joined Ray within {patience} s; see the log, and docs/verl.md on nodes that "
            "do not reach each other"
        )
