"""Which compiled kernels run, and in how many threads. DYNONET_KERNEL = auto | compiled | torch chooses for all.

`auto` takes a kernel where it can run, and says so once where it should but cannot; `torch` takes plain torch
operations everywhere; `compiled` fails where a kernel cannot be compiled (by Numba for a CPU, by Triton for a GPU).
"""

import functools
import importlib
import os
import warnings
from types import ModuleType

from lab.console.printing import one_line
from lab.errors import ConfigError, nearest

CHOICES = ("auto", "compiled", "torch")

_threads = 1


def asked() -> str:
    """What DYNONET_KERNEL says. Raises ConfigError for a word that is not among CHOICES."""
    choice = os.environ.get("DYNONET_KERNEL", "auto")
    if choice not in CHOICES:
        allowed = ", ".join(CHOICES)
        raise ConfigError(f"unknown DYNONET_KERNEL '{one_line(choice)}'{nearest(choice, CHOICES)}; allowed: {allowed}")
    return choice


def compiled(module: str) -> ModuleType | None:
    """A kernel's module, compiled on first use, or None where plain torch operations take its place.

    Raises ConfigError for an unknown DYNONET_KERNEL; RuntimeError if it is `compiled` and the kernel cannot be
    compiled.
    """
    choice = asked()
    if choice == "torch":
        say_once("DYNONET_KERNEL=torch: plain torch operations take the compiled kernels' place, several times slower")
        return None
    kernel = load(module)
    if isinstance(kernel, ModuleType):
        return kernel
    if choice == "compiled":
        raise RuntimeError(f"DYNONET_KERNEL=compiled, but {module} cannot be compiled") from kernel
    say_once(f"{module} cannot be compiled ({kernel!r}); plain torch operations take its place, more slowly")
    return None


def threads() -> int:
    """Threads that one call of a CPU kernel may use."""
    return _threads


def set_threads(count: int) -> None:
    """1 unless set: many trials run side by side, a thread each. Raises ValueError for less than 1."""
    global _threads
    if count < 1:
        raise ValueError(f"set_threads: got {count}, expected at least 1")
    _threads = count


@functools.cache
def load(module: str) -> ModuleType | Exception:
    """The module, or why there is none (Numba's errors share no base class)."""
    try:
        return importlib.import_module(module)
    except Exception as error:
        return error


@functools.cache
def say_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=5)
