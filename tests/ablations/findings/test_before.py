"""A new name hides nothing: what was seen of a study's runs before it was planned makes it exploratory, by evidence."""

import json
from pathlib import Path
from typing import Any

import pytest

from ablations.findings.before import Asked, Before, known_before, mark_of, verdicts_purpose
from ablations.findings.collect import findings_of
from ablations.findings.record import StudyRecord, identity
from ablations.planning.plan import Work
from ablations.report import render
from ablations.reporting.console import verdict_lines
from ablations.study.study import Study
from lab.ledger.looks import record as put_on_ledger
from lab.series import Series, load_series
from lab.store.tables import Results
from tests.ablations.findings.test_collect import FULL, SAME, WORSE
from tests.ablations.recorded import SHA, add_runs, begin, small_study

TWELVE = {"full": [*FULL, *FULL[:4]], "no_film": [*WORSE, *WORSE[:4]], "no_mixer": [*SAME, *SAME[:4]]}
EIGHT = {arm: errors[:8] for arm, errors in TWELVE.items()}


def asked(study: Study) -> Asked:
    """As the command asks, with every seed."""
    runs: dict[tuple[str, str], set[str]] = {}
    for run in Work.of(study, lambda data: SHA, seeds=len(study.seed_list())).runs:
        runs.setdefault((run.arm, run.cell), set()).add(run.run)
    return Asked(study.name, study, mark_of(identity(study, {"main": SHA}), study.seeds), runs)


def begin_knowing(results: Results, study: Study) -> StudyRecord:
    return StudyRecord.begin(
        results, study.name, study, {"main": SHA}, {}, before=known_before(results, asked(study))
    )  # fmt: skip


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Where study `mine` was judged at 8 seeds."""
    results = Results(tmp_path / "out")
    record = begin(results, small_study())
    add_runs(results, record, {"main": EIGHT})
    record.add_judgement(results, 8)
    return results


@pytest.mark.parametrize(
    "fields",
    [
        {"seeds": 12},
        {"arms": ["no_film"]},
        {"margin_percent": 30.0},
        {"alpha": 0.01, "arms": ["no_mixer"]},
        {"seeds": (1, 2, 3, 5, 6, 7, 8, 9, 10)},
        {"seeds": "auto", "max_seeds": 12, "looks": 2},
    ],
)
def test_another_try_at_what_was_judged_is_exploratory_under_any_name(results: Results, fields: Any) -> None:
    record = begin_knowing(results, small_study(name="second", **fields))
    assert "in study mine (" in record.exploratory and "judged once" in record.exploratory
    assert "at 8 seeds" in record.exploratory and "can no longer be promised" in record.exploratory
    assert StudyRecord.load(results, "second").exploratory == record.exploratory, "it is on record"
    assert not StudyRecord.load(results, "mine").exploratory, "who asked first did nothing wrong"


def test_the_same_question_stays_what_it_was(results: Results) -> None:
    """Asked first of all, and asked again after other tries: the answer is the one that was given then."""
    other = begin_knowing(results, small_study(name="second", margin_percent=30.0))
    other.add_members(results, Work.of(other.study, lambda data: SHA).runs)
    other.add_judgement(results, 8)
    clean = begin_knowing(results, small_study(name="again"))
    assert [each.same for each in clean.before] == [True, False], "studies in the order of their names"
    assert clean.exploratory == ""
    tried = begin_knowing(results, small_study(name="tried", margin_percent=30.0))
    assert {each.study: (each.same, each.clean) for each in tried.before} == {
        "mine": (False, False), "second": (True, False),
    }  # fmt: skip
    assert "in study mine" in tried.exploratory


@pytest.mark.parametrize(
    ("fields", "noted"),
    [
        ({}, True),  # the very same study: its verdicts are the same
        ({"arms": ["no_workers"]}, False),  # nothing but `full` was seen
        ({"seeds": tuple(range(101, 110))}, False),  # a replication
        ({"baseline": {**small_study().baseline, "training.lr": 0.01}}, False),  # other runs
    ],
)
def test_what_was_not_tried_before_is_not_accused(results: Results, fields: Any, noted: bool) -> None:
    record = begin_knowing(results, small_study(name="second", **fields))
    assert record.exploratory == "" and [each.same for each in record.before] == [True] * noted


def test_picked_seeds_of_a_baseline_that_was_seen(results: Results) -> None:
    """`full` alone was read before; who then takes the seeds with which it did badly has chosen the verdict."""
    seeds = (2, 3, 5, 6, 7, 8, 9, 10)
    record = begin_knowing(results, small_study(name="second", arms=["no_workers"], seeds=seeds))
    assert "its seeds were picked by hand after runs of it had come out on test" in record.exploratory


def test_a_run_that_a_search_read_is_no_judgement(tmp_path: Path) -> None:
    results = Results(tmp_path / "out")
    study = small_study()
    (run, *_) = asked(study).runs["full", "main"]
    results.add("members", [{"study": "search", "role": "final", "run": run}])
    reading = {"attempt": 1, "split": "test", "metric": "mse", "purpose": "final", "windows": 9, "value": 0.5}
    results.add("evaluations", [{**reading, "run": run}])
    assert known_before(results, asked(study)) == []


def test_errors_on_test_that_could_be_read_count_without_a_verdict(tmp_path: Path) -> None:
    results = Results(tmp_path / "out")
    record = begin(results, small_study())
    add_runs(results, record, {"main": {arm: errors[:3] for arm, errors in EIGHT.items()}})
    assert "read on test from" in begin_knowing(results, small_study(name="second", margin_percent=5.0)).exploratory
    record.add_seeds(results, 10)
    assert "from 8 to 10, after test had been read" in record.exploratory
    assert StudyRecord.load(results, "mine").exploratory == record.exploratory


def test_seeds_that_another_study_has_judged_meanwhile(tmp_path: Path) -> None:
    results = Results(tmp_path / "out")
    record = begin(results, small_study())
    other = begin(results, small_study(name="other", seeds=12, margin_percent=5.0))
    add_runs(results, other, {"main": TWELVE})
    other.add_judgement(results, 12)
    record.add_seeds(results, 12, lambda: known_before(results, asked(small_study(seeds=12))))
    assert "before these seeds were added, in study other (36 runs; judged once" in record.exploratory


def test_old_records_are_judged_by_what_they_hold(results: Results, tmp_path: Path) -> None:
    """Of studies that were begun by a version that put nothing of this on record."""
    begin_knowing(results, small_study(name="second", seeds=12))
    begin(results, small_study(name="third", arms=["no_mixer"]))
    old = Results(tmp_path / "old")
    for study in ("mine", "second", "third"):
        for row in results.table("studies", study).to_pylist():
            event = json.loads(row["settings"])
            event.pop("before", None)
            event.pop("read", None)
            old.add("studies", [{**row, "settings": json.dumps(event)}])
        old.add("members", results.table("members", study).to_pylist())
    old.add("runs", results.table("runs").to_pylist())
    old.add("evaluations", results.table("evaluations").to_pylist())
    add_runs(old, StudyRecord.load(old, "second"), {"main": TWELVE})
    assert StudyRecord.load(old, "mine").exploratory == ""
    assert "in study mine" in StudyRecord.load(old, "second").exploratory
    assert StudyRecord.load(old, "third").exploratory == "", "none of its runs is on record"


def test_another_store_is_no_hiding_place(tiny: Any, results: Results, tmp_path: Path) -> None:
    series: Series = load_series(tiny.data)
    study = small_study()
    runs = sorted(asked(study).every)
    put_on_ledger(series, verdicts_purpose("mine", 8), ids=runs, study="mine", results=results, mark=asked(study).mark)
    other = Results(tmp_path / "other")
    again = begin_knowing(other, small_study(name="again"))
    assert again.exploratory == "" and [each.same for each in again.before] == [True]
    record = begin_knowing(other, small_study(name="second", margin_percent=30.0))
    assert f"in study mine in {results.storage.url} (24 runs; judged once" in record.exploratory


def test_re_tuned_arms_stand_on_evidence_of_their_own(results: Results) -> None:
    """Which runs they are is known once they are tuned: another study has judged those very settings as its own."""
    tuned = {arm: {"main": {"training.lr": 0.003}} for arm in ("full", "no_film")}
    retuning: dict[str, Any] = {"nuisance": ["training.lr"], "retune": {"trials": 2}, "arms": ["no_film"], "seeds": 9}
    fresh = {"baseline": {**small_study().baseline, "training.batch_size": 32}}

    def retuned(name: str, **fields: Any) -> StudyRecord:
        record = begin_knowing(results, small_study(name=name, **{**retuning, **fields}))
        record.add_tuned(results, tuned, lambda then: known_before(results, asked(then).of_tuned()))
        return record

    baseline = {**fresh["baseline"], "training.lr": 0.003}
    other = begin(results, small_study(name="other", baseline=baseline, arms=["no_film"], seeds=9))
    add_runs(results, other, {"main": {arm: errors[:9] for arm, errors in TWELVE.items() if arm != "no_mixer"}})
    other.add_judgement(results, 9)
    first = retuned("first", **fresh)
    assert "before its arms were re-tuned" in first.exploratory and "other (18 runs; judged once" in first.exploratory
    assert StudyRecord.load(results, "first").exploratory == first.exploratory
    clean = retuned("clean", baseline={**fresh["baseline"], "training.lr": 0.01, "model.worker_hidden": 4})
    assert clean.exploratory == ""
    # Their intervals are those of their own runs and windows.
    better = [0.9 * loss for loss in TWELVE["full"][:9]]
    errors = {
        "full": TWELVE["full"],
        "no_film": TWELVE["no_film"],
        "full@tuned": TWELVE["full"],
        "no_film@tuned": better,
    }
    add_runs(results, clean, {"main": {arm: losses[:9] for arm, losses in errors.items()}})
    clean.add_judgement(results, 9)
    untuned, own = findings_of(results, "clean").findings
    assert own.name == "no_film@tuned" and own.both is not None and untuned.both is not None
    assert untuned.effects["test_mse"].typical > 0 > own.effects["test_mse"].typical
    assert own.both[0] < own.effects["test_mse"].typical < own.both[1] and own.windows != untuned.windows


def test_it_is_said_wherever_verdicts_stand(results: Results) -> None:
    record = begin_knowing(results, small_study(name="second", seeds=12))
    add_runs(results, record, {"main": TWELVE})
    record.add_judgement(results, 12)
    findings = findings_of(results, "second")
    files, console = render(findings), "\n".join(verdict_lines(findings))
    assert "EXPLORATORY: runs that it compares had come out on test before it was begun, in study mine" in console
    for text in (console, files["report.html"], files["report.md"], files["effects.tex"]):
        assert "helps (exploratory)" in text and "in study mine (24 runs; judged once" in text
    assert "in study mine (24 runs; judged once" in files["effects.csv"]
    assert any("had come out on test" in event for event in findings.events)
    assert Before.read(json.loads(json.dumps(record.before[0].told()))) == record.before[0]
