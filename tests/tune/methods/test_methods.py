"""The samplers by name: what a method of three methods is asked and told, and points of Latin hypercubes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from dynonet.config import Config
from lab.errors import ConfigError
from lab.store.tables import Results
from tune.methods.latin import BLOCK, Latin, value_at
from tune.methods.method import Asked, Told
from tune.methods.table import SAMPLERS
from tune.proposals import Proposal, Proposals
from tune.settings import Budget
from tune.space import Space

SPACE = {
    "training.lr": {"float": [1e-4, 1e-1], "log": True},
    "model.worker_hidden": {"int": [2, 9]},
    "training.mode": {"choice": ["alternating", "joint"]},
    "training.controller_lr_ratio": {"float": [0.01, 1.0], "when": {"training.mode": "alternating"}},
}


class Down:
    """A method as one would write it: half the best learning rate on record, from the top of the range."""

    def __init__(self, space: Space):
        self.heard: list[Told] = []
        self.asked = 0

    def replay(self, told: Sequence[Told]) -> None:
        self.heard += told

    def ask(self) -> Mapping[str, Any]:
        self.asked += 1
        best = min((one for one in self.heard if one.values), key=lambda one: one.values, default=None)
        rate = 0.1 if best is None else max(best.params["training.lr"] / 2, 1e-4)
        mode = "joint" if len(self.heard) % 2 else "alternating"
        return {"training.lr": rate, "model.worker_hidden": 3, "training.mode": mode,
                "training.controller_lr_ratio": 0.5}  # fmt: skip

    def tell(self, told: Told) -> None:
        self.heard.append(told)


def begin(store: Results, config: Config, sampler: str, specs: Mapping[str, Any] = SPACE) -> Proposals:
    space = Space(specs, config)
    return Proposals(store, "study", space, seed=-3, replicates=1, data_sha256="0" * 64, sampler=sampler)


def some(proposals: Proposals) -> Proposal:
    proposal = proposals.propose()
    assert proposal is not None
    return proposal


def test_a_method_is_three_methods(store: Results, tiny: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    methods: list[Down] = []

    def make(start: Any) -> Asked:
        methods.append(Down(start.space))
        return Asked(methods[-1], start)

    monkeypatch.setitem(SAMPLERS, "down", make)
    assert Budget(sampler="down").sampler == "down"
    proposals = begin(store, tiny, "down")
    first = some(proposals)
    assert first.params == {
        "training.lr": 0.1, "model.worker_hidden": 3, "training.mode": "alternating",
        "training.controller_lr_ratio": 0.5,
    }  # fmt: skip
    proposals.finish(first.trial, "complete", [2.0], [(1, 2.0)])
    second = some(proposals)
    assert second.params == {"training.lr": 0.05, "model.worker_hidden": 3, "training.mode": "joint"}
    proposals.finish(second.trial, "stopped", [1.0], [(1, 1.0)])
    pending = some(proposals)
    assert pending.params["training.lr"] == 0.025
    told = [Told(first.params, "complete", (2.0,)), Told(second.params, "stopped", (1.0,))]
    assert methods[0].heard == told and methods[0].asked == 3

    again = begin(store, tiny, "down")  # after a kill
    assert methods[1].heard == [*told, Told(pending.params, None)]
    assert some(again) == pending and methods[1].asked == 0, "what is on record is not asked for"
    again.finish(pending.trial, "failed", (), (), "boom")
    assert methods[1].heard[-1] == Told(pending.params, "failed") and len(methods[1].heard) == 4

    monkeypatch.setattr(Down, "ask", lambda self: {"training.lr": 3.0, "training.mode": "jiont"})
    with pytest.raises(ConfigError, match=r"sampler Down: .*: got (3.0|None|'jiont'), allowed: "):
        again.propose()


def test_each_part_of_a_range_is_drawn_from_once_and_a_restart_goes_on(store: Results, tiny: Config) -> None:
    free = {path: {key: value for key, value in spec.items() if key != "when"} for path, spec in SPACE.items()}
    proposals, lived = begin(store, tiny, "latin", free), []
    for number in range(BLOCK + 3):
        if number in (5, BLOCK + 1):
            proposals = begin(store, tiny, "latin", free)
            while proposals.pending:
                some(proposals)
        lived.append(some(proposals))
    block = lived[:BLOCK]
    assert sorted(int(BLOCK / 3 * (4 + math.log10(p.params["training.lr"]))) for p in block) == list(range(BLOCK))
    assert [sorted(p.params["model.worker_hidden"] for p in block).count(n) for n in range(2, 10)] == [2] * 8
    assert [p.params["training.mode"] for p in block].count("joint") == BLOCK // 2
    points = Latin(proposals.space, -3 % 2**32)
    assert [p.params for p in lived] == [points.ask() for _ in lived], "as if it had never been stopped"


def test_conditional_points_are_known_after_a_restart(store: Results, tiny: Config) -> None:
    lived = [some(begin_with_nothing_pending(store, tiny)).params for _ in range(6)]
    points = Latin(Space(SPACE, tiny), -3 % 2**32)
    asked = [points._drawn(points.ask()) for _ in lived]
    assert lived == asked and {len(params) for params in lived} == {3, 4}


def begin_with_nothing_pending(store: Results, config: Config) -> Proposals:
    proposals = begin(store, config, "latin")
    while proposals.pending:
        some(proposals)
    return proposals


def test_values_of_a_share(tiny: Config) -> None:
    space = Space({**SPACE, "model.num_layers": {"int": [1, 4], "log": True}}, tiny)
    ranges = {item.path: item for item in space.ranges}
    assert value_at(ranges["training.lr"], 2 / 3) == pytest.approx(1e-2)
    assert [value_at(ranges["model.worker_hidden"], share) for share in (0.0, 0.124, 0.126, 0.9999)] == [2, 2, 3, 9]
    assert [value_at(ranges["model.num_layers"], share) for share in (0.0, 0.49, 0.51, 0.9999)] == [1, 1, 2, 4]
    assert [value_at(ranges["training.mode"], share) for share in (0.49, 0.5)] == ["alternating", "joint"]
