"""DynoNet as the lab sees it: what a search, a study, a report and a trainer ask of it (see lab.forecaster)."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynonet.arms import ARMS
from dynonet.config import Config
from dynonet.inert import why_inert, why_still
from dynonet.parts import PARTS, SIGNALS, Signal
from dynonet.size import WIDTH, describe, size
from dynonet.space import SPACE
from lab.arms import Arm
from lab.forecaster import Diagnostic, Forecaster, Network, Part, Size, Stack

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lab.series import Series


def _diagnostic(signal: Signal) -> Diagnostic:
    def held(config: Any) -> float | None:
        value = getattr(config.signals, signal.name)
        return None if value == "adaptive" else float(value)

    def start(config: Any) -> float | None:
        number = held(config)
        if number is not None:
            return number
        if config.training.mode == "unrolled" and signal.unrolled_start is not None:
            return signal.unrolled_start
        return signal.neutral if signal.starts_neutral else None

    return Diagnostic(signal.name, start, held, lambda config: why_still(signal.name, config))


class DynoNetForecaster(Forecaster):
    name = "dynonet"
    title = "DynoNet"
    config = Config
    searches = Path(__file__).parent / "searches"
    studies = Path(__file__).parent / "studies"
    space = SPACE
    parts: Mapping[str, Part] = {part.name: Part(part.name, part.noun, part.off) for part in PARTS.values()}
    arms: Mapping[str, Arm] = ARMS
    diagnostics: Mapping[str, Diagnostic] = {f"signal.{name}": _diagnostic(signal) for name, signal in SIGNALS.items()}
    diagnostics_title = "What the controller sets"
    width = WIDTH
    width_words = ("the workers' width", "workers of another width")

    def stack_key(self, config: Any) -> Hashable:
        from lab.training.trainer import stack_key

        return stack_key(config)

    def learners(self, config: Any) -> Mapping[str, str]:
        from lab.training.trainer import worker_role

        return {"workers": worker_role(config), "controller": "controller"}

    def size(self, config: Any, channels: int) -> Size:
        return size(config, channels)

    def describe(self, config: Any) -> str:
        return describe(config)

    def dearness(self, config: Any) -> tuple[Any, ...]:
        """By the cost of a step."""
        every = config.training.unroll_every
        return ({"joint": 0.0, "alternating": 1.0, "unrolled": 1.0 + 1 / every}[config.training.mode],)

    def why_inert(self, arm: Arm, base: Any, config: Any) -> str | None:
        return why_inert(base, config)

    def stack(self, configs: Sequence[Any], series: "Series", device: "torch.device", dtype: "torch.dtype") -> Stack:
        raise NotImplementedError

    def network(
        self, configs: Sequence[Any], weights: "Sequence[Mapping[str, Tensor]]", channels: int, device: "torch.device"
    ) -> Network:
        raise NotImplementedError


DYNONET = DynoNetForecaster()
