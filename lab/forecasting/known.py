"""What the ledger must be told of a forecast: rows that are sealed in the series that was learned from."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lab.forecasting.given import Given
from lab.ledger.looks import Look, Store
from lab.ledger.sealed import inputs_read
from lab.series.origins import Rows
from lab.series.series import Series


@dataclass(frozen=True, eq=False)
class Known:
    """The series that a model has learned from, as the ledger knows it (see lab.ledger.looks.Looked)."""

    identity: str
    name: str
    train: Rows
    test: Rows
    sealed: Rows | None
    values: np.ndarray = field(default_factory=lambda: np.empty((0, 0)), repr=False)

    @classmethod
    def of(cls, series: Series) -> "Known":
        return cls(series.identity, series.name, series.train, series.test, series.sealed)

    def state(self) -> dict[str, Any]:
        """All but the values, plain."""
        pairs = {key: getattr(self, key) for key in ("train", "test", "sealed")}
        return {"identity": self.identity, "name": self.name} | {k: v and list(v) for k, v in pairs.items()}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "Known":
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in state.items()}
        return cls(**fields)

    def read_as_inputs(
        self, given: Given, count: int, purpose: str, results: Store | None = None, study: str | None = None
    ) -> Look | None:
        """To be called before a model reads the last `count` rows: those that are sealed stand on the ledger."""
        if self.sealed is None or given.first < 0:
            return None
        end = given.first + len(given.values)
        before = np.zeros((given.first, given.values.shape[1]))
        here = replace(self, values=np.concatenate([before, given.values]))
        return inputs_read(here, (end - count, end), purpose, results, study)
