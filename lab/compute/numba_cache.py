"""Numba functions from its on-disk cache, safe where many processes start, are killed, or have nowhere to write.

Of many that start at once one compiles, and the others read what it wrote.
"""

# mypy: ignore-errors
# (Numba calls these functions otherwise than they are declared.)
from __future__ import annotations

import hashlib
import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import llvmlite
import llvmlite.binding
import numba
from numba import njit
from numba.core.caching import FunctionCache

from lab.compute.once import once

if numba.config.DISABLE_JIT:
    raise ImportError("NUMBA_DISABLE_JIT is set")


def compiled_once(function: Callable, signature, sources: Sequence[ModuleType]) -> Callable:
    """`function` of this one signature, compiled or from the cache; without a usable cache, compiled in each process.

    Numba writes its index before the code, under names that do not depend on the source: another process may then
    find a new index with old code. A name made of all that shapes the code (`sources`; Numba itself watches one file)
    leaves nothing to mix up; nor does the one signature.
    """
    parts = [inspect.getsource(module) for module in sources]
    parts += [numba.__version__, llvmlite.__version__, str(numba.config.CPU_NAME), str(numba.config.CPU_FEATURES)]
    parts += [llvmlite.binding.get_host_cpu_name(), llvmlite.binding.get_host_cpu_features().flatten()]
    function.__qualname__ += "_" + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    options = {"nogil": True, "error_model": "numpy"}
    try:
        with _in_turn(function):
            return njit(signature, cache=True, **options)(function)
    except Exception as error:  # no writable folder, a full disk, a damaged cache: Numba has no class for them
        compiled = njit(signature, **options)(function)
        warnings.warn(
            f"the compiled kernel {function.__module__} cannot be cached ({error}): each process compiles it anew, "
            "some 10 s. Set NUMBA_CACHE_DIR to a writable folder.",
            RuntimeWarning,
            stacklevel=2,
        )
        return compiled


@contextmanager
def _in_turn(function: Callable) -> Iterator[None]:
    try:
        folder = Path(FunctionCache(function).cache_path)
    except RuntimeError:  # nowhere to write: what compiles says so
        yield
        return
    with once(function.__qualname__, folder):
        yield
