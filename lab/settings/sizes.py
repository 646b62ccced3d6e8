"""Whether a model can be held at all, told from its settings before anything of it is built."""

import os
from collections.abc import Iterable

from lab.errors import ConfigError
from lab.registry import forecaster_of
from lab.settings.config import Config

COPIES = 4  # of every parameter in training: its value, its gradient and AdamW's two moments


def machine_bytes() -> int:
    """The memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def too_large(config: Config, channels: int, memory: int | None = None) -> str:
    """Why a model of these settings cannot be trained in `memory` bytes (by default this machine's), or "".

    What is counted is less than what is needed: nothing that could be trained is refused.
    """
    most, forecaster = machine_bytes() if memory is None else memory, forecaster_of(config)
    # Before its parameters are counted, which may take as long as it is large.
    if reason := forecaster.too_large(config, channels, most):
        return reason
    parameters = forecaster.size(config, channels).parameters
    needed = 4 * COPIES * parameters
    if needed > most:
        return (
            f"a model of these settings has {parameters:,} parameters: {gigabytes(needed)} to train it, and this "
            f"machine has {gigabytes(most)} ({_counts(config)}, {channels} channels); take a smaller one"
        )
    return ""


def _counts(config: Config) -> str:
    """The whole numbers among a model's own settings, and its windows."""
    counts = {
        key.rpartition(".")[2]: value
        for key, value in config.flat().items()
        if type(value) is int and (not key.startswith(("data.", "training.")) or key in _WINDOW)
    }
    return ", ".join(f"{name} {value}" for name, value in counts.items())


_WINDOW = ("data.seq_len", "data.pred_len")


def check_size(config: Config, channels: int) -> None:
    """Raises ConfigError for a model that this machine cannot hold."""
    if reason := too_large(config, channels):
        raise ConfigError(reason)


def check_device(configs: Iterable[Config], device: str) -> None:
    """Raises ConfigError for settings that cannot be trained on a kind of device, `cpu` or `cuda`."""
    for config in configs:
        if reason := forecaster_of(config).refuses(config, device):
            raise ConfigError(reason)


def gigabytes(size: int) -> str:
    return f"{size / 2**30:,.1f} GB"
