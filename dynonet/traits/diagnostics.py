"""What a DynoNet says of itself beside a forecast: each of its signals, recorded as `signal.<name>`."""

from functools import partial

from dynonet.config import Config
from dynonet.parts import SIGNALS
from dynonet.traits.inert import why_still
from lab.forecaster import Diagnostic


def _start(name: str, config: Config) -> float | None:
    """What an adaptive signal is before it has learned anything, where that is the same for every window."""
    signal = SIGNALS[name]
    if config.training.mode == "unrolled" and signal.unrolled_start is not None:
        return signal.unrolled_start
    return signal.neutral if signal.starts_neutral else None


def _held(name: str, config: Config) -> float | None:
    value = getattr(config.signals, name)
    return None if value == "adaptive" else float(value)


DIAGNOSTICS: dict[str, Diagnostic] = {
    f"signal.{name}": Diagnostic(name, partial(_start, name), partial(_held, name), partial(why_still, name))
    for name in SIGNALS
}
