"""A stack of runs on its way into the results: nothing trained twice, nothing lost, the same numbers to the bit."""

import logging
import os
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dynonet.config import Config
from dynonet.parts import SIGNALS
from lab.errors import DataError
from lab.machines.trainable import StackTrainable
from lab.machines.trial import TrialSpec
from lab.series import load_series
from lab.store.objects.checksums import plain
from lab.store.tables import Results, StorageError
from lab.training import readings, stack_run
from lab.training.readings import load_weights, read_test, unread
from lab.training.stack_run import KEPT_CHECKPOINTS, Report, StackRun
from lab.training.trainer import StackTrainer, evaluate_weights
from lab.training.window_errors import window_errors

EARLY = {"training.lr": 0.3, "training.patience": 1, "training.schedule": "constant", "training.max_epochs": 8}
HUGE = 1e30  # a learning rate that cannot go well


@pytest.fixture
def epochs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, ...]]]:
    """The seeds that took part in each epoch trained since."""
    trained: list[tuple[int, ...]] = []
    run_epoch = StackTrainer.run_epoch

    def counted(self: StackTrainer) -> None:
        trained.append(tuple(run.config.training.seed for run in self.running))
        run_epoch(self)

    monkeypatch.setattr(StackTrainer, "run_epoch", counted)
    yield trained


def seeds(config: Config, *numbers: int, **settings: Any) -> list[Config]:
    return [config.override({"training.seed": n, **settings}) for n in numbers]


def train(results: Results, configs: list[Config], steps: int | None = None) -> Report:
    """Steps of a trial: to its end, or so many."""
    stack = StackRun(results, configs)
    report = stack.step()
    while report.state == "running" and (steps is None or report.epoch < steps):
        report = stack.step()
    return report


def numbers(results: Results, attempt: int | None = None) -> dict[str, Any]:
    """Everything of the runs on record that a second training must give again."""
    found: dict[str, Any] = {}
    timings = ("cpu_seconds", "gpu_seconds", "wall_seconds", "peak_memory_bytes")
    for run, row in results.runs().items():
        assert attempt is None or row["attempt"] == attempt
        same = ("status", "epochs", "best_epoch", "val_mse", "val_mae", "val_mse_channels", "val_mae_channels")
        found[run] = {name: row[name] for name in same}
        _, weights = load_weights(results, row)
        found[run]["weights"] = {name: tensor.tolist() for name, tensor in weights.items()}
        history = [h for h in results.table("history").to_pylist() if (h["run"], h["attempt"]) == (run, row["attempt"])]
        steps = [(h["step"], h["metric"]) for h in history]
        assert len(steps) == len(set(steps)), "each step of an attempt once"
        found[run]["history"] = {(h["step"], h["metric"]): h["value"] for h in history if h["metric"] not in timings}
    return found


def attempts(results: Results) -> dict[tuple[str, int], str]:
    rows = results.table("runs").to_pylist()
    assert len({(r["run"], r["attempt"]) for r in rows}) == len(rows) == len(results.storage.list("runs"))
    return {(r["run"], r["attempt"]): r["status"] for r in rows}


def checkpoints(results: Results) -> list[str]:
    return results.storage.list("checkpoints")


def named(results: Results) -> list[str]:
    """The checkpoints, as they were called when they were written."""
    return [plain(path) for path in checkpoints(results)]


def test_a_stack_comes_to_its_end_and_is_on_record(store: Results, tiny: Config, sha: str, epochs: Any) -> None:
    configs = seeds(tiny, 1, 2, 3, **EARLY)
    report = train(store, configs)
    rows = store.runs()
    assert set(rows) == {c.run_id(sha) for c in configs} and {r["status"] for r in rows.values()} == {"complete"}
    ends = sorted(row["epochs"] for row in rows.values())
    assert ends[0] < ends[-1] == report.epoch == len(epochs), "one stops earlier than another"
    assert (report.state, checkpoints(store), set(attempts(store))) == ("complete", [], {(run, 1) for run in rows})
    history = store.table("history").to_pylist()
    for config in configs:
        row = rows[config.run_id(sha)]
        assert Config.from_json(row["config"]) == config and row["seed"] == config.training.seed
        assert (row["stack_size"], row["device"], row["data_sha256"], row["attempt"]) == (3, "cpu", sha, 1)
        assert row["host"] and row["versions"] and row["started"] < row["ended"] and row["cpu_seconds"] > 0
        mine = {h["step"]: h["value"] for h in history if h["run"] == row["run"] and h["metric"] == "val_mse"}
        assert (
            sorted(mine) == list(range(1, row["epochs"] + 1))
            and min(mine.values()) == row["val_mse"] == mine[row["best_epoch"]]
        )
        assert sum(row["val_mse_channels"]) / len(row["channels"]) == pytest.approx(row["val_mse"], rel=1e-5)
    size = StackTrainer(configs[:1], load_series(tiny.data)).stack.weights([0])[0]
    assert report.parameters == rows[configs[0].run_id(sha)]["parameters"] > 100 and size


def test_reports_are_the_mean_of_the_best_so_far_at_every_epoch(store: Results, tiny: Config, tmp_path: Path) -> None:
    configs = seeds(tiny, 1, 2, 3, **EARLY)
    stack = StackRun(store, configs)
    reports = [stack.step()]
    while reports[-1].state == "running":
        reports.append(stack.step())
    history = store.table("history").to_pylist()
    ends = [row["epochs"] for row in store.runs().values()]
    assert min(ends) < max(ends), "or this shows nothing"
    for number, report in enumerate(reports, 1):
        assert report.epoch == number and report.reports == reports[-1].reports[:number], "what was reported stays"
        best: dict[str, float] = {}
        for row in history:
            if row["metric"] == "val_mse" and row["step"] <= number:
                best[row["run"]] = min(best.get(row["run"], float("inf")), row["value"])
        assert report.value == pytest.approx(sum(best.values()) / 3, rel=1e-12) and report.reports[-1] == (
            number,
            report.value,
        )
    # Whoever resumes at any epoch says the same.
    other = Results(tmp_path / "other")
    for number in range(1, len(reports)):
        train(other, configs, number)
        assert StackRun(other, configs).report() == reports[number - 1]
    assert train(other, configs) == reports[-1]


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


@pytest.mark.slow
def test_killed_at_any_moment_the_numbers_are_the_same_to_the_bit(store: Results, tiny: Config, tmp_path: Path) -> None:
    configs = seeds(tiny, 1, 2, 3, **{**EARLY, "training.max_epochs": 20, "training.patience": 6, "training.lr": 0.1})
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


def test_a_diverged_replicate_ends_the_trial_and_spares_its_neighbours(store: Results, tiny: Config, sha: str) -> None:
    good, bad = seeds(tiny, 1, 2)
    bad = bad.override({"training.lr": HUGE})
    report = train(store, [good, bad])
    rows = store.runs()
    assert report.state == "pruned"
    assert rows[bad.run_id(sha)]["status"] == "diverged" and rows[good.run_id(sha)]["status"] == "stopped"
    stopped = rows[good.run_id(sha)]
    assert 0 < stopped["val_mse"] < 100 and stopped["weights"] and stopped["epochs"] == report.epoch
    assert report.value is None or 0 < report.value < float("inf")
    assert named(store) == [f"checkpoints/runs/{good.run_id(sha)}/state.pt"]
    # Asked for again: the diverged one is done, and the trial is pruned again without training it.
    again = train(store, [good, bad])
    assert again.state == "pruned" and attempts(store)[bad.run_id(sha), 1] == "diverged"
    assert (bad.run_id(sha), 2) not in attempts(store)
    # Alone, the neighbour goes on.
    assert train(store, [good]).state == "complete" and store.runs()[good.run_id(sha)]["epochs"] == 6


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


def test_the_series_can_be_handed_in_and_must_be_the_study_s(
    store: Results, tiny: Config, sha: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = load_series(tiny.data)
    monkeypatch.setattr(stack_run, "load_series", lambda data: pytest.fail("read again"))
    stack = StackRun(store, seeds(tiny, 1), series=series)
    assert stack.series is series and stack.ids == [seeds(tiny, 1)[0].run_id(sha)]
    spec = TrialSpec((tiny.to_json(),), "0" * 64, store.storage.url, trial="t0", provenance={"versions": "{}"})
    with pytest.raises(DataError, match=f"the data's identity is {sha}; the study's is 000"):
        StackTrainable(spec.to_dict()).step()
    assert store.runs() == {}


def test_an_actor_is_up_before_torch_is_imported() -> None:
    """Tune kills an actor that is still starting as soon as another falls free."""
    code = "import sys, lab.machines.trainable; assert 'torch' not in sys.modules and 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


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


def test_where_divergence_is_outlived_every_run_comes_to_its_own_end(store: Results, tiny: Config, sha: str) -> None:
    bad, good = seeds(tiny, 1, **{"training.lr": HUGE})[0], seeds(tiny, 2)[0]
    stack = StackRun(store, [bad, good], outlive_divergence=True)
    reports = [stack.step()]
    while reports[-1].state == "running":
        reports.append(stack.step())
    rows = store.runs()
    assert rows[bad.run_id(sha)]["status"] == "diverged" and rows[good.run_id(sha)]["status"] == "complete"
    assert [report.ended for report in reports] == [1] * (len(reports) - 1) + [2] and len(reports) == 6
    assert reports[-1].state == "complete" and not checkpoints(store)
    alone = Results(store.storage.root + "-alone")
    train(alone, [good])
    for name, tensor in load_weights(alone, alone.runs()[good.run_id(sha)])[1].items():
        torch.testing.assert_close(tensor, load_weights(store, rows[good.run_id(sha)])[1][name])
    # Asked for again: both are done.
    assert StackRun(store, [bad, good], outlive_divergence=True).step().state == "complete"


def test_what_a_signal_did_and_what_computed_it_are_on_record(store: Results, tiny: Config, sha: str) -> None:
    """Signals that get no gradient never moved, whether they were killed and resumed on the way or not."""
    config = seeds(tiny, 1, **{"signals.dropout_rate": 0.2, "training.lr": 0.02})[0]
    StackRun(store, [config]).advance()
    train(store, [config])
    row = store.runs()[config.run_id(sha)]
    ranges = {name.split(".")[1]: value for name, value in row.items() if name.startswith("signal_range.")}
    assert set(ranges) == set(SIGNALS)
    assert {name for name, value in ranges.items() if value > 0} == {"gate_masks", "input_noise"}
    assert all(value == 0 for name, value in ranges.items() if name not in ("gate_masks", "input_noise"))
    assert row["kernel"] == ("torch" if os.environ.get("DYNONET_KERNEL") == "torch" else "numba")


def test_best_weights_give_the_recorded_validation_error_again(store: Results, tiny: Config) -> None:
    train(store, seeds(tiny, 1, 2, **EARLY))
    series = load_series(tiny.data)
    for row in store.runs().values():
        config, weights = load_weights(store, row)
        assert config.training.seed == row["seed"]
        again = evaluate_weights(config, weights, series, "validation")
        assert again.mse[0].item() == pytest.approx(row["val_mse"], rel=1e-6)
        assert again.mae_channels[0].tolist() == pytest.approx(row["val_mae_channels"], rel=1e-6)


def test_test_is_read_once(store: Results, tiny: Config, sha: str, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = seeds(tiny, 1, 2)
    train(store, configs)
    splits: list[str] = []
    evaluate = readings.evaluate_weights
    monkeypatch.setattr(
        readings, "evaluate_weights", lambda c, w, s, split, d: (splits.append(split), evaluate(c, w, s, split, d))[1]
    )
    ids = [config.run_id(sha) for config in configs]
    read_test(store, ids[:1], "final")
    read_test(store, ids, "final")
    read_test(store, ids, "curiosity")
    assert splits == ["test", "test"]
    rows = store.table("evaluations").to_pylist()
    channels = store.runs()[ids[0]]["channels"]
    expected = {(run, 1, "test", m, c, "final") for run in ids for m in ("mse", "mae") for c in (None, *channels)}
    found = [(r["run"], r["attempt"], r["split"], r["metric"], r["channel"], r["purpose"]) for r in rows]
    assert set(found) == expected and len(found) == len(expected)
    # Beside the records: every window's error, whose mean is the reading.
    mean = {r["run"]: r["value"] for r in rows if r["metric"] == "mse" and r["channel"] is None}
    for run in ids:
        kept = window_errors(store, run)
        assert kept is not None and kept.shape == (rows[0]["windows"],) == (300 // 5 - 4 + 1,)
        assert float(kept.mean(dtype=float)) == pytest.approx(mean[run], rel=1e-6)
    assert window_errors(store, "unknown") is None and unread(store, ids) == {}
    series = load_series(tiny.data)
    again = evaluate_weights(*load_weights(store, store.runs()[ids[0]]), series, "test").mse[0].item()
    assert (
        next(r["value"] for r in rows if r["run"] == ids[0] and r["metric"] == "mse" and r["channel"] is None) == again
    )


def test_only_done_runs_are_read_on_test(store: Results, tiny: Config, sha: str) -> None:
    train(store, seeds(tiny, 1), 2)
    StackRun(store, seeds(tiny, 1)).close("stopped")
    bad = tiny.override({"training.lr": HUGE})
    train(store, [bad])
    read_test(store, [seeds(tiny, 1)[0].run_id(sha), "unknown"], "final")
    assert store.table("evaluations").num_rows == 0


def test_a_trial_as_tune_runs_it(store: Results, tiny: Config, sha: str) -> None:
    texts = [config.to_json() for config in seeds(tiny, 1, 2)]
    provenance = {"git_commit": "abc", "git_dirty": True, "versions": "{}"}
    spec = TrialSpec(tuple(texts), sha, store.storage.url, "s", provenance=provenance, trial="t0")
    settings = spec.to_dict()
    actor = StackTrainable(settings)
    first = actor.step()
    assert (first["epoch"], first["state"], first["done"], len(first["reports"])) == (1, "running", False, 1)
    # The actor is used again for another trial, then for this one: it goes on.
    assert actor.reset_config({**settings, "configs": texts[:1]}) and actor.step()["epoch"] == 1
    assert actor.reset_config(settings) and actor.step()["epoch"] == 2
    while not (last := actor.step())["done"]:
        pass
    assert (last["epoch"], last["state"], last["value"]) == (6, "complete", last["reports"][-1][1])
    assert last["ended"] == 2 and store.table("evaluations").num_rows == 0, "a search does not see test"
    assert actor.reset_config({**settings, "test_purpose": "an arm"}) and actor.step()["done"]
    assert {row["purpose"] for row in store.table("evaluations").to_pylist()} == {"an arm"}
    assert {row["git_commit"] for row in store.runs().values()} == {"abc"} and torch.get_num_threads() == 1
    actor.cleanup()
