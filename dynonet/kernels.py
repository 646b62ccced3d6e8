"""Which compiled kernels run. DYNONET_KERNEL = auto | numba | torch chooses for all of them.

`auto` takes a kernel where it can run, and says so once where it should but cannot; `torch` takes plain torch
operations everywhere; `numba` fails where a kernel cannot be compiled.
"""

import functools
import importlib
import os
import warnings
from types import ModuleType

from dynonet.errors import nearest

CHOICES = ("auto", "numba", "torch")


def asked() -> str:
    """What DYNONET_KERNEL says. Raises ValueError for a word that is not among CHOICES."""
    choice = os.environ.get("DYNONET_KERNEL", "auto")
    if choice not in CHOICES:
        raise ValueError(f"unknown DYNONET_KERNEL '{choice}'{nearest(choice, CHOICES)}; allowed: {', '.join(CHOICES)}")
    return choice


def compiled(module: str) -> ModuleType | None:
    """A kernel's module, compiled on first use, or None where plain torch operations take its place.

    Raises ValueError for an unknown DYNONET_KERNEL; RuntimeError if it is `numba` and the kernel cannot be compiled.
    """
    choice = asked()
    if choice == "torch":
        say_once("DYNONET_KERNEL=torch: plain torch operations take the compiled kernels' place, several times slower")
        return None
    kernel = load(module)
    if isinstance(kernel, ModuleType):
        return kernel
    if choice == "numba":
        raise RuntimeError(f"DYNONET_KERNEL=numba, but {module} cannot be compiled") from kernel
    say_once(f"{module} cannot be compiled ({kernel!r}); plain torch operations take its place, more slowly")
    return None


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
