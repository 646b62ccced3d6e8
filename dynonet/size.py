"""How many parameters a DynoNet has, and how many of them count.

Effective parameters are those that a gradient reaches and that the forecast reads: a head that is switched off, a
position beyond what the workers read or a weight that only ever multiplies an absent context is not among them.
"""

from dynonet.config import Config
from dynonet.trained import trained_groups
from lab.forecaster import Size

WIDTH = "model.worker_hidden"  # the setting that is changed for about as many parameters as another network's


def size(config: Config, channels: int) -> Size:
    from dynonet.network.parameters import Layout  # here, since it imports torch

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


def describe(config: Config) -> str:
    """What tells shapes apart in a plan."""
    model = config.model
    text = f"K={model.control_hidden} D={model.worker_hidden} L={model.num_layers}"
    if model.worker_cell != "gru" or model.worker_scope != "channel":
        text += f", {model.worker_cell} workers" + (" shared by the channels" if model.worker_scope == "all" else "")
    return text
