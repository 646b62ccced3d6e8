"""Latin hypercubes, one after the other (McKay, Beckman and Conover, Technometrics 21, 1979).

In each block of 16 points every range is cut into 16 parts of equal probability (a logarithmic one on its own scale),
and each part is drawn from once, so that few points tell of every setting over all of its range, where chance leaves
gaps. It learns nothing from what it is told: a search to look around with, or to compare others to.

Limits: a point that is not allowed leaves its parts empty, and so does a setting whose condition is not met.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import optuna

from tune.methods.method import Told
from tune.space import Range, Space

BLOCK = 16  # points


class Latin:
    """The seed alone says which points there are and in which order, so a restart goes on within the block."""

    def __init__(self, space: Space, seed: int):
        self.space, self.seed = space, seed
        self._points = self._all()
        self._known: set[str] = set()

    def replay(self, told: Sequence[Told]) -> None:
        self._known = {_key(one.params) for one in told}

    def ask(self) -> Mapping[str, Any]:
        return next(point for point in self._points if _key(self._drawn(point)) not in self._known)

    def tell(self, told: Told) -> None:
        """Nothing: see above."""

    def _all(self) -> Iterator[dict[str, Any]]:
        block = 0
        while True:
            yield from self._block(block)
            block += 1

    def _block(self, number: int) -> Iterator[dict[str, Any]]:
        chance = np.random.default_rng((self.seed, number))
        parts = np.stack([chance.permutation(BLOCK) for _ in self.space.ranges], axis=1)
        for shares in (parts + chance.random(parts.shape)) / BLOCK:
            yield {
                item.path: value_at(item, float(share)) for item, share in zip(self.space.ranges, shares, strict=True)
            }

    def _drawn(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """What of a point is proposed: without the settings whose conditions are not met."""
        return self.space.suggest(optuna.trial.FixedTrial(self.space.labelled(point)))


def value_at(item: Range, share: float) -> Any:
    """The value of a range below which a share of it lies, on its own scale; 0 <= share < 1."""
    if item.kind == "choice":
        return item.choices[int(share * len(item.choices))]
    # A whole number stands for all that is rounded to it.
    margin = 0.5 if item.kind == "int" else 0.0
    low, high = item.low - margin, item.high + margin
    value = math.exp(math.log(low) + share * math.log(high / low)) if item.log else low + share * (high - low)
    return min(max(round(value) if item.kind == "int" else value, item.low), item.high)


def _key(params: Mapping[str, Any]) -> str:
    return json.dumps(params, sort_keys=True)
