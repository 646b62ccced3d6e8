"""What a DynoNet says of itself beside a forecast: each of its signals, recorded as `signal.<name>`."""

from functools import partial

from dynonet.config import Config
from dynonet.parts import FREEZE_START, SIGNALS
from lab.forecaster import Diagnostic


def _start(name: str, config: Config) -> float | None:
    """What an adaptive signal is before it has learned anything, where that is the same for every window."""
    if name == "freeze_prob" and config.training.mode == "unrolled":
        return FREEZE_START
    return SIGNALS[name].neutral if SIGNALS[name].starts_neutral else None


def _held(name: str, config: Config) -> float | None:
    value = getattr(config.signals, name)
    return None if value == "adaptive" else float(value)


DIAGNOSTICS: dict[str, Diagnostic] = {
    f"signal.{name}": Diagnostic(name, partial(_start, name), partial(_held, name)) for name in SIGNALS
}
