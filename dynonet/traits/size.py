"""How many parameters a DynoNet has and trains, and what of it no machine can hold."""

from dynonet.config import Config
from dynonet.network.parameters import Layout
from dynonet.traits.trained import trained_groups
from lab.forecaster import Size
from lab.settings.sizes import gigabytes

MOST_LAYERS = 64  # each is compiled by itself, and one of a hundred would be for minutes


def size(config: Config, channels: int) -> Size:
    """Effective parameters are those that a gradient reaches and that the forecast reads: a head that is switched off,
    a position beyond what the workers read or a weight that only ever multiplies an absent context is not among them.
    """
    layout, trained = Layout.of(config, channels), trained_groups(config)
    effective = 0
    for block, entries in layout.entries.items():
        count = layout.workers if block == "workers" else 1
        effective += count * sum(entry.size for entry in entries if entry.group in trained[block])
    if config.model.workers:
        hidden = config.model.worker_hidden
        positions = next(entry.shape[0] for entry in layout.entries["workers"] if entry.name == "position")
        unread = (positions - min(config.model.worker_seq_len, config.data.seq_len)) * hidden
        if not config.model.context:
            unread += hidden * hidden  # the half of output.0.weight that reads the context
        effective -= layout.workers * unread
    return Size(sum(layout.count().values()), effective)


def too_large(config: Config, channels: int, memory: int) -> str:
    """Why such a network cannot be trained in so many bytes, beyond its parameters; "" if it may."""
    model = config.model
    if model.num_layers > MOST_LAYERS:
        return f"model.num_layers: got {model.num_layers}, at most {MOST_LAYERS} are allowed"
    window = 4 * channels * max(model.moving_average, model.worker_seq_len, config.data.seq_len)
    if window > memory:
        return (
            f"one window takes {gigabytes(window)} (moving_average {model.moving_average}, worker_seq_len "
            f"{model.worker_seq_len}, {channels} channels), and this machine has {gigabytes(memory)}; take smaller "
            "ones"
        )
    return ""
