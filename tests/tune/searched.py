"""Searches put on record by hand: trials with the losses that a test wants, and nothing trained."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import optuna

from dynonet.config import Config
from lab.store.outcomes import over_origins
from lab.store.tables import Results, run_params
from tune.settings import Budget, SearchSettings
from tune.space import Space
from tune.space.categories import distributions_to_json

SHA = "0" * 64
BEGUN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SPACE: dict[str, Any] = {
    "model.worker_hidden": {"int": [2, 64], "log": True},
    "model.dropout": {"float": [0.0, 0.4]},
    "training.mode": {"choice": ["alternating", "joint"]},
    "training.controller_lr_ratio": {"float": [0.01, 1.0], "log": True, "when": {"training.mode": "alternating"}},
}


@dataclass(frozen=True)
class Made:
    """A trial: its settings, and the loss of each replicate."""

    params: Mapping[str, Any]
    losses: Sequence[float | None] = ()  # over several origins: those of each origin, one behind the other
    state: str | None = "complete"  # None: no outcome
    epochs: int = 6  # that each run was trained
    error: str | None = None
    diverged: bool = False
    parameters: int = 5000


def spread(count: int) -> list[Made]:
    """Complete and stopped trials all over the space; the best is number 1, with the largest width."""
    made = []
    for number in range(count):
        width = 64 if number == 1 else 2 + (7 * number) % 50
        params: dict[str, Any] = {"model.worker_hidden": width, "model.dropout": 0.01 + 0.39 * ((3 * number) % 11) / 11}
        params["training.mode"] = "joint" if number % 3 == 1 else "alternating"
        if params["training.mode"] == "alternating":
            params["training.controller_lr_ratio"] = 0.011 * (1 + number % 90)
        loss = 0.4 + 10 / (10 + 10 * width)
        stopped = number % 4 == 3
        epochs = 6 if not stopped else 2 if number % 8 == 3 else 4
        state = "stopped" if stopped else "complete"
        made.append(Made(params, (loss, loss + 0.01), state, epochs, parameters=1000 + 100 * width))
    return made


@dataclass
class Searched:
    """One study on its way onto record."""

    results: Results
    base: Config
    name: str = "mine"
    specs: Mapping[str, Any] = field(default_factory=lambda: SPACE)
    budget: Budget = field(default_factory=lambda: Budget(replicates=2, grace_epochs=2, reduction_factor=2))
    origins: Mapping[str, str] = field(default_factory=dict)  # name -> identity of the data there, its own last

    def __post_init__(self) -> None:
        self.space = Space(self.specs, self.base)
        self.settings = SearchSettings(self.name, self.base, self.space, self.budget)
        told = {
            name: {"data_sha256": sha, "trains_on": 100 * number, "validates": f"year {number}"}
            for number, (name, sha) in enumerate(self.origins.items(), 1)
        }
        text = json.dumps(self.settings.identity(SHA, told))
        self.results.add("studies", [{"study": self.name, "settings": text, "time": BEGUN}], key="settings")
        self.count = 0

    def add(self, *made: Made) -> "Searched":
        tables: dict[str, list[dict[str, Any]]] = {"trials": [], "members": [], "runs": []}
        for one in made:
            self._add(one, tables)
        for table, rows in tables.items():
            self.results.add(table, rows)
        return self

    @property
    def _places(self) -> Mapping[str | None, str]:
        return {None: SHA} if not self.origins else dict(self.origins)

    def _add(self, made: Made, tables: Mapping[str, list[dict[str, Any]]]) -> None:
        number, self.count = self.count, self.count + 1
        trial, at = f"t{number:05d}", BEGUN + timedelta(minutes=1 + number)
        drawn = optuna.trial.FixedTrial(self.space.labelled(made.params))
        assert self.space.suggest(drawn) == made.params
        config = self.base.override(made.params)
        configs = [config.override({"training.seed": config.training.seed + r}) for r in range(self.budget.replicates)]
        key = {"study": self.name, "trial": trial, "number": number, "time": at}
        proposed = {"event": "proposed", "params": json.dumps(made.params), "config": config.to_json()}
        tables["trials"].append({**key, **proposed, "distributions": distributions_to_json(drawn.distributions)})
        places = [(name, sha, replicate) for name, sha in self._places.items() for replicate in configs]
        for name, sha, replicate in places:
            member = {"study": self.name, "trial": trial, "role": "search", "run": replicate.run_id(sha)}
            tables["members"].append(member | {"cell": name})
        ended = made.state if made.state in ("complete", "failed") else "stopped"
        for place, ((_, sha, replicate), loss) in enumerate(zip(places, made.losses, strict=False)):
            status = "diverged" if made.diverged and place == 0 else ended
            tables["runs"].append(self.run(replicate, status, loss, at, made.epochs, made.parameters, sha))
        if made.state is None:
            return
        known = [loss for loss in made.losses if loss is not None]
        values: list[float] = []
        if len(known) == len(places):
            size = self.budget.replicates
            means = [sum(known[at : at + size]) / size for at in range(0, len(known), size)]
            values = [over_origins(means), float(made.parameters)][: len(self.budget.objectives)]
        reports = [{"epoch": epoch, "value": values[0] + 0.1 * (made.epochs - epoch)}
                   for epoch in range(1, made.epochs + 1) if values]  # fmt: skip
        told = values if values and made.state != "failed" else None
        outcome = {"event": "outcome", "state": made.state, "values": told, "reports": reports, "error": made.error}
        tables["trials"].append({**key, **outcome})

    @staticmethod
    def run(
        config: Config, status: str, loss: float | None, at: datetime, epochs: int, parameters: int, sha: str = SHA
    ) -> dict[str, Any]:
        return {
            **run_params(config), "run": config.run_id(sha), "attempt": 1, "model": "dynonet", "status": status,
            "val_mse": loss, "epochs": epochs, "parameters": parameters, "cpu_seconds": 1.5, "wall_seconds": 1.0,
            "started": at, "ended": at, "git_commit": "abc", "git_dirty": False, "versions": "{}", "host": "<here>",
            "device": "cpu", "kernel": "numba",
        }  # fmt: skip

    def finals(self, trial: str, params: Mapping[str, Any], errors: Sequence[float]) -> "Searched":
        """Final replicates with these test errors; validation is a tenth lower, the MAE a tenth higher."""
        config, at = self.base.override(params), BEGUN + timedelta(days=1)
        for place, error in enumerate(errors):
            replicate = config.override({"training.seed": config.training.seed + 1000 + place})
            row = self.run(replicate, "complete", error - 0.1, at, epochs=6, parameters=7400)
            self.results.add("runs", [row])
            self.read_test(row["run"], error, "final")
            member = {"study": self.name, "trial": trial, "role": "final", "run": row["run"]}
            self.results.add("members", [member], key="final")
        return self

    def linear(self, validation: float, test: float, cell: str | None = None) -> "Searched":
        run = f"linear{cell or ''}"
        row = {"run": run, "attempt": 1, "model": "linear", "status": "complete", "val_mse": validation}
        self.results.add("runs", [{**row, "parameters": 84, "cpu_seconds": 0.1, "started": BEGUN, "ended": BEGUN}])
        self.read_test(run, test, "baseline")
        member = {"study": self.name, "role": "baseline", "run": run, "cell": cell}
        self.results.add("members", [member], key="baseline")
        return self

    def read_test(self, run: str, error: float, purpose: str) -> None:
        key = {"run": run, "attempt": 1, "split": "test", "purpose": purpose, "windows": 10, "time": BEGUN}
        rows = [{**key, "metric": m, "value": v} for m, v in (("mse", error), ("mae", error + 0.1))]
        self.results.add("evaluations", rows)
