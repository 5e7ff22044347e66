"""Ray over the nodes of a Slurm job: real Ray, and stand-ins for Slurm that run here what is for elsewhere."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from waiting import SECONDS

from selfdistill.errors import UserError
from selfdistill.training.verl import process_group
from selfdistill.training.verl import ray_cluster as module
from selfdistill.training.verl.ray_cluster import RayCluster, allocated_hosts, ray_cluster, srun

#: Drops its own options and runs the rest, which is what the real one does with a node that is this one.
SRUN = '#!/bin/sh\nwhile [ "${1#-}" != "$1" ]; do echo "$1" >> "$SRUN_SAID"; shift; done\nexec "$@"\n'
SCONTROL = '#!/bin/sh\n[ "$1 $2" = "show hostnames" ] || exit 1\necho "$3" | tr , "\\n"\n'
SQUEUE = '#!/bin/sh\n[ "$2" = --jobs=7 ] && echo node1,node2\n'
LIBRARY = Path(module.__file__).parents[3]


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Environment of a job's step on the first of two nodes."""
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("squeue", SQUEUE)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for name in [name for name in os.environ if name.startswith(("SLURM", "RAY_", "CUDA_"))]:
        monkeypatch.delenv(name)
    return os.environ | {
        "PYTHONPATH": str(LIBRARY),
        "SRUN_SAID": str(tmp_path / "said"),
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "node1",  # as in the executor's job step, tried
        "SLURMD_NODENAME": "node1",
        "SLURM_CPUS_ON_NODE": "4",
    }


def without(environment, *names):
    return {name: value for name, value in environment.items() if name not in names}


def test_hosts_are_those_of_the_job(job):
    assert allocated_hosts(job) == ["node1", "node2"]
    assert allocated_hosts(without(job, "SLURM_JOB_ID")) == []


def test_a_slurm_that_does_not_answer_is_named(job, tmp_path):
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho 'no controller' >&2\nexit 1\n")
    with pytest.raises(UserError, match="cannot be listed: no controller"):
        allocated_hosts(job)


def test_the_other_nodes_get_one_task_each_and_the_jobs_share_of_them(job):
    words = srun(job, ["node2", "node3"], 8)
    assert {"--jobid=7", "--overlap", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1"} < set(words)
    assert {"--nodelist=node2,node3", "--cpus-per-task=4", "--mem=0"} < set(words)
    assert not any(word.startswith("--gres") for word in words)  # processes that pose as GPUs are none
    assert "--gres=gpu:8" in srun(job | {"CUDA_VISIBLE_DEVICES": "0,1"}, ["node2"], 8)


def enter(nodes, environment):
    with ray_cluster(nodes, 1, environment=environment, report=print) as found:
        return found.variables


def test_on_one_node_too_rays_folder_is_closed_and_its_token_the_jobs_own(tmp_path):
    """What Ray is given lies in the guard's folder, which is 0700; no token is looked for in a home."""
    outer = {"PATH": os.environ["PATH"], "PYTHONPATH": str(LIBRARY), "TMPDIR": str(tmp_path)}
    elses = {"RAY_ADDRESS": "there:1", "RAY_AUTH_TOKEN": "old", "RAY_AUTH_TOKEN_PATH": "/else"}
    words, environment = module.ray_of_one_node(["verl", "x=1"], outer | elses)
    assert words[:-1] == ["verl", "x=1"]
    assert {"RAY_ADDRESS", "RAY_AUTH_TOKEN_PATH", "HOME"}.isdisjoint(environment)
    assert environment["RAY_AUTH_MODE"] == "token"
    assert len({"old", environment["RAY_AUTH_TOKEN"], module.ray_of_one_node([], outer)[1]["RAY_AUTH_TOKEN"]}) == 3
    code = "import os, sys; folder = sys.argv[1].split('=')[1]; print(folder, os.stat(os.path.dirname(folder)).st_mode)"
    asking = process_group.guarded([sys.executable, "-c", code, words[-1]])
    with subprocess.Popen(asking, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        folder, mode = process.stdout.readline().split()
        assert process.wait(timeout=SECONDS) == 0
    assert Path(folder).parents[1] == tmp_path
    assert int(mode) & 0o777 == 0o700


def test_on_several_nodes_rays_folder_is_in_the_guards():
    assert f"--temp-dir={process_group.FOLDER}/r" in module._ray_start(["--head"], 1)


def test_outside_slurm_a_cluster_must_be_named(job):
    outside = without(job, "SLURM_JOB_ID")
    with pytest.raises(UserError, match=r"nodes is 2, but this is no Slurm job .*RAY_ADDRESS"):
        enter(2, outside)
    assert enter(2, outside | {"RAY_ADDRESS": "there:1"}) == {"RAY_ADDRESS": "there:1"}


def test_too_small_a_job_is_named(job):
    with pytest.raises(UserError, match=r"nodes is 3, but this Slurm job has 2"):
        enter(3, job)


def test_a_part_that_ended_is_named():
    with process_group.start_guarded(["sh", "-c", "exit 4"], os.environ | {"PYTHONPATH": str(LIBRARY)}) as process:
        process.wait(timeout=SECONDS)
        with pytest.raises(UserError, match="the head ended with exit status 4"):
            RayCluster({}, {"the head": process}).check()


@pytest.fixture
def short(monkeypatch):
    """A folder for Ray's sockets, and that what is in it goes."""
    with tempfile.TemporaryDirectory(prefix="sd") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.fixture
def nothing_outlives():
    """That no process that the test started is left; those of tests before it (Python's resource tracker) may be."""
    before = set(process_group.descendants(os.getpid()))
    yield
    assert set(process_group.descendants(os.getpid())) <= before


@pytest.mark.verl
def test_two_clusters_on_one_machine_are_two_and_leave_nothing(job, short, nothing_outlives, tmp_path):
    pytest.importorskip("ray")
    job |= {"TMPDIR": str(short), "RAY_ADDRESS": "somebody.elses:6379"}
    said = []
    with ray_cluster(2, 1, environment=job, report=said.append, patience=SECONDS) as one:
        with ray_cluster(2, 1, environment=job, report=said.append, patience=SECONDS) as other:
            found = [each.variables for each in (one, other)]
            assert len({each["RAY_ADDRESS"] for each in found} | {job["RAY_ADDRESS"]}) == 3
            assert found[0]["RAY_AUTH_TOKEN"] != found[1]["RAY_AUTH_TOKEN"]
            assert len(list(short.iterdir())) == 4
            one.check()
            other.check()
        assert len(list(short.iterdir())) == 2
        one.check()
    assert not list(short.iterdir())
    assert said.count("all 2 nodes are in") == 2
    assert not any(each["RAY_AUTH_TOKEN"] in line for each in found for line in said)
    assert (tmp_path / "said").read_text().count("--nodelist=node2") == 2


@pytest.mark.verl
def test_a_node_that_does_not_come_ends_the_cluster(job, short, nothing_outlives, tmp_path):
    pytest.importorskip("ray")
    (tmp_path / "srun").write_text("#!/bin/sh\necho 'srun: error: no such node' >&2\nexit 1\n")
    with pytest.raises(UserError, match="Ray on the job's other nodes ended with exit status 1"):
        enter(2, job | {"TMPDIR": str(short)})
    assert not list(short.iterdir())
