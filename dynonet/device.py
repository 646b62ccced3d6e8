"""The machine a run trains on: device, threads, and what it cost."""

import resource
import sys

import torch

from dynonet.errors import ConfigError, unknown


def pick_device(name: str = "auto") -> torch.device:
    """The device that `name` stands for: `auto` is CUDA where there is one, else the CPU.

    Raises:
        ConfigError: an unknown name, or CUDA asked for where there is none.
    """
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


def use_threads(count: int) -> None:
    """Threads of torch in this process. Many small models train fastest as one thread in each of many processes."""
    if count < 1:
        raise ConfigError(f"threads: got {count}, at least 1 is needed")
    torch.set_num_threads(count)


def peak_memory_bytes(device: torch.device) -> int:
    """Largest memory so far: of the GPU's allocator, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
