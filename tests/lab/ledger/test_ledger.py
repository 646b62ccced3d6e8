"""The ledger of the data: every way to read test leaves its row, once, and nothing takes one away."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lab.baseline
import lab.train
from dynonet.config import Config
from dynonet.published.interface import Trainer, get_ett_dataloaders
from lab import results as results_command
from lab.ledger.cache import ledger_file, read
from lab.ledger.counting import counted, ledger_lines
from lab.ledger.looks import looking
from lab.references.runs import record_bars
from lab.series import load_series
from lab.series.bars import fit_linear
from lab.store.pruning import prune
from lab.store.tables import Results
from lab.training.readings import read_test
from lab.training.stack_run import StackRun
from lab.training.trainer import StackTrainer, evaluate_weights


def own() -> list[tuple[str, int, str | None]]:
    """(purpose, runs, study) of every look on the user's own ledger."""
    return [(row["purpose"], row["runs"], row["read_for"]) for row in read().looks]


def trained(store: Results, config: Config, seeds: int = 2) -> list[str]:
    stack = StackRun(store, [config.with_seed(seed) for seed in range(1, seeds + 1)])
    while stack.step().state == "running":
        pass
    return stack.ids


def test_every_call_that_reads_test_is_one_look(tiny: Config, store: Results, tmp_path: Path) -> None:
    tiny = tiny.override({"training.max_epochs": 1})
    series, settings = load_series(tiny.data), [f"{key}={value}" for key, value in tiny.flat().items() if value]
    small = [text for text in settings if text.split("=")[0] in ("data.seq_len", "data.pred_len", "training.max_epochs")
             or text.startswith(("model.worker", "model.control", "model.moving", "data.synthetic.rows"))]  # fmt: skip
    assert lab.baseline.main([*small, "--no-test"]) == 0 and own() == []
    assert lab.baseline.main(small) == 0
    assert lab.train.main([*small, "--seeds", "1,2", "--out", str(tmp_path / "a"), "--no-test"]) == 0
    assert lab.train.main([*small, "--seeds", "1,2", "--out", str(tmp_path / "a")]) == 0
    looks = [("baseline", 1, None), ("train", 3, None)]
    assert own() == looks, "two networks and the linear map beside them are one look"
    (run,) = StackTrainer([tiny], series).train()
    assert run.weights is not None
    evaluate_weights(tiny, run.weights, series, "validation")
    evaluate_weights(tiny, run.weights, series, "test")
    fit_linear(series, tiny.data).evaluate(series, tiny.data, "test")
    looks += [("evaluate_weights", 1, None), ("bar linear", 1, None)]
    assert own() == looks
    record_bars(store, "mine", tiny, series)
    record_bars(store, "other", tiny, series)  # on record, and not read again; three more need longer windows
    ids = trained(store, tiny)
    read_test(store, ids, "ablation mine", study="mine", command="as typed")
    read_test(store, ids, "curiosity")  # read before
    assert own() == [*looks, ("baseline", 3, "mine"), ("ablation mine", 2, "mine")]
    rows = store.table("looks").to_pylist()
    assert [(row["purpose"], row["runs"], row["run_ids"]) for row in rows][1] == ("ablation mine", 2, ids)
    assert {(row["series"], row["split"], row["origin"]) for row in rows} == {(series.identity, "test", 180)}
    assert rows[1]["command"] == "as typed" and all(row["user"] and row["host"] for row in rows)
    assert [row["look"] for row in rows] == [row["look"] for row in read().looks[-2:]], "one look, on both ledgers"


def test_the_published_interface_is_on_it(ett: Any, tmp_path: Path) -> None:
    ett("ETTh1")
    _, val, test = get_ett_dataloaders(seq_len=24, pred_len=4)
    next(iter(val))
    assert own() == []
    next(iter(test))
    assert own() == [("batches of the published interface", 1, None)]
    assert "look_at" in Path(sys.modules[Trainer.__module__].__file__ or "").read_text()


def test_both_counts_and_where_they_differ(tiny: Config, store: Results, tmp_path: Path, capsys: Any) -> None:
    series, other = load_series(tiny.data), Results(tmp_path / "other")
    for results, study in ((store, "mine"), (other, "yours"), (None, None)):
        with looking(series, "some purpose", runs=3, study=study, results=results):
            evaluations = fit_linear(series, tiny.data).evaluate(series, tiny.data, "test")
    assert evaluations.windows
    (found,) = counted(store)
    assert (len(found.here), found.across, len(found.elsewhere), found.of_others) == (1, 3, 2, [])
    assert "across stores: 3 looks (2 of them on your own ledger alone)" in "\n".join(ledger_lines(store))
    ledger_file().unlink()  # another user's, or another machine's
    assert results_command.main(["ledger", "--results", store.storage.url]) == 0
    assert "1 on the store's alone" in capsys.readouterr().out
    # A copy takes it along, whoever looked; pruning takes nothing; runs read before there was a ledger are said.
    store.add("members", [{"study": "mine", "role": "final", "run": ids} for ids in trained(store, tiny, 1)])
    store.add("studies", [{"study": "mine", "settings": json.dumps({"search": {"objectives": ["val_mse"]}})}])
    with looking(series, "somebody else's", results=store):
        pass
    old = {"attempt": 1, "split": "test", "metric": "mse", "purpose": "final", "windows": 9, "value": 0.5}
    store.add("evaluations", [{**old, "run": run} for run in store.runs()])
    kept = str(tmp_path / "kept")
    for _ in range(2):
        assert results_command.main(["copy", "mine", "--to", kept, "--results", store.storage.url]) == 0
    prune(store, ["mine"])
    for results in (store, Results(kept)):
        (found,) = counted(results, "mine")
        assert [row["purpose"] for row in found.here] == ["some purpose", "somebody else's"] and found.before == 1
    assert results_command.main(["ledger", "mien", "--results", kept]) == 2
    assert "did you mean 'mine'" in capsys.readouterr().err


def test_many_processes_one_ledger_and_none_that_can_be_written(tiny: Config, tmp_path: Path, caplog: Any) -> None:
    code = "import os\nfrom lab.ledger.cache import append\n"
    code += "for n in range(200): append({**ROW, 'look': f'{os.getpid()}-{n}'})"
    row = {"series": "s", "split": "test", "origin": 9, "runs": 1, "time": "2026-01-02T03:04:05+00:00", "x": "y" * 5000}
    started = [subprocess.Popen([sys.executable, "-c", code.replace("ROW", repr(row))]) for _ in range(3)]
    assert [process.wait() for process in started] == [0, 0, 0]
    with ledger_file().open("a") as file:
        file.write('\n{"look": "torn')  # by a full disk
    with looking(load_series(tiny.data), "after it"):
        pass
    lines = read()
    assert (len(lines.looks), lines.unread) == (601, 1) and lines.looks[-1]["purpose"] == "after it"
    os.environ["DYNONET_LEDGER_DIR"] = str(ledger_file())  # a file: nothing can be put below it
    with looking(load_series(tiny.data), "lost"):
        pass
    assert "is not on your own ledger" in caplog.text and "DYNONET_LEDGER_DIR" in caplog.text


@pytest.mark.parametrize("text", ["", "\n\n", "[]\n", '{"look": 1}\n', "\x00" * 9])
def test_a_ledger_of_nonsense_is_no_look(text: str) -> None:
    ledger_file().parent.mkdir(parents=True)
    ledger_file().write_text(text)
    assert read().looks == ()
