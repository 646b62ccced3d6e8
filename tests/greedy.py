"""A program that takes memory for a while, beside commands whose Ray ends processes long before the machine is full."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lab.machines.memory import memory_in_use

ROOM = 0.10  # of the machine that commands and tests beside them may take on top of what is in use
TAKEN = 0.16
_TAKE = """
import sys
from ray._private.utils import get_system_memory
taken = bytearray(int(float(sys.argv[1]) * get_system_memory()))
taken[::4096] = b"1" * len(taken[::4096])
print("taken", flush=True)
sys.stdin.read()
"""


def watchful() -> dict[str, str]:
    """The environment of a command whose Ray looks at the machine's memory ten times a second."""
    return {
        "RAY_memory_usage_threshold": f"{memory_in_use() + ROOM:.4f}", "RAY_memory_monitor_refresh_ms": "100",
        "RAY_kill_worker_timeout_milliseconds": "100",
    }  # fmt: skip


@contextmanager
def greedy() -> Iterator[None]:
    """Within it another program holds more memory than a `watchful` Ray allows."""
    command = [sys.executable, "-c", _TAKE, str(TAKEN)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "taken\n"
        yield
    finally:
        process.communicate()
