"""A stack that was stopped, killed or cut off goes on from where it stood, to the same numbers."""

import contextlib
import logging
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dynonet.config import Config
from lab.errors import DataError
from lab.store.tables import Results, StorageError
from lab.training import stack_run
from lab.training.readings import load_weights
from lab.training.stack_run import KEPT_CHECKPOINTS, StackRun
from tests.lab.training.stacks import EARLY, attempts, checkpoints, named, numbers, seeds, train

KILLER = """
    import os, random, signal, sys, time
    from dynonet.config import Config
    from lab.compute.device import use_threads
    from lab.store.tables import Results
    from lab.training.stack_run import StackRun

    use_threads(1)
    out, *texts = sys.argv[1:]
    configs = [Config.from_json(text) for text in texts]
    chance = random.Random(5)
    kills = 0
    while True:
        child = os.fork()
        if not child:
            stack = StackRun(Results(out), configs)
            while stack.step().state == "running":
                pass
            os._exit(0)
        if kills < 5:
            deadline = time.monotonic() + chance.uniform(0.05, 1.0) * (kills + 1) / 3
            look = os.WEXITED | os.WNOHANG | os.WNOWAIT
            while time.monotonic() < deadline and os.waitid(os.P_PID, child, look) is None:
                time.sleep(0.005)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if status != signal.SIGKILL:
            sys.exit(f"{kills} {os.waitstatus_to_exitcode(status)}")
        kills += 1
"""


def test_done_runs_are_not_trained_again(store: Results, tiny: Config, epochs: Any) -> None:
    train(store, seeds(tiny, 1, 2))
    assert epochs == [(1, 2)] * 6
    before = store.storage.list()
    report = train(store, seeds(tiny, 1, 2))
    assert (report.state, report.epoch, len(epochs), store.storage.list()) == ("complete", 6, 6, before)
    assert report.value == pytest.approx(sum(row["val_mse"] for row in store.runs().values()) / 2)
    # A stack of some done and one new: only the new one is trained.
    report = train(store, seeds(tiny, 1, 2, 3))
    assert epochs[6:] == [(3,)] * 6 and report.state == "complete"
    values = [row["val_mse"] for row in store.runs().values()]
    assert report.value == pytest.approx(sum(values) / 3) and len(attempts(store)) == len(values) == 3


@pytest.mark.parametrize("moment", ["checkpoint", "history", "runs", "delete"])
def test_a_death_in_the_middle_of_writing(
    store: Results, tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Whatever the last write was, the next call goes on: no run twice, the same numbers."""
    configs = seeds(tiny, 1, 2, **{"training.max_epochs": 3})
    calm = Results(tmp_path / "calm")
    train(calm, configs)

    class Killed(BaseException):
        pass

    add, files, put, delete = Results.add, Results.files, Results.put_blob, type(store.storage).delete

    def before(kind: str, do: Any) -> Any:
        def wrapped(self: Any, name: str, *rest: Any, **more: Any) -> Any:
            if kind == moment and (kind == "checkpoint" or name.startswith((kind, "checkpoints/"))) and next(left) == 0:
                raise Killed
            return do(self, name, *rest, **more)

        return wrapped

    for count in range(4):
        left = iter(range(count, -1000, -1))
        with monkeypatch.context() as patch:
            patch.setattr(Results, "put_blob", before("checkpoint", put))
            patch.setattr(Results, "add", before("runs", add))
            patch.setattr(Results, "files", before("history", files))
            patch.setattr(type(store.storage), "delete", before("delete", delete))
            try:
                train(store, configs)
            except Killed:
                continue
    train(store, configs)
    assert numbers(store) == numbers(calm) and checkpoints(store) == []
    assert Counter(attempts(store).values()) == {"complete": 2} and {a for _, a in attempts(store)} == {1}


@pytest.mark.parametrize("moment", ["put", "delete"])
def test_a_death_while_a_stopped_stack_is_put_on_record(
    store: Results, tiny: Config, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Whatever was written last, who closes it next leaves each run on record as one attempt."""
    configs = seeds(tiny, 1, 2)
    train(store, configs, 2)

    class Killed(BaseException):
        pass

    whole = getattr(type(store.storage), moment)
    for count in range(9):
        left = iter(range(count, -1000, -1))

        def dying(self: Any, *arguments: Any, left: Iterator[int] = left, **more: Any) -> None:
            if next(left) == 0:
                raise Killed
            whole(self, *arguments, **more)

        with monkeypatch.context() as patch:
            patch.setattr(type(store.storage), moment, dying)
            with contextlib.suppress(Killed):
                StackRun(store, configs).close("stopped")
        if not store.storage.list(StackRun(store, configs).folder):
            break
    assert count >= 2 and set(attempts(store)) == {(run, 1) for run in store.runs()} and len(attempts(store)) == 2
    assert set(attempts(store).values()) == {"stopped"} and len(checkpoints(store)) == 2
    train(store, configs)
    assert Counter(attempts(store).values()) == {"stopped": 2, "complete": 2}


@pytest.mark.slow
def test_killed_at_any_moment_the_numbers_are_the_same_to_the_bit(store: Results, tiny: Config, tmp_path: Path) -> None:
    configs = seeds(tiny, 1, 2, 3, **{**EARLY, "training.max_epochs": 200, "training.patience": 90, "training.lr": 0.1})
    arguments = [store.storage.url, *(config.to_json() for config in configs)]
    command = [sys.executable, "-c", textwrap.dedent(KILLER), *arguments]
    said = subprocess.run(command, capture_output=True, text=True, timeout=300).stderr
    kills, code = map(int, said.split()[-2:])
    assert code == 0 and kills >= 3, said
    calm = Results(tmp_path / "calm")
    train(calm, configs)
    assert numbers(store) == numbers(calm) and checkpoints(store) == []
    assert set(attempts(store)) == {(run, 1) for run in store.runs()}, (
        "each run is one attempt, however often it was killed"
    )


def test_a_stopped_run_goes_on_from_its_own_checkpoint_in_another_stack(
    store: Results, tiny: Config, sha: str, tmp_path: Path, epochs: Any
) -> None:
    one, two, three = seeds(tiny, 1, 2, 3)
    train(store, [one, two], 2)
    closing = StackRun(store, [one, two])
    closing.close("stopped")
    assert set(attempts(store).values()) == {"stopped"} and len(checkpoints(store)) == 2
    rows = store.runs()
    assert {row["epochs"] for row in rows.values()} == {2} and all(
        row["val_mse"] and row["weights"] for row in rows.values()
    )
    del epochs[:]
    report = train(store, [three, two])  # another order, another neighbour
    # The least advanced goes first, till they stand side by side.
    assert Counter(epochs) == {(3,): 6, (2,): 4} and epochs[:3] == [(3,)] * 3
    assert (report.state, report.epoch) == ("complete", 6)
    assert attempts(store) == {
        (one.run_id(sha), 1): "stopped", (two.run_id(sha), 1): "stopped", (two.run_id(sha), 2): "complete",
        (three.run_id(sha), 1): "complete",
    }  # fmt: skip
    assert named(store) == [f"checkpoints/runs/{one.run_id(sha)}/state.pt"]
    calm = Results(tmp_path / "calm")
    train(calm, [two, three])
    mine, whole = numbers(store), numbers(calm)
    for config in (two, three):  # its neighbours are others, so float32 agrees to its last digits only
        found, expected = mine[config.run_id(sha)], whole[config.run_id(sha)]
        assert found["history"] == pytest.approx(expected["history"], rel=1e-3)
        assert (found["epochs"], found["best_epoch"]) == (6, expected["best_epoch"])


def test_stopped_runs_that_step_in_turns_go_on_side_by_side(store: Results, tiny: Config, tmp_path: Path) -> None:
    """Whatever the order they are asked for in: the stack's own order is not that of the modes alone."""
    unrolled = {"training.mode": "unrolled", "training.max_epochs": 3}
    configs = [tiny.override({**unrolled, "training.seed": seed, "training.unroll_every": every})
               for seed, every in ((1, 1), (2, 2), (3, 1))]  # fmt: skip
    train(store, configs, 1)
    StackRun(store, configs).close("stopped")
    train(store, configs)
    calm = Results(tmp_path / "calm")
    train(calm, configs)
    assert numbers(store) == numbers(calm)


def test_who_trained_a_run_is_said_by_the_checkpoint(
    store: Results, tiny: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that puts a stopped trial on record did not train it."""
    monkeypatch.setattr(stack_run, "host_name", lambda: "worker")
    train(store, seeds(tiny, 1, 2), 2)
    monkeypatch.setattr(stack_run, "host_name", lambda: "driver")
    StackRun(store, seeds(tiny, 1, 2)).close("stopped")
    rows = list(store.runs().values())
    assert {row["host"] for row in rows} == {"worker"} and {row["stack_size"] for row in rows} == {2}
    train(store, seeds(tiny, 1))
    assert {row["host"] for row in store.runs().values()} == {"driver", "worker"}


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    store: Results, tiny: Config, tmp_path: Path, epochs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    configs = seeds(tiny, 1, 2)
    train(store, configs, 4)
    found = checkpoints(store)
    assert [path.rsplit("/", 1)[1] for path in named(store)] == ["00000003.pt", "00000004.pt"]
    assert KEPT_CHECKPOINTS == 2
    newest = Path(store.storage.full(found[-1]))
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    del epochs[:]
    with caplog.at_level(logging.WARNING):
        train(store, configs)
    assert epochs == [(1, 2)] * 3 and f"{found[-1]} cannot be read and is passed over" in caplog.text
    calm = Results(tmp_path / "calm")
    train(calm, configs)
    assert numbers(store) == numbers(calm)
    # Both damaged: from the start.
    train(other := Results(tmp_path / "other"), configs, 4)
    for path in checkpoints(other):
        Path(other.storage.full(path)).write_bytes(b"")
    del epochs[:]
    train(other, configs)
    assert len(epochs) == 6 and numbers(other) == numbers(calm)


def test_a_power_cut_costs_no_more_than_a_second_or_an_epoch(
    store: Results, tiny: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One checkpoint that is surely on the disk is kept beside the newest ones, which may not be."""
    clock = [100.0]
    monkeypatch.setattr(stack_run.time, "monotonic", lambda: clock[0])
    forced: list[str] = []
    put = Results.put_blob

    def watched(self: Results, path: str, data: bytes, durable: bool = True) -> str:
        if durable and path.startswith("checkpoints/"):
            forced.append(Path(path).stem)
        return put(self, path, data, durable)

    monkeypatch.setattr(Results, "put_blob", watched)

    def steps(stack: StackRun, *seconds: float) -> list[str]:
        for second in seconds:
            clock[0] += second
            assert stack.step().state == "running"
        return [str(int(Path(path).stem)) for path in named(store)]

    stack = StackRun(store, seeds(tiny, 1, **{"training.max_epochs": 20, "training.patience": 20}))
    assert steps(stack, 0.4, 0.4) == ["1", "2"] and not forced
    assert steps(stack, 0.4, 0.4, 0.4) == ["3", "4", "5"] and forced == ["00000003"]
    again = StackRun(store, seeds(tiny, 1, **{"training.max_epochs": 20, "training.patience": 20}))
    assert steps(again, 0.4, 0.4) == ["5", "6", "7"], "what a resume began from is kept until the next"
    assert steps(again, 5.0, 5.0) == ["8", "9"] and forced[1:] == ["00000008", "00000009"]


def test_a_store_out_of_reach_is_not_taken_for_a_missing_checkpoint(
    store: Results, tiny: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(store, seeds(tiny, 1), 2)

    def broken(self: Results, path: str) -> bytes:
        raise StorageError(5, f"cannot read {path}: input/output error")

    monkeypatch.setattr(Results, "get_blob", broken)
    with pytest.raises(StorageError, match="input/output error"):
        StackRun(store, seeds(tiny, 1))


def test_a_failed_trial_keeps_its_error_and_its_checkpoint(store: Results, tiny: Config, epochs: Any) -> None:
    train(store, seeds(tiny, 1), 2)
    StackRun(store, seeds(tiny, 1)).close("failed", "boom")
    row = next(iter(store.runs().values()))
    assert (row["status"], row["error"], row["epochs"]) == ("failed", "boom", 2)
    del epochs[:]
    train(store, seeds(tiny, 1))
    assert len(epochs) == 4 and sorted(attempts(store).values()) == ["complete", "failed"]
    # One that never trained an epoch is on record all the same.
    StackRun(store, seeds(tiny, 7)).close("failed", "early")
    row = next(row for row in store.runs().values() if row["seed"] == 7)
    assert (row["status"], row["epochs"], row["val_mse"], row["weights"]) == ("failed", 0, None, None)
    with pytest.raises(DataError, match=f"run {row['run']} has no weights on record"):
        load_weights(store, row)
