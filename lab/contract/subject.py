"""What a contract is tried on: a forecaster, small settings of it, and the synthetic series that they name."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lab.arms import Arm
from lab.contract.report import expect
from lab.errors import ConfigError
from lab.forecaster import Forecaster, Stack
from lab.series import Series, load_series
from lab.series.windows import Windows
from lab.settings.config import Config
from lab.settings.sources import GENERATED
from lab.training.trainer import StackTrainer

CPU = torch.device("cpu")
SETTINGS: dict[str, Any] = {
    "data.dataset": "synthetic", "data.seq_len": 48, "data.pred_len": 12, "data.synthetic.rows": 800,
    "training.batch_size": 32, "training.max_epochs": 4, "training.patience": 4,
}  # fmt: skip
ROWS_PER_WINDOW = 12  # rows of a series for each row of a window: a fifth of its training rows still holds some


@dataclass(frozen=True)
class Subject:
    """Shapes as in lab.forecaster."""

    forecaster: Forecaster
    settings: Mapping[str, Any]  # dotted

    @cached_property
    def base(self) -> Config:
        """Its defaults, but for the settings of this contract."""
        return self.forecaster.config.create(dict(self.settings))

    @cached_property
    def series(self) -> Series:
        return load_series(self.base.data)

    def series_of(self, config: Config) -> Series:
        return self.series if config.data.source() == self.base.data.source() else load_series(config.data)

    def varied(self, settings: Mapping[str, Any]) -> Config:
        """The base with other settings, and with as many rows as windows of that length need."""
        config = self.base.override(dict(settings))
        rows = ROWS_PER_WINDOW * (config.data.seq_len + config.data.pred_len)
        if config.data.dataset in GENERATED and config.data.synthetic.rows < rows:
            config = config.override({"data.synthetic.rows": rows})
        return config

    # What it can be set to -------------------------------------------------------------------------------------------

    def ends(self) -> dict[str, list[Any]]:
        """The ends of every range of its space (of a choice, all), by dotted setting."""
        found = {}
        for key, spec in self.forecaster.space.items():
            self.forecaster.config.check_key(key)
            kinds = [kind for kind in ("int", "float", "choice") if kind in spec]
            expect(len(kinds) == 1, f"range of {key}: got {dict(spec)}, expected one of int, float and choice")
            found[key] = list(spec[kinds[0]])
        return found

    def conditions(self, key: str) -> dict[str, Any]:
        """What has to be set for a range to be read."""
        when = self.forecaster.space[key].get("when", {})
        return {name: wanted[0] if isinstance(wanted, list) else wanted for name, wanted in when.items()}

    def corners(self) -> Iterator[tuple[str, Config]]:
        """Its defaults, each end of each range alone, and all lowest and all highest ends together."""
        yield "the defaults", self.base
        ends = self.ends()
        for key, values in ends.items():
            for value in values:
                yield f"{key}={value}", self.varied({**self.conditions(key), key: value})
        free = {key: values for key, values in ends.items() if not self.conditions(key)}
        for name, place in (("all lowest ends", 0), ("all highest ends", -1)):
            yield name, self.varied({key: values[place] for key, values in free.items()})

    def arms(self) -> dict[str, tuple[Arm, Config, Config]]:
        """Those that can be applied: the arm, its config, and its baseline arm's."""
        found = {}
        for name, arm in self.forecaster.arms.items():
            if not arm.compared:
                continue
            try:
                beside = self.forecaster.arms[arm.against].apply(self.base) if arm.against != "full" else self.base
                found[name] = arm, arm.apply(self.base), beside
            except ConfigError:
                continue
        return found

    def unlike(self) -> list[Config]:
        """Models of one stack, unlike in all that they may be unlike in, in the stack's order."""
        forecaster, ends = self.forecaster, self.ends()
        own = [key for key, values in ends.items() if len({self._key({key: each}) for each in values}) == 1]
        own = [key for key in own if not key.startswith("data.") and not self.conditions(key)]
        more: list[dict[str, Any]] = [
            {"training.seed": 3, "training.schedule": "constant"},
            {"training.seed": 1, **{key: ends[key][0] for key in own}, "training.lr": 3e-3},
            {"training.seed": 2, **{key: ends[key][-1] for key in own}, "training.lr": 5e-3},
        ]
        configs = [self.base.override(each) for each in more]
        key = forecaster.stack_key(self.base)
        beside = [config for _, config, _ in self.arms().values() if forecaster.stack_key(config) == key]
        configs += [config.with_seed(4 + number) for number, config in enumerate([*beside[:1], *beside[1:][-1:]])]
        expect(
            {forecaster.stack_key(config) for config in configs} == {key},
            f"models that differ in {', '.join(chain(own, ('training.seed', 'training.lr', 'training.schedule')))} do "
            "not share a stack_key, though each of these alone leaves it as it is or is each model's own",
        )
        return sorted(configs, key=forecaster.order)

    def _key(self, settings: Mapping[str, Any]) -> Any:
        """The stack_key with some settings, or the settings themselves where they are not allowed alone."""
        try:
            return self.forecaster.stack_key(self.base.override(dict(settings)))
        except ConfigError:
            return tuple(settings.items())

    # Stacks of it ----------------------------------------------------------------------------------------------------

    def stack(
        self, configs: Sequence[Config], series: Series | None = None, dtype: torch.dtype = torch.float32
    ) -> Stack:
        series = self.series_of(configs[0]) if series is None else series
        return self.forecaster.stack(list(configs), series, CPU, dtype)

    def trainer(
        self, configs: Sequence[Config], series: Series | None = None, dtype: torch.dtype = torch.float32
    ) -> StackTrainer:
        return StackTrainer(configs, self.series_of(configs[0]) if series is None else series, dtype=dtype)

    def windows(self, config: Config, series: Series | None = None, dtype: torch.dtype = torch.float32) -> Windows:
        series = self.series_of(config) if series is None else series
        return Windows.of(series, config.data, CPU, dtype, self.forecaster.wants_calendar)


def with_rows(series: Series, scaled: np.ndarray) -> Series:
    """The series with other z-scored rows, as they are: its mean and deviation stay those of the rows before."""
    changed = replace(series)
    changed.__dict__["scaled"] = scaled  # where the cached property keeps it
    return changed


def train(stack: Stack, steps: int, epoch: int = 1, first: int = 0) -> Stack:
    """Takes steps of an epoch, from `first` on; the epoch begins with step 0."""
    if first == 0:
        stack.begin_epoch(epoch)
    for number in range(first, steps):
        stack.step(number)
    return stack


def apart(one: Mapping[str, Tensor], other: Mapping[str, Tensor], floor: float = 1e-9) -> float:
    """The largest difference of two models' weights, each relative to the largest entry of its tensor (or `floor`); NaN
    where any is."""
    expect(one.keys() == other.keys(), f"weights are {sorted(one)} and {sorted(other)}, expected the same names")
    return float(np.max([_apart(one[name], other[name], floor) for name in one], initial=0.0))


def _apart(one: Tensor, other: Tensor, floor: float) -> float:
    if one.shape != other.shape:
        return float("inf")
    if one.equal(other) or not one.numel():
        return 0.0
    one, other = (tensor.to(torch.complex128 if tensor.is_complex() else torch.float64) for tensor in (one, other))
    return float((one - other).abs().max() / one.abs().max().clamp_min(floor))
