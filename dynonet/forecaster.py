"""DynoNet as the lab sees it: what a search, a study, a report and a trainer ask of it (see lab.forecaster)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynonet.arms import ARMS
from dynonet.config import Config
from dynonet.parts import PARTS
from dynonet.space import SPACE
from dynonet.traits import stacking
from dynonet.traits.diagnostics import DIAGNOSTICS
from dynonet.traits.inert import why_inert
from lab.arms import Arm
from lab.forecaster import Forecaster, Part, Size

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from dynonet.learning.stack import Trained, TrainingStack
    from lab.series import Series


class DynoNetForecaster(Forecaster):
    name = "dynonet"
    title = "DynoNet"
    config = Config
    studies = Path(__file__).parent / "studies"
    space = SPACE
    parts: Mapping[str, Part] = {part.name: Part(part.name, part.noun, part.off) for part in PARTS.values()}
    arms: Mapping[str, Arm] = ARMS
    diagnostics = DIAGNOSTICS
    diagnostics_title = "What the controller sets"
    width = "model.worker_hidden"
    width_words = ("the workers' width", "workers of another width")

    def stack(
        self, configs: Sequence[Any], series: "Series", device: "torch.device", dtype: "torch.dtype"
    ) -> "TrainingStack":
        from dynonet.learning.stack import TrainingStack

        return TrainingStack(configs, series, device, dtype)

    def network(
        self, configs: Sequence[Any], weights: "Sequence[Mapping[str, Tensor]]", channels: int, device: "torch.device"
    ) -> "Trained":
        from dynonet.learning.stack import network

        return network(configs, weights, channels, device)

    def save(
        self, config: Any, weights: "Mapping[str, Tensor]", channels: int, path: Path, about: Mapping[str, Any]
    ) -> None:
        from dynonet.network.parameters import Layout, Parameters
        from dynonet.published.checkpoints import save_published

        save_published(Parameters.from_named(Layout.of(config, channels), [weights]), path, **about)

    def size(self, config: Any, channels: int) -> Size:
        from dynonet.traits.size import size

        return size(config, channels)

    def starts_closed(self, config: Any) -> bool:
        return bool(config.model.trend and config.model.trend_start != "uniform")

    def too_large(self, config: Any, channels: int, memory: int) -> str:
        from dynonet.traits.size import too_large

        return too_large(config, channels, memory)

    def refuses(self, config: Any, device: str) -> str:
        if device == "cuda" or (asked := config.training.precision) == "float32":
            return ""
        return (
            f"training.precision={asked} is how a GPU's tensor cores round, and this is to be trained on a CPU; leave "
            "it at float32, or take a GPU (--device cuda; of a search or a study --gpus-per-trial)"
        )

    def stack_key(self, config: Any) -> tuple[tuple[str, Any], ...]:
        return stacking.stack_key(config)

    def order(self, config: Any) -> tuple[int, int, int]:
        return stacking.group_key(config)

    def learners(self, config: Any) -> dict[str, str]:
        return stacking.learners(config)

    def dearness(self, config: Any) -> tuple[Any, ...]:
        """By the cost of a step."""
        every = config.training.unroll_every
        return ({"joint": 0.0, "alternating": 1.0, "unrolled": 1.0 + 1 / every}[config.training.mode],)

    def describe(self, config: Any) -> str:
        model = config.model
        text = f"K={model.control_hidden} D={model.worker_hidden} L={model.num_layers}"
        if model.worker_cell != "gru" or model.worker_scope != "channel":
            shared = " shared by the channels" if model.worker_scope == "all" else ""
            text += f", {model.worker_cell} workers{shared}"
        return text

    def why_inert(self, arm: Arm, base: Any, config: Any) -> str | None:
        return why_inert(base, config)

    def rarest(self, config: Any) -> int:
        every: int = config.training.unroll_every
        return every

    def warm(self, configs: Sequence[Any], series: "Series", device: "torch.device") -> None:
        from dynonet.learning.warm import warm

        warm(configs, series, device)

    def kernel(self, device: str) -> str:
        from dynonet.kernels import in_use

        return in_use(device)


DYNONET = DynoNetForecaster()
