"""DynoNet as the lab sees it: what a search, a study, a report and a trainer ask of it (see lab.forecaster)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynonet import stacking
from dynonet.arms import ARMS
from dynonet.config import Config
from dynonet.diagnostics import DIAGNOSTICS
from dynonet.space import SPACE
from lab.arms import Arm
from lab.forecaster import Forecaster, Size

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
    arms: Mapping[str, Arm] = ARMS
    diagnostics = DIAGNOSTICS
    width = "model.worker_hidden"

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

    def size(self, config: Any, channels: int) -> Size:
        from dynonet.size import size

        return size(config, channels)

    def too_large(self, config: Any, channels: int, memory: int) -> str:
        from dynonet.size import too_large

        return too_large(config, channels, memory)

    def stack_key(self, config: Any) -> tuple[tuple[str, Any], ...]:
        return stacking.stack_key(config)

    def order(self, config: Any) -> tuple[int, int]:
        return stacking.group_key(config)

    def learners(self, config: Any) -> dict[str, str]:
        return stacking.learners(config)

    def rarest(self, config: Any) -> int:
        every: int = config.training.unroll_every
        return every

    def kernel(self, device: str) -> str:
        from dynonet.kernels import in_use

        return in_use(device)


DYNONET = DynoNetForecaster()
