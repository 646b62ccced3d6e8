"""The report of a search: from records put there by hand, the same numbers in every file, the same bytes twice."""

import csv
import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dynonet.config import Config
from lab.errors import ConfigError
from lab.pages.formats import brief, mean_deviation
from lab.references.measured import Measured
from lab.references.standing import Standing
from lab.store.events import SHOWN, record_event
from lab.store.tables import Results, ResultsError
from lab.training.window_errors import keep_window_errors
from tests.html_page import Page, without_script
from tests.tune import searched
from tests.tune.searched import SPACE, Made, Searched
from tune import report
from tune.conclusion import comparison_table, scores_of
from tune.findings.analysis import LEAST_COMPLETE, rung_epochs
from tune.findings.collect import findings_of
from tune.findings.findings import COMPLETE, DIVERGED, FAILED, STOPPED, UNFINISHED, SearchFindings
from tune.report import render
from tune.reporting import figures
from tune.reporting.figures import quoted
from tune.reporting.sections import comparisons
from tune.settings import Budget

BASE = {"data.dataset": "ETTh1", "data.pred_len": 96, "training.max_epochs": 6}
NASTY = 'x\nRuntimeError: <script>alert("&")</script> | _a_ *b*'


def markdown_rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|") and not re.match(r"\| :?--", line)]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def csv_rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture
def begin(store: Results) -> Callable[..., Searched]:
    def start(settings: dict[str, Any] | None = None, **more: Any) -> Searched:
        return Searched(store, Config.create({**BASE, **(settings or {})}), **more)

    return start


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """A search with everything in it: 24 trials as usual, a failure, a divergence, a repetition, one unfinished."""
    study = Searched(Results(tmp_path_factory.mktemp("full") / "out"), Config.create(BASE))
    study.add(*searched.spread(24))
    params = searched.spread(1)[0].params
    study.add(
        Made({**params, "model.dropout": 0.2}, (0.9, 0.9), "failed", 3, NASTY),
        Made({**params, "model.dropout": 0.3}, (None, 0.7), "stopped", 2, diverged=True),
        Made(params, (0.8, 0.8), "stopped", 2),
        Made({**params, "model.dropout": 0.21}, state=None),
    )
    return study.finals("t00001", searched.spread(2)[1].params, (0.40, 0.42, 0.41)).linear(0.5, 0.405)


@pytest.fixture(scope="module")
def findings(full: Searched) -> SearchFindings:
    return findings_of(full.results, "mine")


@pytest.fixture(scope="module")
def files(findings: SearchFindings) -> dict[str, str]:
    return render(findings)


def test_every_part_is_there(findings: SearchFindings, files: dict[str, str]) -> None:
    outcomes = {trial.trial: trial.outcome for trial in findings.trials}
    assert [list(outcomes.values()).count(name) for name in (COMPLETE, STOPPED)] == [18, 7]
    assert [outcomes[f"t000{n}"] for n in (24, 25, 26, 27)] == [FAILED, DIVERGED, STOPPED, UNFINISHED]
    assert findings.best is not None and findings.best.trial == "t00001"
    assert [t.trial for t in findings.improvements] == ["t00000", "t00001"]
    assert findings.repeated == (("t00000", "t00026"),)
    assert {edge.path: edge.end for edge in findings.edges} == {"model.worker_hidden": "upper"}
    assert [(r.epoch, r.reached, r.stopped) for r in findings.rungs] == [(2, 26, 4), (4, 21, 3)]
    assert sum(findings.importance.shares.values()) == pytest.approx(1)
    assert set(findings.importance.shares) == set(SPACE), "conditional settings too"
    costs = {cost.of: cost for cost in findings.costs}
    assert (costs[COMPLETE].epochs, costs[COMPLETE].all_epochs) == (18 * 12, 18 * 12)
    assert costs[STOPPED].epochs < costs[STOPPED].all_epochs == 7 * 12
    assert costs["final replicates"].runs == 3 and costs["bars"].runs == 1

    page = Page(files["report.html"])
    assert page.drawings == 5 and len(set(page.ids)) == len(page.ids)
    assert page.table("rung", "epoch")[0]["stopped there"] == "4"
    assert page.table("conditional setting")[0]["trials that drew it"] == str(
        sum("training.controller_lr_ratio" in trial.params for trial in findings.trials)
    )
    assert [row["trial"] for row in page.table("trial", "error, its last line")] == ["t00024"]
    for text in (
        "t00025 a run of it diverged", "t00000 and t00026 have the same settings.", "1 trial has no outcome yet",
        "DynoNet (published), quoted", "optuna-dashboard optuna/mine.journal", "PED-ANOVA", "a backdrop",
        "were saved",
    ):  # fmt: skip
        assert text in page.text, text


def test_what_a_league_measured_stands_beside_what_is_quoted(findings: SearchFindings) -> None:
    errors = {"val_mse": (0.7, 0.7), "test_mse": (0.38, 0.40), "test_mae": (0.5, 0.5)}
    found = (Measured("PatchTST (authors)", "rivals", errors, 3, 99_000), Measured("Own", "rivals", errors, 2, 50))
    files = render(replace(findings, measured=found))
    page = Page(files["report.html"])
    rows = {row["model"]: row for row in page.table("model", "validation MSE")}
    assert rows["PatchTST (authors), measured"]["test MSE"] == "0.3900 ± 0.0141"
    assert (rows["PatchTST (authors), measured"]["runs"], rows["Own, measured"]["runs"]) == ("2 of 3", "2")
    assert rows["PatchTST, quoted"]["test MSE"] == "0.414" and "measured is of rivals" in page.text
    assert "quoted test MSE" in files["report.html"] and "measured in a league" in files["report.html"]
    assert "PatchTST" not in [model.name for model in quoted(replace(findings, measured=found))]
    table = comparison_table([], Standing(), Config.create({"data.dataset": "ETTh1"}), found)
    assert any(line.startswith("PatchTST (authors), measured ") and "0.3900 ± 0.0141" in line for line in table)
    assert any(line.startswith("PatchTST, quoted ") for line in table)


def test_each_error_of_the_final_replicates_stands_in_its_column(tiny: Config, store: Results) -> None:
    """In a terminal, as the command ends: validation, test MSE, test MAE."""
    Searched(store, tiny).finals("t00000", {}, [0.7, 0.9])
    finals = [row["run"] for row in store.table("members", "mine").to_pylist() if row["role"] == "final"]
    (header, line) = comparison_table([scores_of(store, "best config", finals)], Standing(), tiny)[:2]
    numbers = ["0.7000 ± 0.1414", "0.8000 ± 0.1414", "0.9000 ± 0.1414"]
    assert re.split(r"\s{2,}", line) == ["best config", *numbers, "7,400"]
    for title, number in zip(("validation MSE", "test MSE", "test MAE"), numbers, strict=True):
        assert header.index(title) + len(title) == line.index(number) + len(number)


def test_the_files_hold_one_set_of_numbers(findings: SearchFindings, files: dict[str, str]) -> None:
    page, rows = Page(files["report.html"]), markdown_rows(files["report.md"])
    assert [row for table in page.tables for row in table] == [
        [cell.replace("\\", "").replace("&lt;", "<").replace("&amp;", "&") for cell in row] for row in rows
    ]
    table = {row["trial"]: row for row in csv_rows(files["trials.csv"])}
    assert list(table) == [trial.trial for trial in findings.trials]
    for row in page.table("trial", "outcome"):
        exact = table[row["trial"]]
        assert row["outcome"] == exact["outcome"] and row["parameters"] == f"{int(exact['parameters']):,}"
        assert row["validation MSE"] == mean_deviation(float(exact["val_mse"]), float(exact["val_mse_deviation"]))
        assert row["epochs"] == exact["last_epoch"]
        assert row["dropout"] == brief(float(exact["model.dropout"]))
        assert row["worker_hidden"] == exact["model.worker_hidden"]
    assert float(table["t00001"]["val_mse"]) == findings.trials[1].optuna.value
    assert table["t00027"]["val_mse"] == table["t00027"]["val_mse_deviation"] == table["t00027"]["parameters"] == ""
    final = next(row for row in page.table("model", "validation MSE") if row["model"] == "final replicates")
    assert (final["test MSE"], final["test MAE"], final["runs"]) == ("0.4100 ± 0.0100", "0.5100 ± 0.0100", "3")


def test_the_same_bytes_twice_and_no_address(full: Searched, files: dict[str, str]) -> None:
    assert render(findings_of(Results(full.results.storage.url), "mine")) == files
    page = Page(files["report.html"])
    assert page.addresses and all(address.startswith("#") for address in page.addresses)
    assert not re.findall(r"""(?:url\(|@import|src=)["']?(?!#)""", files["report.html"])
    addresses = set(re.findall(r"https?://[^\s\"'<)]+", files["report.html"]))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}, "names, not addresses"


def test_what_is_recorded_stays_text(begin: Callable[..., Searched]) -> None:
    study = begin({"data.dataset": "csv", "data.path": "<b>&_$x_$.csv"})
    study.add(*searched.spread(2), Made({**searched.spread(1)[0].params, "model.dropout": 0.2}, (), "failed", 0, NASTY))
    files = render(findings_of(study.results, "mine"))
    page = Page(files["report.html"])
    assert files["report.html"].count("<script") == 1 and "<b>" not in without_script(files["report.html"])
    assert page.table("trial", "error, its last line")[0]["error, its last line"] == NASTY.splitlines()[-1]
    assert 'RuntimeError: &lt;script>alert("&amp;")&lt;/script> \\| \\_a\\_ \\*b\\*' in files["report.md"]
    assert csv_rows(files["trials.csv"])[2]["error"] == NASTY.splitlines()[-1]
    assert "quoted" not in page.text, "the published table is about ETTh1"


def test_off_and_nought_are_two_choices_on_every_page(begin: Callable[..., Searched]) -> None:
    specs = {
        "signals.gate_masks": {"choice": [0.0, False, True]}, "model.film": {"choice": [True, False]},
        "model.dropout": {"float": [0.0, 0.4]},
    }  # fmt: skip
    study = begin(specs=specs)
    masks, switches = (0.0, False, True), (True, False)
    study.add(*(
        Made({"signals.gate_masks": masks[n % 3], "model.film": switches[n % 2], "model.dropout": 0.02 * n},
             [(0.3 if masks[n % 3] is False else 0.9) + n / 1000] * 2) for n in range(18)
    ))  # fmt: skip
    findings = findings_of(study.results, "mine")
    assert findings.best is not None and findings.best.params["signals.gate_masks"] is False
    assert next(iter(findings.importance.shares)) == "signals.gate_masks" and not findings.edges
    assert findings.importance.shares["signals.gate_masks"] > 0.5
    page = Page(render(findings)["report.html"])
    best = {row["setting"]: (row["best"], row["searched"]) for row in page.table("setting", "best")}
    assert best["signals.gate_masks"] == ("off", "choice: 0.0, off, on")
    trials = page.table("trial", "outcome")
    assert [row["gate_masks"] for row in trials[:6]] == ["off"] * 6 and {row["film"] for row in trials} == {
        "true", "false"
    }  # fmt: skip


def test_a_page_says_where_the_controller_learned_from_validation(begin: Callable[..., Searched]) -> None:
    """Whatever the protocol is called: `custom` has many meanings."""
    rows = {"data.controller_rows": "validation"}
    said = "The controller learned from validation (data.controller_rows"
    for settings, name, expected in (
        ({}, "clean", 0), ({"training.protocol": "published"}, "published", 1), (rows, "custom", 1),
        ({"training.protocol": "published", "data.controller_rows": "meta"}, "custom", 0),
        (rows | {"training.mode": "joint"}, "custom", 0),
    ):  # fmt: skip
        specs = {"model.dropout": {"float": [0.0, 0.5]}}
        study = begin(settings, name=f"mine{len(settings)}{name}{expected}", specs=specs)
        assert study.base.training.protocol == name
        study.add(Made({"model.dropout": 0.1}, (0.4, 0.5)))
        assert sum(said in note for note in findings_of(study.results, study.name).notes) == expected, settings


def test_two_objectives(begin: Callable[..., Searched]) -> None:
    budget = Budget(replicates=2, grace_epochs=2, reduction_factor=2, objectives=("val_mse", "parameters"))
    study = begin(budget=budget).add(*searched.spread(16))
    findings = findings_of(study.results, "mine")
    losses = [trial.loss for trial in findings.front]
    sizes = [trial.parameters for trial in findings.front]
    assert len(losses) > 2 and losses == sorted(losses) and sizes == sorted(sizes, reverse=True)
    page = Page(render(findings)["report.html"])
    assert [row["trial"] for row in page.table("trial", "validation MSE", "parameters")] == [
        trial.trial for trial in findings.front
    ]
    assert page.drawings == 5 and "Pareto front" in figures.accuracy(findings, "x")
    assert findings.importance.shares and "validation MSE alone" in page.text


@pytest.mark.parametrize("made", [[], [Made(searched.spread(1)[0].params, (0.9, 0.8), "stopped", 2)]])
def test_no_complete_trial(begin: Callable[..., Searched], made: list[Made]) -> None:
    study = begin().add(*made)
    files = render(findings_of(study.results, "mine"))
    page = Page(files["report.html"])
    assert "No trial is complete" in page.text and "No importance is shown: 0 trials are complete" in page.text
    assert len(csv_rows(files["trials.csv"])) == len(made)


@pytest.mark.parametrize("count", [1, 2])
def test_few_complete_trials(begin: Callable[..., Searched], count: int) -> None:
    findings = findings_of(begin().add(*searched.spread(count)).results, "mine")
    page = Page(render(findings)["report.html"])
    assert findings.best is findings.trials[-1] and page.drawings == 5, "all of them"


def test_too_few_trials_have_no_importance(begin: Callable[..., Searched]) -> None:
    study = begin()
    study.add(*[one for one in searched.spread(20) if one.state == "complete"][: LEAST_COMPLETE - 1])
    findings = findings_of(study.results, "mine")
    assert not findings.importance.shares
    text = f"No importance is shown: {LEAST_COMPLETE - 1} trials are complete; at least {LEAST_COMPLETE} are needed."
    assert text in render(findings)["report.md"]


@pytest.mark.parametrize(
    ("errors", "bar", "said"),
    [
        ((0.40, 0.41, 0.42), 0.5, "better than the linear baseline (0.5000) on average; each of them is better"),
        ((0.40, 0.41, 0.42), 0.405, "worse than the linear baseline (0.4050) on average; 1 of them is better"),
        ((0.40, 0.41, 0.42), 0.415, "better than the linear baseline (0.4150) on average; 2 of them are better"),
        ((0.40, 0.41, 0.42), 0.3, "worse than the linear baseline (0.3000) on average; none of them is better"),
        ((0.40,), 0.3, "1 final replicate (0.4000) is worse than the linear baseline (0.3000)."),
    ],
)
def test_the_linear_baseline_beside_it(
    begin: Callable[..., Searched], errors: tuple[float, ...], bar: float, said: str
) -> None:
    study = begin().add(*searched.spread(2)).finals("t00001", searched.spread(2)[1].params, errors).linear(0.3, bar)
    found = comparisons(findings_of(study.results, "mine"))
    assert said in found["test"]
    assert "is worse than the linear baseline (0.3000): a larger budget" in found["validation"]


def test_the_difference_from_the_linear_baseline_over_test_windows(begin: Callable[..., Searched]) -> None:
    params = searched.spread(2)[1].params
    study = begin().add(*searched.spread(2)).finals("t00001", params, (0.4, 0.42)).linear(0.3, 0.5)
    runs = [row["run"] for row in study.results.table("members", "mine").to_pylist() if row["role"] == "final"]
    wave = np.sin(np.arange(1000))
    for run, errors in ((runs[0], 0.4 + wave), (runs[1], 0.42 + wave), ("linear", 0.5 + wave)):
        assert "over stretches of time" not in comparisons(findings_of(study.results, "mine"))["test"]
        keep_window_errors(study.results, run, errors)
    said = comparisons(findings_of(study.results, "mine"))["test"]
    assert said.endswith("The difference, −0.0900, is −0.0900 to −0.0900 over stretches of time (95%).")


def test_finals_of_an_earlier_best_are_not_taken_for_the_best(begin: Callable[..., Searched]) -> None:
    study = begin().add(*searched.spread(2)).finals("t00000", searched.spread(1)[0].params, (0.6, 0.7)).linear(0.5, 0.5)
    findings = findings_of(study.results, "mine")
    assert findings.final is None and "test" not in comparisons(findings)
    text = render(findings)["report.md"]
    assert "The best trial, t00001, has no final replicates" in text and "| final replicates of t00000 | 0.5500" in text


def test_a_number_that_is_missing_is_no_zero(begin: Callable[..., Searched]) -> None:
    study = begin().add(Made(searched.spread(1)[0].params, (None, 0.7), "stopped", 2, diverged=True))
    trial = findings_of(study.results, "mine").trials[0]
    assert math.isnan(trial.loss) and math.isnan(trial.deviation) and math.isnan(trial.losses[0])


def test_a_search_that_stops_no_trial_early(begin: Callable[..., Searched]) -> None:
    study = begin({"training.max_epochs": 6}, budget=Budget(replicates=2, grace_epochs=6))
    findings = findings_of(study.add(*searched.spread(2)).results, "mine")
    assert findings.rungs == ()
    assert "No rung lies before the last epoch: no trial could be stopped early." in render(findings)["report.md"]


def test_what_happened_on_the_way(begin: Callable[..., Searched]) -> None:
    study = begin().add(*searched.spread(2))
    assert "What happened on the way" not in render(findings_of(study.results, "mine"))["report.html"], "nothing did"
    record_event(study.results, "mine", "halved", "t00000: <b>16</b> models did not fit", "t00000")
    for number in range(SHOWN):
        record_event(study.results, "mine", "node_lost", f"machine 10.0.0.{number} is lost")
    text = render(findings_of(study.results, "mine"))["report.html"]
    assert f"node lost: {SHOWN}, halved: 1" in text and "&lt;b&gt;16&lt;/b&gt; models did not fit" in text
    assert "machine 10.0.0.38 is lost" in text and "machine 10.0.0.39 is lost" not in text and "and 1 more" in text


@pytest.mark.parametrize(("grace", "factor", "last"), [(4, 3, 40), (1, 2, 4), (2, 2.5, 30), (9, 3, 5), (1, 4, 64)])
def test_rungs_are_those_of_the_scheduler(grace: int, factor: float, last: int) -> None:
    from tune.searcher import RecordedASHA

    bracket = RecordedASHA([], max_epochs=last, grace_epochs=grace, reduction_factor=factor)._brackets[0]
    milestones = sorted(math.ceil(milestone) for milestone, _ in bracket._rungs)
    assert rung_epochs(grace, factor, last) == [epoch for epoch in milestones if epoch < last]


# The command ---------------------------------------------------------------------------------------------------------


def test_the_command(full: Searched, capsys: pytest.CaptureFixture[str]) -> None:
    url = full.results.storage.url
    assert report.main(["mine", "--results", url]) == 0
    printed = capsys.readouterr().out
    folder = Path(full.results.storage.root) / "reports" / "mine"
    assert {path.name for path in folder.iterdir()} == {"report.html", "report.md", "trials.csv"}
    assert f"wrote {folder / 'report.html'}\n" in printed and "best: t00001, validation MSE 0." in printed
    assert "on test, the best trial's 3 final replicates (0.4100 ± 0.0100) are worse" in printed


def test_studies_that_it_refuses(full: Searched, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = full.results.storage.url
    settings = json.dumps({"kind": "ablation", "study": {}})
    full.results.add("studies", [{"study": "parts", "settings": settings}], key="begun")
    with pytest.raises(ConfigError, match=r"an ablation study, not a search; .* python -m ablations\.report parts"):
        findings_of(full.results, "parts")
    with pytest.raises(ResultsError, match="did you mean 'mine'"):
        findings_of(full.results, "mien")
    for name in ("parts", "mien"):
        assert report.main([name, "--results", url]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
    assert report.main(["mine", "--results", str(tmp_path / "nowhere")]) == 2
    assert "no results at" in capsys.readouterr().err


def test_an_object_store(s3_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, _, options = s3_url.partition("?")
    url = f"{base}/{tmp_path.name}?{options}"
    study = Searched(Results(url), Config.create(BASE)).add(*searched.spread(4))
    assert report.main(["mine", "--results", url, "--out", str(tmp_path / "here")]) == 0
    text = (tmp_path / "here" / "report.md").read_text()
    assert "optuna-dashboard optuna/" not in text and "object store" in text
    assert len(findings_of(study.results, "mine").trials) == 4


def test_whose_runs_were_there_before_is_no_question_of_clocks(begin: Callable[..., Searched]) -> None:
    study = begin().add(Made(searched.spread(1)[0].params, (0.5, 0.6)))
    first, second = study.results.runs().values()
    before = searched.BEGUN - timedelta(days=1)
    for row, whose in ((first, "mine"), (second, "another")):
        study.results.add("runs", [{**row, "attempt": 2, "started": before, "trained_for": whose}])
    assert findings_of(study.results, "mine").shared == 1
