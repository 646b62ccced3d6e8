"""The simulation of a cluster: nothing is lost in it, and where it leads is known at both ends."""

import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from simulate_cluster import SHARES, STORES, Cluster, Costs, Work, simulate

FREE = Costs(**{field.name: 0.0 for field in fields(Costs)})
WORK = Work("study", runs=60, stack=2, epochs=5, epoch=1.0)


@pytest.mark.parametrize("slots", [1, 7, 200])
@pytest.mark.parametrize("kind", ["search", "study"])
def test_every_run_is_trained_and_every_second_of_a_slot_accounted_for(kind: str, slots: int) -> None:
    found = simulate(Cluster(Costs(), STORES["object"], replace(WORK, kind=kind), slots))
    assert (found.trials, found.runs) == (30, 60)
    assert set(found.slot_seconds) == set(SHARES) and min(found.slot_seconds.values()) >= -1e-9
    assert sum(found.slot_seconds.values()) == pytest.approx(slots * found.makespan)


def test_where_nothing_costs_anything_the_devices_are_all_there_is() -> None:
    for slots in (1, 2, 30, 1000):
        found = simulate(Cluster(FREE, STORES["free"], WORK, slots))
        assert found.makespan == pytest.approx(30 * 5 / min(slots, 30))
    assert found.binds == "too few runs"


def test_many_devices_wait_for_the_driver() -> None:
    costs = replace(FREE, result=0.1)
    work = replace(WORK, runs=4000)
    few, many, more = (simulate(Cluster(costs, STORES["free"], work, slots)) for slots in (2, 100, 1000))
    assert few.makespan > many.makespan and few.binds == "devices"
    # 2,000 stacks of 5 epochs are 10,000 reports of a tenth of a second, one after the other.
    for found in (many, more):
        assert found.makespan == pytest.approx(1000, rel=0.01) and found.binds == "driver"
    slow = Cluster(replace(FREE, propose=1.0), STORES["free"], replace(work, kind="search"), 1000)
    assert simulate(slow).binds == "searcher"
    assert simulate(Cluster(FREE, replace(STORES["free"], operations=10.0), work, 1000)).binds == "storage, in slots"


def test_asha_stops_all_but_one_in_so_many() -> None:
    work = Work("search", runs=81, stack=1, epochs=40, grace=4, factor=3)
    assert sorted(set(work.all_lengths)) == [4, 12, 36, 40]
    assert [work.all_lengths.count(length) for length in (4, 12, 36, 40)] == [54, 18, 6, 3]
