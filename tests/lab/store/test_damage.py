"""Flipped bits, cuts and kills: no damage passes for other rows, and a copy that was killed is finished by its command.

DYNONET_DAMAGES=N flips and cuts that many bits and ends instead of 2,000.
"""

import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dynonet.config import Config
from lab import results as results_command
from lab.store.files import is_segment
from lab.store.frames import history, load
from lab.store.objects.storage import Storage
from lab.store.schema import PARTITIONED, TABLES
from lab.store.tables import Results, run_params
from lab.training.window_errors import keep_window_errors, window_errors

ROOT = Path(__file__).parents[3]
DAMAGES = int(os.environ.get("DYNONET_DAMAGES", "2000"))
PARAMS = run_params(Config.create({}))


def fill(results: Results, runs: int = 4, study: str = "study") -> None:
    """Rows in every table, as a search leaves them, of so many runs."""
    look = {"series": "a", "split": "test", "origin": 9, "runs": 1}
    results.add("looks", [{**look, "look": f"{study}{number}"} for number in (1, 2)])
    for settings in ({"search": {}}, {"event": "judged"}):
        results.add("studies", [{"study": study, "settings": settings}])
    for number in range(runs):
        run, trial = f"{study}{number}", f"t{number}"
        reading = {"run": run, "attempt": 1, "split": "test", "purpose": "final", "windows": 9}
        lines = [{"run": run, "attempt": 1, "step": n, "metric": "val_mse", "value": number + 1 / n} for n in (1, 2, 3)]
        row = {**PARAMS, "run": run, "attempt": 1, "status": "complete", "model": "dynonet", "val_mse": 0.5 + number}
        results.add("history", lines)
        results.add(
            "evaluations", [{**reading, "metric": m, "value": v + number} for m, v in (("mse", 0.1), ("mae", 1))]
        )
        results.add("runs", [row])
        results.add("members", [{"study": study, "trial": trial, "role": "search", "run": run}])
        results.add("trials", [{"study": study, "trial": trial, "number": number, "event": "proposed", "params": "{}"}])
        results.add("events", [{"study": study, "kind": "resumed", "text": f"a driver went on with {trial}"}])
        keep_window_errors(results, run, np.full(20, number))


def saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def blobs(results: Results) -> dict[str, Any]:
    """Blobs of every kind: path -> how it is read."""

    def tensors(data: bytes) -> Any:
        return torch.load(io.BytesIO(data), weights_only=True)["weights"].tolist()

    def archive(data: bytes) -> Any:
        return np.load(io.BytesIO(data))["weight"].tolist()

    def array(data: bytes) -> Any:
        return np.load(io.BytesIO(data)).tolist()

    packed, plain = io.BytesIO(), io.BytesIO()
    np.savez(packed, weight=np.arange(30.0))
    np.save(plain, np.arange(30, dtype=np.float32))
    content = {
        "weights/r.pt": (saved({"weights": torch.arange(30.0)}), tensors),
        "weights/linear.npz": (packed.getvalue(), archive),
        "test_windows/r/mse.npy": (plain.getvalue(), array),
        "checkpoints/abc/00000001.pt": (saved({"weights": torch.arange(9.0)}), tensors),
        "checkpoints/runs/r/state.pt": (saved({"weights": torch.arange(9.0)}), tensors),
        "checkpoints/studies/s.json": (json.dumps([["a", "b"], ["c"]]).encode(), json.loads),
        "tracking/s/online/mark.json": (json.dumps({"last_step": 7}).encode(), json.loads),
    }
    return {results.put_blob(path, data): parse for path, (data, parse) in content.items()}


def damaged(data: bytes, chance: random.Random) -> bytes:
    """With a flipped bit, or cut at one end."""
    place = chance.randrange(len(data))
    if chance.random() < 0.7:
        return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]
    return data[:place] if chance.random() < 0.7 else data[place + 1 :]


def test_no_damage_passes_for_data(tmp_path: Path) -> None:
    """Every kind of file, alone and merged: it is named, nothing of it is read, and all else is as it was."""
    chance, outcomes = random.Random(18), Counter[str]()
    targets: list[tuple[Results, str, Any]] = []
    for merged in (False, True):
        results = Results(tmp_path / f"merged{merged}")
        fill(results)
        if merged:
            results.compact()
            fill(results, 1, "other")  # something beside it
        for table in TABLES:
            paths = [p for p in results.storage.list(table) if is_segment(p) == merged]
            targets.append((results, paths[0], None))
    results = Results(tmp_path / "blobs")
    targets += [(results, path, parse) for path, parse in blobs(results).items()]
    assert len(targets) == 23
    for results, path, parse in targets:
        place, table = Path(results.storage.full(path)), path.split("/")[0]
        whole = place.read_bytes()
        before = results.table(table).to_pylist() if parse is None else parse(whole)
        place.unlink()
        without = results.table(table).to_pylist() if parse is None else None
        assert len(without or []) < len(before)
        for _ in range(-(-DAMAGES // len(targets))):
            place.write_bytes(damaged(whole, chance))
            fresh = Results(results.storage.root)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = fresh.table(table).to_pylist() if parse is None else fresh.read_blob(path, parse)
            named = path in fresh.skipped
            outcomes["named" if named and found == without else "other rows" if found != before else "unseen"] += 1
        place.write_bytes(whole)
    print(f"flips and cuts: {dict(outcomes)}")
    assert set(outcomes) == {"named"} and outcomes.total() >= DAMAGES


def test_files_of_before_are_read_as_before(tmp_path: Path) -> None:
    """Their names state no checksum; compaction gives them one."""
    results = Results(tmp_path)
    fill(results)
    keep_window_errors(results, "study1", np.full(20, 7))
    whole = load("study", tmp_path).set_index("run")
    for number, path in enumerate(results.storage.list()):
        full = Path(results.storage.full(path))
        if path.endswith(".parquet"):
            full.rename(full.with_name(f"{full.stem[:-33]}{'-' * (len(full.stem) > 32)}{number:016x}.parquet"))
        elif "study0/" in path:
            full.rename(full.parent.with_suffix(".npy"))
    old = Results(tmp_path)
    assert load("study", tmp_path).set_index("run").equals(whole)
    assert len(old.of_runs("runs", ["study2"])) == 1 and (window_errors(old, "study0") == 0).all()
    assert (window_errors(old, "study1") == 7).all(), "the newest"
    assert old.compact() > 20 and load("study", tmp_path).set_index("run").loc[whole.index].equals(whole)
    assert all(len(Path(path).stem.rsplit("-", 1)[1]) == 32 for path in old.storage.list("runs"))


# Copies --------------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for SIGKILL: no handler in the code may catch it."""


def copy(source: Path, to: Path) -> int:
    return results_command.main(["copy", "study", "--results", str(source), "--to", str(to)])


def check_copy(source: Path, to: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All is there, once, and a further call has nothing to do."""
    for table in PARTITIONED:
        assert Results(to).table(table, "study").equals(Results(source).table(table, "study")), table
    assert load("study", to).equals(load("study", source))
    assert len(history("study", to)) == len(history("study", source)) > 0
    assert all(window_errors(Results(to), f"study{n}") is not None for n in range(4))
    capsys.readouterr()
    assert copy(source, to) == 0 and "up to date" in capsys.readouterr().out


def test_a_copy_killed_anywhere_is_finished_by_the_same_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    fill(Results(source))
    kills, put = 0, Storage.put
    for after in (False, True):  # the object that the kill befalls is not there, or is
        for step in range(1, 100):
            to = tmp_path / f"{after}{step}"
            made = [0]

            def stopping(
                self: Storage, *arguments: Any, made: Any = made, step: int = step, after: bool = after
            ) -> None:
                made[0] += 1
                if made[0] == step and not after:
                    raise Killed
                if made[0] > step:
                    raise Killed  # a dead process does nothing more in its other threads
                put(self, *arguments)
                if made[0] == step:
                    raise Killed

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Storage, "put", stopping)
                try:
                    copy(source, to)
                except Killed:
                    kills += 1
                else:
                    break
            assert results_command.main(["list", "--results", str(to)]) == 0, "a half copy can be looked at"
            assert copy(source, to) == 0
            check_copy(source, to, capsys)
            shutil.rmtree(to)
    assert kills == 22, "4 test windows and 7 tables, twice"


@pytest.mark.parametrize("call", [2, 9])
def test_a_copy_killed_for_real(tmp_path: Path, capsys: pytest.CaptureFixture[str], call: int) -> None:
    """SIGKILL before the file of a put gets its name."""
    source, to = tmp_path / "source", tmp_path / "to"
    fill(Results(source))
    code = (
        "import itertools, os, signal, sys; from lab import results as results_command\n"
        "replace, calls = os.replace, itertools.count(1)\n"
        f"die = lambda: next(calls) == {call} and os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.replace = lambda *paths: die() or replace(*paths)\n"
        "sys.exit(results_command.main(['copy', 'study', '--results', sys.argv[1], '--to', sys.argv[2]]))"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(source), str(to)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL and list(to.rglob(".tmp-*"))
    assert copy(source, to) == 0
    check_copy(source, to, capsys)


def test_a_copy_is_brought_up_to_date(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever was merged here or there meanwhile, and whatever is damaged."""
    source, to = tmp_path / "source", tmp_path / "to"
    results, kept = Results(source), Results(to)
    fill(results, 2)
    assert copy(source, to) == 0
    results.compact()
    results.add("runs", [{**PARAMS, "run": "study0", "attempt": 2, "status": "complete", "model": "dynonet"}])
    results.add("trials", [{"study": "study", "trial": "t0", "number": 0, "event": "outcome", "state": "failed"}])
    fill(results, 2, "another")
    assert copy(source, to) == 0 and "1 run copied" in capsys.readouterr().out
    kept.compact()
    for number in (2, 3):
        run = f"study{number}"
        results.add("runs", [{**PARAMS, "run": run, "attempt": 1, "status": "complete", "model": "dynonet"}])
        results.add("members", [{"study": "study", "trial": f"t{number}", "role": "search", "run": run}])
        keep_window_errors(results, run, np.full(20, number))
    assert copy(source, to) == 0
    check_copy(source, to, capsys)
    # What is damaged in the source is named, and stays whole in the copy.
    newest = Path(results.storage.full(results.storage.list("trials/study=study")[0]))
    newest.write_bytes(newest.read_bytes()[:-9])
    before = kept.table("trials", "study")
    assert copy(source, to) == 0
    assert f"{newest.name}: damaged" in capsys.readouterr().out and Results(to).table("trials", "study").equals(before)
    assert kept.studies() == ["study"]


def test_an_export_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(Results(tmp_path / "out"))
    target, out = tmp_path / "x.csv", ["--results", str(tmp_path / "out")]
    target.write_text("of before")

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(results_command.os, "replace", killed)
        results_command.main(["export", "study", "--csv", str(target), *out])
    assert target.read_text() == "of before" and sorted(os.listdir(tmp_path)) == ["out", "x.csv"]
    assert results_command.main(["export", "study", "--csv", str(target), *out]) == 0
    assert target.read_text().count("\n") == 5
    (tmp_path / "link.csv").symlink_to(target)
    assert results_command.main(["export", "study", "--csv", str(tmp_path / "link.csv"), *out]) == 0
    assert (tmp_path / "link.csv").is_symlink() and results_command.main(
        ["export", "study", "--csv", "/dev/null", *out]
    ) == 0
