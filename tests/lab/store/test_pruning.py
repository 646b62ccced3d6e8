"""What `prune` takes of a study and what it leaves: by hand-made records, and by runs that are asked for again."""

from typing import Any

import numpy as np
import pytest

from dynonet.config import Config
from lab.results import main
from lab.store.objects.checksums import plain
from lab.store.objects.lease import Lease, LeaseHeld
from lab.store.objects.storage import Storage, StorageError
from lab.store.pruning import prune
from lab.store.schema import TABLES
from lab.store.tables import Results, ResultsError
from lab.training.readings import read_test
from lab.training.stack_run import StackRun
from lab.training.window_errors import keep_window_errors
from tests.tune.searched import Made, Searched, spread
from tune.findings.collect import findings_of
from tune.report import render
from tune.settings import Budget

BASE = {"data.dataset": "ETTh1", "data.pred_len": 96, "training.max_epochs": 6}
STACK = "checkpoints/{}/00000003.pt"


def runs_of(study: Searched, trial: str, role: str = "search") -> list[str]:
    rows = study.results.table("members", study.name).to_pylist()
    return [row["run"] for row in rows if (row["trial"], row["role"]) == (trial, role)]


def put(results: Results, *paths: str) -> None:
    for path in paths:
        results.put_blob(path, bytes(1000))


def files(results: Results) -> set[str]:
    """What there is, by names without checksums."""
    return {plain(path) for path in results.storage.list() if path.split("/")[0] not in ("leases", "artifacts")}


def on_record(results: Results) -> dict[str, list[dict[str, Any]]]:
    return {table: results.table(table).to_pylist() for table in TABLES}


@pytest.fixture
def study(store: Results) -> Searched:
    """Eight trials with an outcome, of which t00001 is the best and was retrained, and one that is in the middle of
    its training; with everything that a driver leaves beside its records, and more."""
    made = spread(8)
    study = Searched(store, Config.create(BASE)).add(*made, Made({**made[0].params, "model.dropout": 0.3}, state=None))
    study.finals("t00000", made[0].params, [0.7, 0.6]).finals("t00001", made[1].params, [0.3, 0.4]).linear(0.5, 0.6)
    for row in store.table("members").to_pylist():
        put(store, f"weights/{row['run']}.{'npz' if row['role'] == 'baseline' else 'pt'}")
        if row["role"] != "search":
            keep_window_errors(store, row["run"], np.full(500, 0.3))
    for row in store.runs().values():
        if row["status"] == "stopped":
            put(store, f"checkpoints/runs/{row['run']}/state.pt")
    put(store, STACK.format(StackRun.folder_of(runs_of(study, "t00008")).split("/")[1]))
    put(store, STACK.format(StackRun.folder_of(runs_of(study, "t00002")).split("/")[1]))  # ended, and all is on record
    put(store, STACK.format("f" * 20))  # of nobody that is known
    for run in runs_of(study, "t00003"):  # as it was called before names stated checksums
        for path in (f"weights/{run}.pt", f"checkpoints/runs/{run}.pt", f"test_windows/{run}.npy"):
            store.storage.put(path, b"old")
    return study


def test_what_a_search_needs_stays_and_its_report_is_the_same(study: Searched, capsys: Any) -> None:
    results = study.results
    before, records, page = files(results), on_record(results), render(findings_of(results, "mine"))
    assert main(["prune", "mine", "--results", results.storage.url, "--dry-run"]) == 0
    planned = capsys.readouterr().out
    assert files(results) == before and not results.storage.list("leases")
    assert main(["prune", "mine", "--results", results.storage.url]) == 0
    said = capsys.readouterr().out
    assert said.replace(" freed", "can go") == planned, "as the dry run said"
    gone = before - files(results)
    best, pending = runs_of(study, "t00001"), runs_of(study, "t00008")
    searched = {f"t{n:05d}": runs_of(study, f"t{n:05d}") for n in range(9)}
    freed = {f"weights/{run}.pt" for trial, ids in searched.items() for run in ids if trial not in ("t00001", "t00008")}
    superseded = runs_of(study, "t00000", "final")
    freed |= {f"weights/{run}.pt" for run in superseded} | {f"test_windows/{run}/blocks.npy" for run in superseded}
    freed |= {f"checkpoints/runs/{run}/state.pt" for trial in ("t00003", "t00007") for run in searched[trial]}
    freed |= {path for run in searched["t00003"] for path in (f"checkpoints/runs/{run}.pt", f"test_windows/{run}.npy")}
    freed.add(STACK.format(StackRun.folder_of(searched["t00002"]).split("/")[1]))
    assert gone == freed, "and nothing else"
    kept = {f"weights/{run}.pt" for run in (*best, *pending, *runs_of(study, "t00001", "final"))}
    assert kept | {"weights/linear.npz", "test_windows/linear/blocks.npy", STACK.format("f" * 20)} <= files(results)
    twice = len(searched["t00003"])  # weights by both names
    assert f"{len(freed) + twice} files" in said.splitlines()[-2] and "stays on record" in said
    assert on_record(results) == records and render(findings_of(results, "mine")) == page
    assert not prune(results, ["mine"]).freed, "a second time finds nothing"


def test_a_run_that_another_study_needs_stays(study: Searched) -> None:
    results = study.results
    (first, second), (third, fourth) = runs_of(study, "t00000"), runs_of(study, "t00003")
    other = Searched(results, study.base, "other", budget=Budget(replicates=2, grace_epochs=3, reduction_factor=2))
    other.add(Made(spread(4)[3].params, state=None))  # the trial that `mine` has stopped is pending there
    arms = [{"study": "arms", "role": "arm", "arm": arm, "cell": "main", "run": run}
            for arm, run in (("full", first), ("no_film", second))]  # fmt: skip
    results.add("members", arms)
    study.read_test(second, 0.4, "ablation arms")
    put(results, f"test_windows/{second}/mse.npy")
    prune(results, ["mine"])
    left = files(results)
    assert {f"weights/{run}.pt" for run in (first, third, fourth)} <= left
    assert {f"checkpoints/runs/{run}/state.pt" for run in (third, fourth)} <= left
    assert {f"weights/{second}.pt", f"test_windows/{second}/mse.npy"} <= left, "its sealed rows may yet be read"
    key = {"run": second, "attempt": 1, "split": "sealed", "metric": "mse", "value": 0.5, "windows": 9}
    results.add("evaluations", [key])
    prune(results, ["mine"])
    left = files(results)
    assert f"weights/{second}.pt" not in left, "an arm whose test and sealed rows are read needs its windows alone"
    assert f"test_windows/{second}/mse.npy" in left


def test_a_front_stays_on_every_storage(storage: Storage) -> None:
    store = Results(storage)
    budget = Budget(replicates=1, grace_epochs=2, reduction_factor=2, objectives=("val_mse", "parameters"))
    made = [Made({**spread(1)[0].params, "model.worker_hidden": 10 + n}, (0.5 + n,), parameters=100 - 10 * (n != 1) * n)
            for n in range(4)]  # fmt: skip
    study = Searched(store, Config.create(BASE), budget=budget).add(*made)
    for number in range(4):
        put(store, *(f"weights/{run}.pt" for run in runs_of(study, f"t{number:05d}")))
    assert len(prune(store, ["mine"]).freed) == 1
    assert f"weights/{runs_of(study, 't00001')[0]}.pt" not in files(store), "smaller models were better"


def test_a_driver_at_work_and_records_that_cannot_be_read_forbid_it(study: Searched, capsys: Any) -> None:
    results = study.results
    before = files(results)
    with Lease(results.storage, "mine"):
        assert main(["prune", "mine", "--results", results.storage.url]) == 2
        assert "study 'mine' is held by process" in capsys.readouterr().err and files(results) == before
        with pytest.raises(LeaseHeld):
            prune(results, ["mine"])
    with pytest.raises(ResultsError, match="unknown study 'min'; did you mean 'mine'"):
        prune(results, ["mine", "min"])
    results.storage.put("members/study=other/x-0123456789abcdef.parquet", b"no Parquet")
    with pytest.warns(UserWarning), pytest.raises(ResultsError, match="what is needed is not known for sure"):
        prune(results, ["mine"])
    assert files(results) - before == {"members/study=other/x-0123456789abcdef.parquet"} and before <= files(results)


def test_one_that_is_cut_short_goes_on(study: Searched, monkeypatch: pytest.MonkeyPatch) -> None:
    results = study.results
    planned = set(map(plain, prune(results, ["mine"], dry_run=True).freed))
    before, delete = files(results), results.storage.delete
    left = [5]

    def fails(path: str) -> None:
        if not path.startswith("leases"):
            left[0] -= 1
            if left[0] < 0:
                raise StorageError(5, "the connection is gone")
        delete(path)

    with monkeypatch.context() as patch:
        patch.setattr(results.storage, "delete", fails)
        with pytest.raises(StorageError):
            prune(results, ["mine"])
    assert 0 < len(before - files(results)) < len(planned)
    prune(results, ["mine"])
    assert before - files(results) == planned


def test_a_pruned_run_whose_test_is_asked_for_is_trained_once_more(store: Results, tiny: Config) -> None:
    configs = [tiny.override({"training.seed": seed, "training.max_epochs": 2}) for seed in (0, 1)]

    def train(**asked: Any) -> StackRun:
        stack = StackRun(store, configs, **asked)
        while stack.step().state == "running":
            pass
        return stack

    ids = train().ids
    before = store.runs()
    store.delete_blob(f"weights/{ids[0]}.pt")
    train()
    assert store.runs() == before, "a search needs the record alone"
    read_test(store, train(outlive_divergence=True).ids, "final")
    after = store.runs()
    assert [after[run]["attempt"] for run in ids] == [2, 1] and len(store.table("runs")) == 3
    assert after[ids[0]]["val_mse"] == pytest.approx(before[ids[0]]["val_mse"], rel=1e-6)
    read = store.of_runs("evaluations", ids).to_pylist()
    assert {row["run"] for row in read} == set(ids)
    for run in ids:
        store.delete_blob(f"weights/{run}.pt")
    train(outlive_divergence=True)
    assert store.runs() == after, "once read, weights are needed no more"
