"""Sealed rows: read once, when a study is judged, whatever is tried; a call that was killed goes on."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import lab.unsealing.reading
from ablations.findings.collect import findings_of
from ablations.findings.record import StudyRecord
from ablations.planning.plan import Work
from ablations.report import page_of
from ablations.reporting.console import verdict_lines
from ablations.reporting.sealed import sealed
from ablations.study.study import Study
from lab.arms import FULL
from lab.ledger.cache import ledger_file, read
from lab.ledger.content import SELDOM, marks_of
from lab.ledger.looks import INPUTS
from lab.ledger.sealed import inputs_read, read_before, told
from lab.pages.blocks import section
from lab.pages.page import Page
from lab.references.runs import record_bars, record_starts
from lab.results import main
from lab.series import load_series
from lab.series.bars import fit_linear
from lab.series.sealed import unsealed
from lab.settings.data import DataConfig
from lab.store.tables import Results
from lab.training.readings import load_weights, read_test
from lab.training.stack_run import StackRun
from lab.training.trainer import evaluate_weights
from lab.training.window_errors import window_errors
from tests.ablations.recorded import small_study

SEEDS = 7


class Killed(BaseException):
    """Nothing catches it."""


def study_of(name: str, origins: int = 2, **fields: Any) -> Study:
    own = {"data.synthetic.rows": 800, "data.sealed": 200, "training.max_epochs": 1, "model.trend_start": "closed_form"}
    baseline = small_study().baseline | own | fields
    return small_study(name=name, baseline=baseline, arms=["no_film"], seeds=SEEDS, origins=origins)


def trained(results: Results, study: Study, seeds: int = SEEDS) -> StudyRecord:
    """Everything of a study on record but its verdicts, as the command puts it there."""
    series = {cell: load_series(study.baseline_of(cell).data) for cell in study.cell_names}
    record = StudyRecord.begin(results, study.name, study, {cell: each.identity for cell, each in series.items()}, {})
    plan = Work.of(study, lambda data: load_series(data).identity, inert={}, train_inert=False, seeds=seeds)
    record.add_members(results, plan.runs)
    for cell in study.cell_names:
        record_bars(results, study.name, study.baseline_of(cell), series[cell], cell)
        for arm in (FULL, *study.table):
            configs = [study.config(cell, arm, seed) for seed in study.seed_list(seeds)]
            stack = StackRun(results, configs, series=series[cell])
            while stack.step().state == "running":
                pass
            read_test(results, stack.ids, f"ablation {study.name}", series=series[cell], study=study.name)
        for arm in (FULL, *(study.models)):
            configs = [study.config(cell, arm, seed) for seed in study.seed_list(seeds)]
            record_starts(results, study.name, configs, series[cell], cell)
    return record


def sealed_rows(results: Results) -> dict[str, dict[str, Any]]:
    rows = [row for row in results.table("evaluations").to_pylist() if row["split"] == "sealed"]
    assert len({(row["run"], row["metric"], row["channel"]) for row in rows}) == len(rows), "each once"
    return {row["run"]: row for row in rows if (row["metric"], row["channel"]) == ("mse", None)}


def looks_at_sealed() -> list[dict[str, Any]]:
    return [row for row in read().looks if row["split"] == "sealed"]


def test_a_study_is_unsealed_once(store: Results, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    def call(study: str, *more: str, place: str = store.storage.url) -> tuple[int, str]:
        code = main(["unseal", study, *more, "--results", place])
        said = capsys.readouterr()
        return code, said.out + said.err

    record = trained(store, study_of("mine"))
    code, said = call("mine")
    assert code == 2 and "cannot be unsealed yet: it is not judged yet" in said and not looks_at_sealed()
    record.add_judgement(store, SEEDS)
    before = shutil.copytree(store.storage.root, tmp_path / "before")

    # Killed in the middle: what it was to read stands on both ledgers, and the same command goes on.
    keep = lab.unsealing.reading.keep_window_errors
    done: list[str] = []

    def killed(results: Results, run: str, *rest: Any) -> None:
        keep(results, run, *rest)
        done.append(run)
        if len(done) == 5:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(lab.unsealing.reading, "keep_window_errors", killed)
        call("mine")
    assert len(sealed_rows(store)) == 4 and len(looks_at_sealed()) == 1
    ledger_file().unlink()  # it came between the two ledgers
    code, said = call("mine")
    assert code == 0 and "4 of them read already" in said and "no_film" in said and "linear baseline" in said

    # The latest origin alone: two arms, their starts, every bar that is there; right to the number.
    (look,) = looks_at_sealed()
    found, members = sealed_rows(store), store.table("members", "mine").to_pylist()
    assert set(found) == set(look["run_ids"]) == {row["run"] for row in members if row["cell"] == "main"}
    assert len(found) >= 3 * SEEDS + 3 and look["user"] and look["host"]
    assert [look[key] for key in ("read_for", "first", "end", "origin", "again")] == ["mine", 600, 800, 360, None]
    run = next(row["run"] for row in members if (row["cell"], row["arm"]) == ("main", "no_film"))
    config, weights = load_weights(store, store.runs([run])[run])
    opened = unsealed(config.data)
    with lab.unsealing.reading.open_look(opened, "sealed"):
        again = evaluate_weights(config, weights, opened, "sealed")
    kept = window_errors(store, run, "sealed")
    assert found[run]["value"] == again.mse[0].item() and found[run]["windows"] == 200 - 6 + 1
    assert kept is not None and torch.equal(torch.tensor(kept), again.mse_windows[0])
    assert len(looks_at_sealed()) == 1, "what a look was taken for is no other look"

    # The page: both effects side by side, what agrees, the errors of all that stood beside.
    findings = findings_of(store, "mine")
    assert findings.sealed is not None and findings.sealed.opened.again == ""
    (effect,) = findings.sealed.effects
    mine = {(row["arm"], store.runs([row["run"]])[row["run"]]["seed"]): found[row["run"]]["value"]
            for row in members if row["cell"] == "main" and row["role"] == "arm"}  # fmt: skip
    gaps = [100 * (mine["no_film", seed] - mine["full", seed]) for seed in range(1, SEEDS + 1)]
    full = np.mean([mine["full", seed] for seed in range(1, SEEDS + 1)])
    pairs = [(gaps[i] + gaps[j]) / 2 for i in range(SEEDS) for j in range(i, SEEDS)]
    assert effect.sealed == pytest.approx(np.median(pairs) / full) and effect.pairs == SEEDS
    assert effect.test == pytest.approx(findings.findings[-1].effects["test_mse"].percent)
    monkeypatch.setattr("ablations.reporting.sections.cell_by_cell", lambda findings: [])  # takes seconds to draw
    page = page_of(findings).markdown()
    assert "## On sealed rows" in page and "rows 600..800 of synthetic" in page and "before the first step" in page
    assert "sealed rows, read when all else was settled" in "\n".join(verdict_lines(findings))

    # A second reading is refused whatever it is called, wherever it lies: the same study, a copy of the results of
    # before, another study of fewer rows and channels.
    refused = "sealed rows are read once"
    code, said = call("mine")
    assert code == 2 and refused in said and look["user"] in said and "--again" in said
    assert refused in call("mine", place=str(before))[1]
    copy = str(tmp_path / "copy")
    assert main(["copy", "mine", "--to", copy, "--results", store.storage.url]) == 0
    capsys.readouterr()
    assert refused in call("mine", place=copy)[1]
    assert findings_of(Results(copy), "mine").sealed == findings.sealed, "a copy takes along what was read"
    other = study_of("other", origins=1, **{"data.sealed": 199, "data.channels": ["OT", "LULL"]})
    trained(store, other).add_judgement(store, SEEDS)
    assert refused in call("other")[1]
    assert len(looks_at_sealed()) == 1 and len(sealed_rows(store)) == len(found), "and nothing of it was read"

    # With a reason it is read, and that it is no first reading stands on the ledger and the page.
    assert call("other", "--again", " ")[0] == 2
    code, said = call("other", "--again", "to show that it can be done")
    assert code == 0 and "READ AGAIN, no confirmation: to show that it can be done (read before: " in said
    assert looks_at_sealed()[1]["again"].startswith("to show that it can be done (read before: ")
    told_again = section("On sealed rows", "sealed", sealed(findings_of(store, "other")))
    page = Page.of("other", "", [told_again], "").markdown()
    assert "had been read before" in page and "to show that it can be done" in page
    assert main(["ledger", "mine", "--results", store.storage.url]) == 0
    ledger = capsys.readouterr().out
    assert ", sealed, training ends at row 360" in ledger and "unseal mine" in ledger


def test_a_league_is_unsealed_each_run_by_its_own_model(store: Results, capsys: Any) -> None:
    baseline = study_of("mine").baseline
    models = {
        "near": {"model": "nlinear", "settings": {"data.seq_len": 24, "training.max_epochs": 1}},
        "own": {"model": "dynonet", "settings": {**baseline, "model.worker_hidden": 2}},
    }
    study = small_study(name="league", kind="models", arms=[], models=models, baseline=baseline, seeds=2)
    beside = study.config("main", "near")  # bars are known by their data, whoever was there first
    record_bars(store, "before", beside, load_series(beside.data))
    trained(store, study, 2).add_judgement(store, 2)
    assert main(["unseal", "league", "--results", store.storage.url]) == 0, capsys.readouterr()
    found, members = sealed_rows(store), store.table("members", "league").to_pylist()
    assert (
        set(found) == {row["run"] for row in members} and not np.isnan([row["value"] for row in found.values()]).any()
    )
    findings = findings_of(store, "league")
    page = Page.of("league", "", [section("On sealed rows", "sealed", sealed(findings))], "").markdown()
    assert "| near | " in page and "| before the first step | " in page and "| own before the first step | " in page
    assert findings.league is not None, "in the ranking, too, each model stands beside its own start"
    titles = {each.name: each.title for each in findings.league.entrants if each.kind == "start"}
    assert titles.keys() == {"start", "start of own"} and titles["start of own"].endswith("before the first step")


def test_rows_are_known_by_what_they_hold(store: Results, tmp_path: Path, monkeypatch: Any) -> None:
    data = DataConfig(synthetic={"rows": 2000}, sealed=500, seq_len=24, pred_len=6)
    opened = unsealed(data)
    assert opened.sealed is not None
    rows = opened.values[slice(*opened.sealed)]
    assert inputs_read(opened, (0, 1500), "a forecast") is None
    look = inputs_read(opened, (1490, 1520), "a forecast")
    assert look is not None and (look.split, look.first, look.end) == (INPUTS, 1500, 1520)
    assert read_before(store, rows) == [], "inputs of a forecast are no reading"

    # The last 400 rows as the test of a file, two columns of it in another order, as 32-bit numbers, renamed.
    whole = load_series(DataConfig(synthetic={"rows": 2000}, origin=1000, validation_rows=500, test_rows=500))
    frame = pd.DataFrame(whole.values[:, [5, 2]].astype(np.float32), columns=["x", "y"])
    frame.insert(0, "date", whole.timestamps)
    frame.to_parquet(tmp_path / "mine.parquet")
    file = load_series(DataConfig(dataset="csv", path=str(tmp_path / "mine.parquet")))
    fit_linear(file, data).evaluate(file, data, "test")
    (found,) = read_before(store, rows)
    assert (found["split"], found["dataset"]) == ("test", "mine") and found["look"] not in {look.look}
    assert "as test of mine" in told([found], store.storage.url)
    other = unsealed(DataConfig(synthetic={"rows": 2000, "seed": 1}, sealed=500, seq_len=24, pred_len=6))
    assert read_before(store, other.values[1500:]) == []
    # A direct call is on the ledger, too; and a few rows of one channel are known by a reading of all.
    fit_linear(opened, data).evaluate(opened, data, "sealed")
    assert looks_at_sealed()[-1]["purpose"] == "bar linear"
    assert len(read_before(store, rows[100:170, 3:4])) == 1 and {*marks_of(rows, SELDOM)} < {*marks_of(rows)}
