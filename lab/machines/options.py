"""What every command that trains is told of machines, processes and time."""

import argparse

from lab.compute import kernels
from lab.errors import ConfigError, check_number

MOST_FAILURES = 1000
MOST_SECONDS = 1e9  # thirty years


def add_resource_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that RaySession and Stop of `ray_session` read, the same for every command that trains."""
    add = parser.add_argument
    add(
        "--max-failures",
        type=int,
        help="times a trial that raised goes on from its checkpoint (0: nor one whose process died)",
    )
    add("--cpus-per-trial", type=float, default=1)
    add("--gpus-per-trial", type=float, help="fractions allowed (default: 1 where the cluster has GPUs, else 0)")
    add("--max-concurrent", type=int, help="trials at once (default: what the machines hold, as they come and go)")
    add("--address", help="address of a running Ray cluster (default: RAY_ADDRESS, else Ray on this machine)")
    add("--storage-patience", type=float, default=600, help="seconds to wait while the storage is full or gone")
    add("--time-budget", type=float, help="seconds after which this call stops; the study can go on later")


def check_resource_arguments(args: argparse.Namespace) -> None:
    """Raises ConfigError for a number that cannot be, or a kernel that is none."""
    kernels.asked()
    for name, least, most in (
        ("cpus_per_trial", 0, 1e6), ("gpus_per_trial", 0, 1e6), ("max_concurrent", 1, 1_000_000),
        ("time_budget", 0, MOST_SECONDS), ("storage_patience", 0, MOST_SECONDS), ("max_failures", 0, MOST_FAILURES),
        ("device_hours", 0, MOST_SECONDS / 3600), ("stack_size", 1, 1_000_000),
    ):  # fmt: skip
        value = getattr(args, name, None)
        if value is not None:
            check_number(name.replace("_", "-"), value, least, most)
    for name in ("cpus_per_trial", "gpus_per_trial"):
        share = getattr(args, name, None) or 0.0
        if round(share, 4) != share:
            raise ConfigError(f"{name.replace('_', '-')}: got {share}; four decimals are allowed, as Ray counts")
    if (gpus := getattr(args, "gpus_per_trial", None) or 0.0) > 1 and not float(gpus).is_integer():
        raise ConfigError(f"gpus-per-trial: got {gpus:g}; above 1 whole numbers are allowed, as Ray counts")
