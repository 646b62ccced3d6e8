"""Which parameters of a network a gradient reaches. Told from the settings alone, without torch."""

from dynonet.config import Config
from dynonet.parts import SIGNALS


def trained_groups(config: Config, lookahead: bool | None = None) -> dict[str, frozenset[str]]:
    """The groups of each block that a gradient reaches; all others are skipped entirely, decay included.

    The published heads that only weigh the workers' loss or update (lr_scale, loss_weight, wd_scale, grad_clip,
    freeze_prob) get none in `alternating` and `joint`: they never enter the loss that the controller sees.

    Args:
        lookahead: whether the controller sees through the workers' update; by default in mode `unrolled`.
    """
    model, signals = config.model, config.signals
    if lookahead is None:
        lookahead = config.training.mode == "unrolled"
    heads = {
        name
        for name, signal in SIGNALS.items()
        if getattr(signals, name) == "adaptive" and signal.felt(config) and (signal.acts_on == "forward" or lookahead)
    }
    if model.workers:
        heads |= {name for name in ("film", "context") if getattr(model, name)}
    shared = {name for name in ("trend", "mixer") if getattr(model, name)}
    if model.revin and config.training.train_revin:
        shared.add("revin")
    return {
        "controller": frozenset(heads | ({"gru"} if heads else set())),
        "shared": frozenset(shared),
        "workers": frozenset({"worker"} if model.workers else set()),
    }
