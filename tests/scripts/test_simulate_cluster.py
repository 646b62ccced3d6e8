"""The simulation of a cluster: nothing is lost in it, and where it leads is known at both ends."""

from dataclasses import asdict, replace

import pytest

from lab.store.tables import COMPACT_ABOVE
from scripts.scaling.model import LIMITS, STORES, Costs, Store, Work, simulate
from tune.methods.table import SHOWN

FREE = Costs(**dict.fromkeys(asdict(Costs()), 0.0))
NOWHERE = Store(put=0, get=0, delete=0, listing=0, name=0)
WORK = Work("study", runs=61, stack=2, epochs=5, epoch=1.0)  # 31 trials


@pytest.mark.parametrize("slots", [1, 7, 200])
@pytest.mark.parametrize("kind", ["search", "study"])
def test_every_trial_is_trained_once_and_every_second_of_a_slot_accounted_for(kind: str, slots: int) -> None:
    found = simulate(replace(WORK, kind=kind), slots, store=STORES["object"])
    assert found.trials == [1] * 31
    assert set(found.spent) == set(LIMITS) and min(found.spent.values()) >= -1e-9
    assert sum(found.spent.values()) == pytest.approx(slots * found.makespan)
    assert found.spent["GPUs"] == pytest.approx(sum(map(replace(WORK, kind=kind).length, range(31))))


def test_one_slot_takes_the_sum_of_all_parts() -> None:
    costs = replace(FREE, actor_start=7.0, actor=0.5, trial=0.3, begin=0.2, report=0.04, result=0.01, seal_per_run=0.6)
    costs = replace(costs, ask=9.0)  # of a trial that is stopped early, which none of a study is
    # A trial's start, its stack, five epochs each with its report handled, two runs sealed.
    trial = 0.3 + 0.2 + 5 * (1.0 + 0.04 + 0.01) + 2 * 0.6
    assert simulate(WORK, 1, costs, NOWHERE).makespan == pytest.approx(7.5 + 31 * trial)
    # Two reports a trial instead of five: of four epochs, and of the one left.
    assert simulate(replace(WORK, cadence=4), 1, costs, NOWHERE).makespan == pytest.approx(7.5 + 31 * (trial - 0.15))
    ended = simulate(WORK, 1, replace(FREE, snapshot_per_trial=0.1), NOWHERE)
    assert ended.makespan == pytest.approx(31 * 5.1) and ended.cpu == pytest.approx(3.1), "a snapshot at the end"


def test_proposals_take_longer_the_more_trials_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    work = replace(WORK, kind="search", grace=5)
    found = simulate(work, 1, replace(FREE, propose_per_trial=0.1), NOWHERE)
    # Beside each proposal but the first: the trials that have ended, and the one whose slot it is for.
    assert found.makespan == pytest.approx(31 * 5 + 0.1 * sum(ended + 1 for ended in range(1, 31)))
    monkeypatch.setitem(SHOWN, "tpe", 10)
    found = simulate(work, 1, replace(FREE, propose_per_trial=0.1), NOWHERE)
    assert found.makespan == pytest.approx(31 * 5 + 0.1 * sum(min(ended, 10) + 1 for ended in range(1, 31)))
    assert found.cpu == pytest.approx(found.busy) == pytest.approx(found.makespan - 31 * 5)


def test_reports_take_longer_the_more_trials_there_are() -> None:
    """One in three goes on at the rungs, of epochs 1 and 3; to the second as many trials have come by then."""
    search, costs = replace(WORK, kind="search", grace=5), replace(FREE, result_per_trial=0.1)
    assert simulate(search, 1, costs, NOWHERE).busy == pytest.approx(0.1 * 5 * sum(range(31)))
    search, costs = replace(search, grace=1, epochs=3), replace(FREE, rung_per_trial=0.1)
    assert simulate(search, 1, costs, NOWHERE).busy == pytest.approx(0.1 * (sum(range(31)) + sum(range(2, 31, 3)) / 3))


def test_a_stopped_trial_is_put_on_record_by_its_slot_and_the_driver_asks() -> None:
    work = replace(WORK, kind="search", grace=1, factor=100)  # none of 31 goes on after its first epoch
    found = simulate(work, 1, replace(FREE, close=0.5, close_per_run=0.25, ask=0.1), NOWHERE)
    assert found.makespan == pytest.approx(31 * (1 + 0.5 + 2 * 0.25 + 0.1)) and found.busy == pytest.approx(3.1)
    assert found.waited == pytest.approx(3.1) and sum(found.spent.values()) == pytest.approx(found.makespan)
    store = replace(NOWHERE, listing=0.1, put=0.01, delete=0.001)
    # Two records of its proposal; runs are looked for, and a checkpoint of the stack and two of each run; an epoch's
    # checkpoint takes the last one's place; then a checkpoint of each run, four files and two rows in two turns, and
    # the stack's checkpoints.
    seconds = 2 * 0.01 + (2 * 0.1 + 0.1 + 4 * 0.1) + 0.011 + (2 * 0.11 + 2 * 0.01 + 0.1 + 2 * 0.001)
    assert simulate(work, 1, FREE, store).makespan == pytest.approx(31 * (1 + seconds))


def test_the_loop_waits_for_records_on_a_file_system_alone() -> None:
    """A proposal, its runs, its outcome: three records of each of 31 trials."""
    work = replace(WORK, kind="search", grace=5)
    store = replace(NOWHERE, put=0.1, operations=1000.0)  # more than are asked of it
    alone, beside = (simulate(work, 1, FREE, replace(store, at_once=n)) for n in (1, 16))
    assert alone.busy == pytest.approx(31 * 3 * 0.1) and beside.busy == 0
    # A trial waits for the two of its proposal, for a checkpoint after each epoch, and for those of two runs at the
    # end: four files and two rows, in two turns.
    assert beside.makespan == pytest.approx(31 * (5 + 0.1 * (2 + 5 + 2)))
    assert alone.makespan == pytest.approx(31 * (5 + 0.1 * (5 + 6 + 3)))


def test_more_slots_take_less_time_down_to_what_the_driver_needs() -> None:
    costs, work = replace(FREE, result=0.1), replace(WORK, runs=4000)
    times = [simulate(work, slots, costs, NOWHERE).makespan for slots in (1, 2, 5, 20, 100, 1000)]
    assert times == sorted(times, reverse=True) and times[0] == pytest.approx(2000 * 5 * 1.1)
    # 10,000 reports of a tenth of a second, one after the other, and the first epoch before them.
    assert times[-1] == pytest.approx(1001)


@pytest.mark.parametrize(
    ("limit", "slots", "costs", "store"),
    [
        ("GPUs", 2, replace(FREE, result=0.1), NOWHERE),
        ("too few runs", 100_000, FREE, NOWHERE),
        ("driver", 1000, replace(FREE, result=0.1), NOWHERE),
        ("searcher", 1000, replace(FREE, propose=1.0), NOWHERE),
        ("storage", 1000, FREE, replace(NOWHERE, operations=10.0)),  # taken by all slots together
        ("storage", 1000, FREE, replace(NOWHERE, put=0.1, at_once=1)),  # within the driver, on a file system
        ("trials' own work", 2, replace(FREE, begin=30.0), NOWHERE),
        ("trials' own work", 1, replace(FREE, report=0.8), replace(NOWHERE, delete=0.2)),  # of less than half on GPUs
    ],
)
def test_what_limits_is_named(limit: str, slots: int, costs: Costs, store: Store) -> None:
    assert simulate(replace(WORK, kind="search", runs=4000, grace=1), slots, costs, store).limit == limit


def test_files_are_merged_as_the_search_goes() -> None:
    found = simulate(replace(WORK, runs=4000), 10, replace(FREE, compact_per_run=0.001), NOWHERE)
    assert 0.001 * (4000 - 2 * COMPACT_ABOVE) < found.cpu <= 0.001 * 4000 and found.busy == 0 == found.waited
    assert found.compaction == 0, "less is left than is worth it"
    slow = simulate(replace(WORK, runs=4000), 10, replace(FREE, compact_per_run=1.0), NOWHERE)
    assert slow.cpu < 2500 < slow.compaction, "one after the other: 400 runs, and when they are merged some 1,600"
    late = simulate(replace(WORK, runs=4000, compact_above=4000), 10, replace(FREE, compact_per_run=0.001), NOWHERE)
    assert late.compaction == pytest.approx(4.0) and late.cpu == 0


def test_a_store_gives_no_more_operations_than_it_has() -> None:
    found = simulate(replace(WORK, runs=4000), 1000, FREE, replace(NOWHERE, operations=100.0))
    # 5 epochs of a put and a delete; lookups; two runs sealed, read, cleared away: all of 2,000 trials.
    operations = 5 * 2 + (2 + 1 + 4 * 2) + (3 * 2 + 2 + 3) + (2 * 2 + 3 * 2)
    assert found.makespan == pytest.approx(2000 * operations / 100, rel=0.01)


def test_asha_stops_all_but_one_in_so_many() -> None:
    work = Work("search", runs=81, stack=1, epochs=40, grace=4, factor=3)
    lengths = [work.length(number) for number in range(81)]
    assert {length: lengths.count(length) for length in lengths} == {4: 54, 12: 18, 36: 6, 40: 3}
