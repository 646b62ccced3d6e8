"""The contract, for every forecaster that the registry knows and for a toy; and that it sees faults."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ablations.contract import check_commands
from lab.contract import CHECKS, ContractBroken, check_forecaster
from lab.contract.check import name_of
from lab.contract.subject import apart
from lab.forecaster import Size
from lab.registry import DEFAULT, names
from lab.training.module_stack import Diagnostic, Field, ModuleForecaster, Section, Switch
from tests.toy import TOY

# A forecaster's name and settings that its checks need, such as longer windows.
SETTINGS: dict[str, dict[str, Any]] = {}
TOY_NAME = "tests.toy:TOY"
ROOT = Path(__file__).parents[2]
# Whole commands take minutes a model: `make contract` tries all of them, the suite these.
ALL = os.environ.get("DYNONET_CONTRACT") == "all"
WHOLE = (TOY_NAME, *names()) if ALL else (TOY_NAME, DEFAULT, "cyclenet", "patchtst")


@pytest.mark.parametrize("model", [TOY_NAME, *names()])
def test_a_forecaster_does_what_every_one_must(model: str) -> None:
    report = check_forecaster(model, SETTINGS.get(model))
    print(report)  # pytest -s
    assert len(report.rows) == len(CHECKS) and not report.broken


@pytest.mark.slow
@pytest.mark.parametrize("model", WHOLE)
def test_a_forecaster_goes_through_a_search_a_study_and_reports(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    report = check_commands(model, tmp_path, SETTINGS.get(model))
    print(report)
    assert len(report.rows) == 4


# Faults, each of which one check sees -------------------------------------------------------------------------------


class Settings(Section):
    width: int = Field(4, ge=1)
    part: bool = True


class Good(nn.Module):
    def __init__(self, config: Any, channels: int):
        super().__init__()
        self.part = config.model.part
        self.map = nn.Linear(config.data.seq_len, config.data.pred_len)

    def forward(self, window: Tensor) -> Tensor:
        last = window[:, -1:] if self.part else 0.0
        return self.map((window - last).transpose(1, 2)).transpose(1, 2) + last


class Dead(Good):
    """Its part is none."""

    def forward(self, window: Tensor) -> Tensor:
        return self.map(window.transpose(1, 2)).transpose(1, 2)


class Forgetful(Good):
    """Keeps what training changes where no checkpoint sees it."""

    steps = 0

    def forward(self, window: Tensor) -> Tensor:
        self.steps += self.training
        return super().forward(window) * (1 + 0.01 * self.steps)


class Batchy(Good):
    """Forecasts from the other windows of its batch."""

    def forward(self, window: Tensor) -> Tensor:
        return super().forward(window - window.mean(dim=(0, 1), keepdim=True))


class Shared(Good):
    """Models of one process read each other's numbers."""

    seen = torch.zeros(())

    def forward(self, window: Tensor) -> Tensor:
        if self.training:
            Shared.seen = 0.9 * Shared.seen + window.mean().detach().float()
        return super().forward(window) + 0.1 * Shared.seen


class Knowing(Good):
    """Looks up in the series, which it was given by no one, what comes after its window."""

    series: Any = None

    def forward(self, window: Tensor, rows: Tensor) -> Tensor:
        if Knowing.series is None:
            return super().forward(window)
        after = rows[:, None] + torch.arange(window.shape[1], window.shape[1] + self.map.out_features)
        return super().forward(window) + 0.1 * torch.as_tensor(Knowing.series)[after].to(window.dtype)


class Miscounted(ModuleForecaster):
    def size(self, config: Any, channels: int) -> Size:
        return Size(1, 1)


class Omniscient(ModuleForecaster):
    """Its stacks hand the whole series on."""

    def stack(self, configs: Any, series: Any, device: Any, dtype: Any) -> Any:
        Knowing.series = series.scaled.copy()
        return super().stack(configs, series, device, dtype)


def made(module: Any, of: type[ModuleForecaster] = ModuleForecaster, **more: Any) -> ModuleForecaster:
    part = Switch("the level", "forecasting differences from the last value lowers the test error")
    return of(module.__name__.lower(), module, Settings, parts={"part": part}, **more)


FAULTY = {
    "arms differ": made(Dead),
    "resumes exactly": made(Forgetful),
    "sees no future": made(Batchy),
    "alone as stacked": made(Shared),
    "parameters counted": made(Good, Miscounted),
    "builds at both ends": made(Good, space={"model.width": {"int": [0, 8]}}),
    "names and texts": made(Good, diagnostics={"level": Diagnostic("the level")}),
}
GOOD, KNOWING = made(Good), made(Knowing, Omniscient)
globals().update({f"FAULTY_{number}": each for number, each in enumerate(FAULTY.values())})


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    Shared.seen, Knowing.series = torch.zeros(()), None


def test_a_good_one_keeps_it_and_is_found_by_the_object() -> None:
    assert not check_forecaster(GOOD).broken
    assert name_of(TOY) == TOY_NAME or sys.modules[name_of(TOY).partition(":")[0]].TOY is TOY


@pytest.mark.parametrize("check", FAULTY)
def test_a_fault_is_seen(check: str) -> None:
    with pytest.raises(ContractBroken) as found:
        check_forecaster(FAULTY[check])
    broken = {row.check for row in found.value.report.broken}
    assert check in broken and len(broken) < len(CHECKS) / 2, str(found.value)
    assert f"breaks '{check}': " in str(found.value) and "BROKEN" in str(found.value.report)


def test_a_forecast_that_knows_the_future_is_seen() -> None:
    with pytest.raises(ContractBroken) as found:
        check_forecaster(KNOWING)
    assert "sees no future" in {row.check for row in found.value.report.broken}
    assert "rows after its window" in str(found.value)


def test_what_is_no_number_is_no_agreement() -> None:
    """Wherever it stands: Python's own `max` passes over it unless it is the first."""
    one, other = ({name: torch.tensor([1.0, value]) for name in "abc"} for value in (2.0, 2.0))
    other["b"][1] = torch.nan
    assert not apart(one, other) <= 1.0 and apart(one, one) == 0.0
