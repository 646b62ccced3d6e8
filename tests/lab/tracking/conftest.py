"""No account and no network, a server of our own, and a search and an ablation on record."""

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dynonet.config import Config
from lab.references.runs import record_bars
from lab.series import load_series
from lab.series.bars.ridge import RIDGE
from lab.store.tables import Results, run_params
from lab.tracking.client import end_service
from lab.training.readings import read_test
from lab.training.stack_run import StackRun
from tests.lab.tracking.sent import TINY, surroundings
from tests.wandb_server import KEY, WandbServer


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    for name, value in surroundings(home).items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    yield
    end_service()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    with WandbServer() as found:
        monkeypatch.setenv("WANDB_BASE_URL", found.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield found
        assert not found.unknown


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search, with a trial that was stopped, finals read on test and the baseline; and an ablation over its runs."""
    folder = tmp_path_factory.mktemp("recorded") / "out"
    results, base = Results(folder), Config.create(TINY)
    series = load_series(base.data)

    def train(configs: list[Config], epochs: int = 100) -> list[str]:
        stack = StackRun(results, configs, series=series)
        for _ in range(epochs):
            if stack.step().state != "running":
                break
        else:
            stack.close("stopped")
        return stack.ids

    def seeds(*numbers: int, **settings: Any) -> list[Config]:
        return [base.override({"training.seed": n, **settings}) for n in numbers]

    first = train(seeds(1, 2))
    second = train(seeds(1, 2, **{"training.lr": 0.005}), epochs=2)
    finals = train(seeds(1001))
    read_test(results, finals, "final", series=series)
    wide = base.override({"training.seed": 1, "model.film": False})
    odd = wide.run_id(series.identity)  # by hand: what training seldom gives
    key = {"run": odd, "attempt": 1}
    results.add("history", [
        {**key, "step": 1, "metric": "val_mse", "value": 1.5}, {**key, "step": 1, "metric": "train_loss", "value": 2.0},
        {**key, "step": 2, "metric": "train_loss", "value": math.inf},
        {**key, "step": 2, "metric": "val_mse", "value": math.nan},
    ])  # fmt: skip
    row = {**run_params(wide), **key, "status": "diverged", "model": "dynonet", "epochs": 2, "val_mse": 1.5}
    results.add("runs", [row | {"error": "the loss is inf", "best_epoch": 1}])
    for trial, role, runs in (("t0", "search", first), ("t1", "search", second), ("t0", "final", finals)):
        results.add("members", [{"study": "search", "trial": trial, "role": role, "run": run} for run in runs])
    record_bars(results, "search", base, series, bars=[RIDGE])
    for arm, runs in (("full", first), ("no_film", [odd]), ("no_mixer", [first[0]])):
        rows = [{"study": "parts", "role": "arm", "arm": arm, "cell": "main", "run": run} for run in runs]
        results.add("members", [*rows, rows[0] | {"cell": "short"}] if arm == "full" else rows)
    record_bars(results, "parts", base, series, "main", [RIDGE])
    return folder


@pytest.fixture
def out(recorded: Path, tmp_path: Path) -> Results:
    shutil.copytree(recorded, tmp_path / "out")
    return Results(tmp_path / "out")
