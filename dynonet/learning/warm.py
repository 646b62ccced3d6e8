"""The kernels of a search's sizes, compiled before its first trial: each once for all processes of a machine.

On a CPU one compilation serves all sizes. On a GPU a kernel is compiled for each of a few padded sizes (see
`kernels.gru_triton.plan`); a training step and a forecast of a single model of each bring along whatever else a step is
made of. Triton keeps what it compiled on disk, where every later process finds it.
"""

import hashlib
import os
from collections.abc import Hashable, Sequence
from contextlib import suppress
from pathlib import Path

import torch

from dynonet import kernels
from dynonet.config import Config
from dynonet.kernels import in_use
from dynonet.learning.stack import TrainingStack
from lab import compute
from lab.compute.kernels import compiled
from lab.compute.once import WAIT, once
from lab.errors import ConfigError
from lab.series import Series, window_starts
from lab.series.windows import Windows


def warm(configs: Sequence[Config], series: Series, device: torch.device) -> None:
    """See `lab.forecaster.Forecaster.warm`."""
    if in_use(device.type) != "triton":
        compiled("lab.compute.draws_numba")
        return
    import triton

    at = f"{_sources()} {triton.__version__} {torch.__version__} {torch.cuda.get_device_name(device)}"
    folder = Path(os.environ.get("TRITON_CACHE_DIR") or Path.home() / ".triton" / "cache")
    folder.mkdir(parents=True, exist_ok=True)
    left = _fewest(configs, series.num_channels)
    for wait in (0.0, WAIT):  # first what nobody else is at
        for kinds, config in left.items():
            with once(f"{at} {sorted(map(str, kinds))}", folder, wait) as mine:
                if mine:
                    train_a_step(config, series, device)


def _fewest(configs: Sequence[Config], channels: int) -> dict[frozenset[Hashable], Config]:
    """Some of the configs that together need all kernels that all of them do, by those that each adds."""
    found: dict[frozenset[Hashable], Config] = {}
    seen: set[Hashable] = set()
    for config in configs:
        if new := frozenset(kernels_of(config, channels) - seen):
            seen |= new
            found[new] = config
    return found


def kernels_of(config: Config, channels: int) -> set[Hashable]:
    """What is compiled for a model of these settings on a GPU, as a set of names."""
    from dynonet.kernels.gru_triton import LARGEST, plan

    model = config.model
    grus = [("controller", model.control_hidden, channels)]
    if model.workers and model.worker_cell == "gru":
        layers = ("last", "other") if model.num_layers > 1 else ("last",)
        grus += [(layer, model.worker_hidden, model.worker_hidden) for layer in layers]
    names: set[Hashable] = {(config.training.mode, config.training.precision)}
    for which, hidden, inputs in grus:
        if max(hidden, inputs) <= LARGEST:  # a larger one is made of torch's own
            plans = plan(hidden, inputs)
            names.add((which, plans, plans.UNITS_LAST and hidden == plans.backward.D_PAD))
    return names


def _sources() -> str:
    """A checksum of what is compiled."""
    folders = (Path(kernels.__file__).parent, Path(compute.__file__).parent)
    files = sorted(path for folder in folders for path in folder.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


def train_a_step(config: Config, series: Series, device: torch.device) -> None:
    """Of one model, with its forecast of a few validation windows. Nothing of it is kept."""
    with suppress(ConfigError):
        config = config.override({"model.trend_start": "uniform"})  # a closed form takes longer than the step
    stack = TrainingStack([config], series, device, torch.float32)
    stack.begin_epoch(1)
    # Modes that look ahead do so at some steps alone.
    for number in sorted({0, min(config.training.unroll_every, stack.steps) - 1}):
        stack.step(number)
    windows = Windows.of(series, config.data, device, torch.float32)
    starts = torch.as_tensor(window_starts(series, config.data, "validation")[:8].copy(), device=device)
    with torch.no_grad():
        stack.forecast(windows.inputs(starts[None])[0])
    torch.cuda.synchronize(device)
