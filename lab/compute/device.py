"""The machine a run trains on: device, threads, and what it cost."""

import ctypes
import functools
import gc
import os
import resource
import sys

import torch

from lab.compute import kernels
from lab.errors import ConfigError, check_kind, check_number, unknown

# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4

MOST_THREADS = 1024  # torch ends the process where the system refuses it more


def pick_device(name: str | torch.device = "auto") -> torch.device:
    """The device that `name` stands for: `auto` is CUDA where there is one, else the CPU.

    Raises:
        ConfigError: an unknown name, or CUDA asked for where there is none.
    """
    if isinstance(name, torch.device):
        return name
    check_kind("device", name, str, "auto, cpu, cuda or cuda:N")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = name.split(":")[0]
    if kind not in ("cpu", "cuda"):
        raise unknown("device", name, ["auto", "cpu", "cuda"])
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device '{name}' was asked for, but torch {torch.__version__} sees no GPU here; use 'cpu'")
    try:
        return torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device '{name}' is not of the form cpu, cuda or cuda:N") from None


def device_for(gpu: bool) -> torch.device:
    """The device of a trial that was given a GPU, or none. `DYNONET_DEVICE` in the environment overrules it: a cluster
    whose GPUs are only pretended, to test what is placed where, computes on `cpu`.

    Raises:
        ConfigError: as `pick_device`.
    """
    return pick_device(os.environ.get("DYNONET_DEVICE") or ("cuda" if gpu else "cpu"))


def out_of_memory(error: BaseException) -> bool:
    """Whether a step failed because the device's memory did not suffice."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)  # torch's allocator on a CPU


def release_memory(device: torch.device) -> None:
    """Gives back what the GPU's allocator keeps of memory that nothing uses any more."""
    gc.collect()  # a failed step's tensors may hang in cycles
    if device.type == "cuda":
        torch.cuda.empty_cache()


def use_threads(count: int) -> None:
    """Threads of torch and of the kernels in this process.

    Many small models train fastest as one thread in each of many processes.
    """
    check_number("threads", count, 1, MOST_THREADS)
    torch.set_num_threads(count)
    kernels.set_threads(count)


@functools.cache
def _keep_freed_memory() -> None:
    """Tells glibc's allocator, where there is one, to keep what is freed.

    By default large buffers go back to the system and come again page by page in each step: as much CPU time as the
    arithmetic of a stack of 8. For good in this process.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, value in ((M_TRIM_THRESHOLD, -1), (M_TOP_PAD, 64 << 20), (M_MMAP_MAX, 0)):
            mallopt(parameter, value)


def prepare_process() -> None:
    """What training on a CPU wants of its process: no denormals in this thread, freed memory kept."""
    # Gradients of a long window underflow early; denormal arithmetic would double the cost of a step.
    torch.set_flush_denormal(True)
    _keep_freed_memory()


def peak_memory_bytes(device: torch.device) -> int:
    """Largest memory so far: of the GPU's allocator, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "linux":
        # getrusage starts with the peak of the process that started this one; the kernel's own mark does not.
        with open("/proc/self/status") as status:
            marks = [line.split()[1] for line in status if line.startswith("VmHWM:")]
        if marks:
            return int(marks[0]) << 10
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
