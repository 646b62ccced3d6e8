"""Whether a model can be held at all, told from its settings before anything of it is built."""

import os

from dynonet.config import Config
from dynonet.network.parameters import parameter_count
from lab.errors import ConfigError

MOST_LAYERS = 64  # each is compiled by itself, and one of a hundred would be for minutes
COPIES = 4  # of every parameter in training: its value, its gradient and AdamW's two moments


def machine_bytes() -> int:
    """The memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def too_large(config: Config, channels: int, memory: int | None = None) -> str:
    """Why a model of these settings cannot be trained in `memory` bytes (by default this machine's), or "".

    What is counted is less than what is needed: nothing that could be trained is refused.
    """
    model, most = config.model, machine_bytes() if memory is None else memory
    if model.num_layers > MOST_LAYERS:
        return f"model.num_layers: got {model.num_layers}, at most {MOST_LAYERS} are allowed"
    parameters = parameter_count(config, channels)
    needed = 4 * COPIES * parameters
    if needed > most:
        return (
            f"a model of these settings has {parameters:,} parameters: {_gb(needed)} to train it, and this machine has "
            f"{_gb(most)} (control_hidden {model.control_hidden}, worker_hidden {model.worker_hidden}, num_layers "
            f"{model.num_layers}, {channels} channels); take a smaller one"
        )
    window = 4 * channels * max(model.moving_average, model.worker_seq_len, config.data.seq_len)
    if window > most:
        return (
            f"one window takes {_gb(window)} (moving_average {model.moving_average}, worker_seq_len "
            f"{model.worker_seq_len}, {channels} channels), and this machine has {_gb(most)}; take smaller ones"
        )
    return ""


def check_size(config: Config, channels: int) -> None:
    """Raises ConfigError for a model that this machine cannot hold."""
    if reason := too_large(config, channels):
        raise ConfigError(reason)


def _gb(size: int) -> str:
    return f"{size / 2**30:,.1f} GB"
