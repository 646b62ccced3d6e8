"""DynoNet as the lab sees it: what a search, a study, a report and a trainer ask of it (see lab.forecaster)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynonet.arms import ARMS
from dynonet.config import Config
from dynonet.space import SPACE
from lab.arms import Arm
from lab.forecaster import Forecaster, Network, Size, Stack

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lab.series import Series


class DynoNetForecaster(Forecaster):
    name = "dynonet"
    title = "DynoNet"
    config = Config
    searches = Path(__file__).parent / "searches"
    studies = Path(__file__).parent / "studies"
    space = SPACE
    arms: Mapping[str, Arm] = ARMS
    width = "model.worker_hidden"

    def learners(self, config: Any) -> Mapping[str, str]:
        from lab.training.trainer import worker_role

        return {"workers": worker_role(config), "controller": "controller"}

    def size(self, config: Any, channels: int) -> Size:
        from dynonet.network.parameters import parameter_count

        return Size(parameter_count(config, channels), parameter_count(config, channels))

    def stack(self, configs: Sequence[Any], series: "Series", device: "torch.device", dtype: "torch.dtype") -> Stack:
        raise NotImplementedError

    def network(
        self, configs: Sequence[Any], weights: "Sequence[Mapping[str, Tensor]]", channels: int, device: "torch.device"
    ) -> Network:
        raise NotImplementedError


DYNONET = DynoNetForecaster()
