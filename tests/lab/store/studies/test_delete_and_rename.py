"""Studies are deleted and renamed as wholes, and a kill at any moment is finished by the same command."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.ledger.cache import read as read_own
from lab.results import main
from lab.store.objects.checksums import plain
from lab.store.objects.lease import Lease
from lab.store.objects.storage import Storage
from lab.store.studies.begun import check_whole
from lab.store.studies.deleting import delete
from lab.store.studies.renaming import rename
from lab.store.tables import Results, ResultsError
from tests.lab.store.rows import a_run

TABLES = ("runs", "history", "evaluations", "members", "trials", "events", "studies", "looks")


def filled(folder: Path) -> Results:
    """Studies `mine` and `theirs`, which share run `both`; `old` was read on test before there was a ledger."""
    store = Results(str(folder))
    for run in ("one", "old", "both", "far"):
        trained_for = "theirs" if run == "far" else "mine"
        store.add("runs", [a_run(run, val_mse=0.5, trained_for=trained_for, data_sha256="s")])
        store.add("history", [{"run": run, "attempt": 1, "step": 1, "metric": "val_mse", "value": 0.5}])
        reading = {"run": run, "attempt": 1, "split": "test", "metric": "mse", "value": 0.4, "windows": 9}
        store.add("evaluations", [reading | {"purpose": f"ablation {trained_for}"}])
        store.put_blob(f"weights/{run}.pt", run.encode())
    looked = {"series": "s", "split": "test", "origin": 9, "runs": 1}
    store.add("looks", [
        looked | {"look": "l1", "read_for": "mine", "purpose": "verdicts of ablation mine at 2 seeds",
                  "run_ids": ["one", "both"]},
        looked | {"look": "l2", "read_for": "theirs", "purpose": "ablation theirs", "run_ids": ["far"]},
    ])  # fmt: skip
    for study, runs in (("mine", ("one", "old", "both")), ("theirs", ("both", "far")), ("mine.retune.a.b", ())):
        settings = {"kind": "x", "before": [{"study": "mine", "store": ""}, {"study": "mine", "store": "s3://else"}]}
        store.add("studies", [{"study": study, "settings": json.dumps(settings)}])
        store.add("events", [{"study": study, "kind": "resumed", "text": "it went on"}])
        store.add("members", [{"study": study, "role": "arm", "arm": "full", "run": run} for run in runs])
    store.storage.put("artifacts/mine/best.yaml", b"a: 1")
    store.storage.put("artifacts/mine.retune.a.b/best.yaml", b"a: 2")
    store.storage.put("optuna/mine.journal", b"j")
    store.put_blob("checkpoints/studies/mine.json", b"[]")
    return store


def told(store: Results) -> dict[str, Any]:
    """All that is on record, whatever files it lies in, and what lies beside the tables."""
    fresh = Results(store.storage)
    rows = {
        table: sorted(json.dumps(row, default=str, sort_keys=True) for row in fresh.table(table).to_pylist())
        for table in TABLES
    }
    assert not fresh.skipped
    tables = (*(f"{table}/" for table in TABLES), "leases/")
    rows["files"] = sorted(plain(path) for path in store.storage.list() if not path.startswith(tables))
    return rows


def killed_at(each: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """From that write or deletion on none gets through, but for those of leases; returns how many there were."""
    count = 0

    def dying(name: str) -> None:
        whole = getattr(Storage, name)

        def counted(self: Storage, path: str, *args: Any, **more: Any) -> Any:
            nonlocal count
            if not path.startswith("leases/"):
                count += 1
                if count >= each:
                    raise KeyboardInterrupt(path)
            return whole(self, path, *args, **more)

        monkeypatch.setattr(Storage, name, counted)

    dying("put")
    dying("delete")
    return lambda: count


def deleted(store: Results) -> None:
    delete(store, ["mine"])


def renamed(store: Results) -> None:
    rename(store, "mine", "ours")


@pytest.mark.parametrize("compacted", [False, True])
def test_what_goes_and_what_stays(tmp_path: Path, compacted: bool) -> None:
    store = filled(tmp_path)
    before = told(store)
    if compacted:
        store.compact()
    deleted(store)
    after = told(store)
    assert after["looks"] == before["looks"], "the ledger stays"
    runs = {row["run"] for row in Results(store.storage).table("runs").to_pylist()}
    assert runs == {"both", "far", "old"}, "`old` was read on test, and no look tells of it"
    assert Results(store.storage).studies() == ["theirs"]
    assert after["files"] == ["weights/both.pt", "weights/far.pt"]
    assert {row["run"] for row in Results(store.storage).table("history").to_pylist()} == runs


@pytest.mark.parametrize("compacted", [False, True])
def test_whatever_names_it_follows(tmp_path: Path, compacted: bool) -> None:
    store = filled(tmp_path)
    if compacted:
        store.compact()
    renamed(store)
    after = Results(store.storage)
    assert after.studies() == ["ours", "ours.retune.a.b", "theirs"]
    looks = {row["look"]: row for row in after.table("looks").to_pylist()}
    assert (looks["l1"]["read_for"], looks["l1"]["purpose"]) == ("ours", "verdicts of ablation ours at 2 seeds")
    assert (looks["l2"]["read_for"], looks["l2"]["purpose"]) == ("theirs", "ablation theirs")
    purposes = {row["run"]: row["purpose"] for row in after.table("evaluations").to_pylist()}
    assert purposes == {**dict.fromkeys(("one", "old", "both"), "ablation ours"), "far": "ablation theirs"}
    assert {r["run"]: r["trained_for"] for r in after.table("runs").to_pylist()}["one"] == "ours"
    other = json.loads(after.table("studies", "theirs").to_pylist()[0]["settings"])["before"]
    assert [each["study"] for each in other] == ["ours", "mine"], "of another store the name is another's"
    files = told(store)["files"]
    assert {"artifacts/ours/best.yaml", "artifacts/ours.retune.a.b/best.yaml", "checkpoints/studies/ours.json"} <= {
        *files
    }
    assert not [path for path in files if "mine" in path]


@pytest.mark.parametrize("work", [deleted, renamed])
def test_a_kill_at_any_moment_is_finished_by_the_same_command(
    tmp_path: Path, work: Callable[[Results], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = filled(tmp_path / "whole")
    with monkeypatch.context() as patch:
        count = killed_at(10_000, patch)
        work(whole)
        steps = count()
    wanted = told(whole)
    assert steps > 15
    for each in range(1, steps + 1, 3):
        store = filled(tmp_path / str(each))
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            killed_at(each, patch)
            work(store)
        if store.storage.list("upkeep"):
            with pytest.raises(ResultsError, match="was not finished; finish it first: "):
                check_whole(store, "mine")
        store.compact()  # which nothing keeps from running meanwhile
        work(Results(store.storage))
        found, keys = told(store), ("members", "evaluations", "files")
        assert {k: len(v) for k, v in found.items()} == {k: len(v) for k, v in wanted.items()}, each
        without_times = [[json.loads(t) | {"time": 0} if t[0] == "{" else t for t in kind[k]]
                         for kind in (found, wanted) for k in keys]  # fmt: skip
        assert without_times[:3] == without_times[3:], each


def test_refusals_and_questions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path)
    before, place = told(store), ("--results", str(tmp_path))
    with Lease(store.storage, "mine"):
        assert main(["delete", "mine", "--yes", *place]) == 2 and main(["rename", "mine", "ours", *place]) == 2
    assert "is held by process" in capsys.readouterr().err
    assert main(["delete", "mine", *place]) == 2
    assert "nobody can be asked here; add --yes" in capsys.readouterr().err
    assert main(["delete", "mien", "--yes", *place]) == 2
    assert "unknown study 'mien'; did you mean 'mine'?" in capsys.readouterr().err
    assert main(["rename", "mine", "theirs", *place]) == 2 and "'theirs' is taken" in capsys.readouterr().err
    assert main(["rename", "mine", "1st", *place]) == 2 and "a letter first" in capsys.readouterr().err
    assert main(["delete", "mine", "--dry-run", *place]) == 0 and told(store) == before
    assert main(["rename", "mine", "ours", *place]) == 0
    assert "study mine is called ours now" in capsys.readouterr().out
    assert main(["delete", "ours", "--yes", *place]) == 0
    assert "other studies have 1 run of it, too, which stay" in capsys.readouterr().out
    assert not read_own().unread
