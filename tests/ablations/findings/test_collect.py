"""From records to findings: the numbers are those of the runs, paired by seed, and nothing is dropped in silence."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablations.findings.collect import findings_of
from ablations.findings.findings import PRIMARY, Findings
from ablations.findings.runs import Recorded
from ablations.judging import signed_ranks, statistics
from ablations.reporting.wording import against_linear, label, sentence
from lab.errors import ConfigError, DataError
from lab.store.tables import Results
from lab.training.window_errors import windows_path
from tests.ablations.recorded import CHANNELS, add_runs, begin, small_study

RNG = np.random.default_rng(0)
FULL = (0.40 + 0.01 * RNG.normal(size=8)).round(6).tolist()
WORSE = [value + 0.05 + 0.001 * seed for seed, value in enumerate(FULL)]
SAME = [value + 0.0001 * (-1) ** seed for seed, value in enumerate(FULL)]
MAIN = {"main": {"full": FULL, "no_film": WORSE, "no_mixer": SAME}}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "out")


def found(results: Results, errors: Any = MAIN, judged: int | None = 8, **fields: Any) -> Findings:
    record = begin(results, small_study(**fields))
    add_runs(results, record, errors)
    if judged:
        record.add_judgement(results, judged)
    return findings_of(results, "mine")


def test_effects_are_paired_by_seed_whatever_the_order_of_rows(tmp_path: Path) -> None:
    seen = []
    for order in (1, -1):
        store = Results(tmp_path / str(order))
        record = begin(store, small_study())
        add_runs(store, record, MAIN, order=order)
        record.add_judgement(store, 8)
        seen.append(findings_of(store, "mine"))
    assert [f.effects for f in seen[0].findings] == [f.effects for f in seen[1].findings]
    film, mixer = seen[0].findings
    effect = film.effects[PRIMARY]
    differences = np.array(WORSE) - np.array(FULL)
    assert effect.by_seed == pytest.approx(dict(zip(range(1, 9), differences, strict=True)))
    assert effect.mean == pytest.approx(differences.mean())
    typical = float(signed_ranks.pseudo_median(differences))
    assert effect.typical == pytest.approx(typical) and effect.improvement == 1
    assert effect.interval == pytest.approx([float(x) for x in signed_ranks.signed_rank_interval(differences, 0.05)])
    assert effect.mean_interval[0] < effect.mean < effect.mean_interval[1]
    assert (effect.p, effect.n) == (2 / 2**8, 8)
    assert effect.percent == pytest.approx(100 * typical / np.mean(FULL))
    assert effect.channels == pytest.approx(dict.fromkeys(CHANNELS, differences.mean()))
    assert film.effects["val_mse"].mean == pytest.approx(2 * differences.mean())
    assert film.effects["test_mae"].mean == pytest.approx(differences.mean())
    assert film.decision is not None and mixer.decision is not None
    assert film.verdict == "helps" and film.both is not None and 0 < film.both[0] < effect.interval[0]
    assert (mixer.verdict, mixer.shown) == ("on these rows only", "no practical effect")
    assert mixer.both is not None and mixer.decision.margin < mixer.both[1], "over time it may matter"
    assert film.decision.p_adjusted == 2 * 2 / 2**8
    assert film.decision.margin == pytest.approx(0.01 * np.mean(FULL))
    assert film.windows is not None and film.windows[0] < effect.mean < film.windows[1]
    assert film.flags == () and film.diverged == film.failed == (0, 0)


def test_a_table_of_arms_with_what_never_moved(results: Results) -> None:
    study = found(results)
    full, film, _ = study.arms
    assert (full.arm, full.seeds, full.complete, full.diverged, full.failed) == ("full", tuple(range(1, 9)), 8, 0, 0)
    assert full.errors[PRIMARY] == tuple(FULL) and full.device_seconds == 12
    diagnoses = {each.name: each for each in full.diagnoses}
    assert {name: each.still for name, each in diagnoses.items() if each.still} == {"lr_scale": 8, "grad_clip": 8}
    assert diagnoses["grad_clip"].why.startswith("It weighs only the workers' update")
    assert full.validation.mean == pytest.approx((3.0, 1.5, 1.0)) and diagnoses["lr_scale"].curve.deviation == (0, 0, 0)
    assert full.difference == {} and film.difference == {"model.film": (True, False)}
    assert film.effective < full.effective == full.parameters - _heads_without_gradient()
    assert len(study.ledger) == 24 and {reading.arm for reading in study.ledger} == {"full", "no_film", "no_mixer"}
    assert study.provenance["code"] == "abc" and study.cells[0].test_windows == 150


def _heads_without_gradient() -> int:
    study = small_study()
    size = study.forecaster.size(study.config("main"), len(CHANNELS))
    return size.parameters - size.effective


@pytest.mark.parametrize(
    ("status", "verdict"), [("diverged", "helps"), ("failed", "incomplete"), ("missing", "incomplete")]
)
def test_a_run_without_a_result_is_never_dropped_in_silence(results: Results, status: str, verdict: str) -> None:
    """A diverged run of an arm counts as the worst there is; one that is not there decides nothing."""
    lost = [*WORSE[:3], status, *WORSE[4:]]
    film, mixer = found(results, {"main": {**MAIN["main"], "no_film": lost}}).findings
    assert (film.verdict, mixer.shown) == (verdict, "no practical effect")
    assert film.effects[PRIMARY].n == 7 and 4 not in film.effects[PRIMARY].by_seed
    assert film.diverged == ((1, 0) if status == "diverged" else (0, 0))
    assert film.failed == ((0, 0) if status == "diverged" else (1, 0))
    assert film.decision is not None and math.isnan(film.decision.interval[0])


def test_divergence_that_turns_the_sign_makes_an_arm_invalid(results: Results) -> None:
    lost = ["diverged", *[value - 0.05 for value in FULL[1:]]]
    film = found(results, {"main": {**MAIN["main"], "no_film": lost}}).findings[0]
    assert film.verdict == "invalid"
    assert film.effects[PRIMARY].p == 1


def test_unlike_numbers_of_test_windows_make_the_cell_invalid(results: Results) -> None:
    record = begin(results, small_study())
    add_runs(results, record, MAIN, windows={"no_film": 149})
    record.add_judgement(results, 8)
    study = findings_of(results, "mine")
    assert {finding.verdict for finding in study.findings} == {"invalid"}
    assert "149 and 150 test windows" in study.cells[0].invalid


@pytest.mark.parametrize(("column", "value", "what"), [
    ("device", "cuda", "device"), ("kernel", "torch", "kernel"), ("git_commit", "def", "code version"),
    ("git_dirty", True, "code version"), ("versions", '{"torch": "3"}', "code version"),
])  # fmt: skip
def test_pairs_that_were_not_trained_alike_are_flagged(results: Results, column: str, value: Any, what: str) -> None:
    record = begin(results, small_study())
    add_runs(results, record, {"main": {"full": FULL, "no_mixer": SAME, "no_film": WORSE[:5]}})
    add_runs(results, record, {"main": {"no_film": WORSE[5:]}}, seeds=(6, 7, 8), **{column: value})
    record.add_judgement(results, 8)
    film, mixer = findings_of(results, "mine").findings
    assert (film.flags, mixer.flags) == ((f"3 of 8 pairs differ in {what}",), ())


def test_what_is_inert_has_its_reason_and_no_place_in_the_family(results: Results) -> None:
    study = small_study(arms=["no_film", "no_lr_scale"])
    record = begin(results, study, {("no_lr_scale", "main"): "it gets no gradient"})
    add_runs(results, record, {"main": {"full": FULL, "no_film": WORSE}})
    record.add_judgement(results, 8)
    findings = findings_of(results, "mine")
    film, scale = findings.findings
    assert findings.family == 1 and film.decision is not None and film.decision.p_adjusted == 2 / 2**8
    assert (scale.verdict, scale.inert, scale.effects, scale.decision) == ("inert", "it gets no gradient", {}, None)
    add_runs(results, record, {"main": {"no_lr_scale": FULL}})  # trained all the same
    scale = findings_of(results, "mine").findings[1]
    assert (scale.verdict, scale.decision, scale.effects[PRIMARY].mean) == ("inert", None, 0)


def test_a_contrast_is_that_of_the_statistics(results: Results) -> None:
    factors = ["no_film", "no_mixer", "no_bilevel"]
    study = small_study(arms=(), factorial=factors, seeds=9)
    losses = np.random.default_rng(3).normal(1.0, 0.1, (2, 2, 2, 9))
    losses[0] += 0.3  # without FiLM
    errors = {
        arm: losses[tuple(int(factor not in off) for factor in factors)].tolist()
        for off, arm in study.combinations.items()
    }
    record = begin(results, study)
    add_runs(results, record, {"main": errors})
    record.add_judgement(results, 9)
    findings = findings_of(results, "mine")
    expected = statistics.factorial_contrasts(losses, factors)
    assert len(findings.findings) == findings.family == 7
    for finding in findings.findings:
        effect = finding.effects[PRIMARY]
        assert list(effect.by_seed.values()) == pytest.approx(expected[finding.factors].tolist())
        assert effect.without_mean - effect.with_mean == pytest.approx(effect.mean)
    assert findings.findings[0].verdict == "helps"


def test_an_arm_that_is_decided_keeps_its_look(results: Results) -> None:
    """At the second look the others get more seeds; what was decided stays, with the numbers that decided it."""
    study = small_study(seeds="auto", max_seeds=12, looks=2)
    record = begin(results, study)
    assert record.looks == (8, 12)
    unclear = [value + 0.02 * (-1) ** seed for seed, value in enumerate(FULL)]
    add_runs(results, record, {"main": {"full": FULL, "no_film": WORSE, "no_mixer": unclear}})
    before = findings_of(results, "mine")
    assert "the first look is not complete" in before.notes[0]
    record.add_judgement(results, 8)
    film, mixer = findings_of(results, "mine").findings
    assert (film.verdict, mixer.verdict) == ("helps", "undecided")
    assert film.decision is not None and film.decision.p_adjusted == 2 * 2 * 2 / 2**8, "two looks, two arms"
    more = {"full": [0.4] * 4, "no_mixer": [0.45] * 4}
    add_runs(results, record, {"main": more}, seeds=(9, 10, 11, 12))
    record.add_judgement(results, 12)
    study_now = findings_of(results, "mine")
    film, mixer = study_now.findings
    assert study_now.look == 2 and film.decision is not None and mixer.decision is not None
    assert (film.verdict, film.decision.look, film.decision.seeds, film.effects[PRIMARY].n) == ("helps", 1, 8, 8)
    assert (mixer.decision.look, mixer.decision.seeds, mixer.effects[PRIMARY].n) == (2, 12, 12)
    assert next(runs.seeds for runs in study_now.arms if runs.arm == "no_film") == tuple(range(1, 9))


def test_seeds_that_were_added_by_hand_are_exploratory(results: Results) -> None:
    found(results)
    record = begin_again(results)
    record.add_seeds(results, 10)
    assert "after verdicts had been read" in record.exploratory
    more = {arm: [value[0], value[1]] for arm, value in MAIN["main"].items()}
    half = findings_of(results, "mine")
    assert half.findings[0].verdict == "helps" and half.seeds == tuple(range(1, 9)), "the verdicts that were read stay"
    assert "verdicts are those of 8 seeds" in " ".join(half.notes)
    add_runs(results, record, {"main": more}, seeds=(9, 10))
    record.add_judgement(results, 10)
    study = findings_of(results, "mine")
    assert study.exploratory and study.seeds == tuple(range(1, 11))
    assert study.findings[0].decision is not None and study.findings[0].decision.seeds == 10


def test_nothing_is_judged_before_its_look(results: Results) -> None:
    """A report in the middle of a study must not be a look at it."""
    record = begin(results, small_study())
    add_runs(results, record, {"main": {"full": FULL, "no_film": WORSE, "no_mixer": SAME[:3]}})
    study = findings_of(results, "mine")
    assert {f.verdict for f in study.findings} == {"incomplete"} and study.look == 0
    assert all(f.effects == {} and f.decision is not None and math.isnan(f.decision.p_adjusted) for f in study.findings)
    assert study.findings[1].failed == (5, 0) and "nothing is judged before" in study.notes[0]
    assert study.arms[0].mean(PRIMARY) == pytest.approx(np.mean(FULL))


def test_seeds_that_were_added_before_the_first_look_are_those_of_the_study(results: Results) -> None:
    record = begin(results, small_study())
    record.add_seeds(results, 10)
    errors = {arm: [*values, values[0], values[1]] for arm, values in MAIN["main"].items()}
    add_runs(results, record, {"main": errors})
    record.add_judgement(results, 10)
    study = findings_of(results, "mine")
    assert not study.exploratory and study.seeds == tuple(range(1, 11)) and (study.looks, study.look) == ((10,), 1)
    assert study.findings[0].effects[PRIMARY].n == 10 and not [n for n in study.notes if "judged" in n]


def test_an_error_without_bounds_on_test_counts_as_divergence(results: Results) -> None:
    for lost in (math.inf, math.nan):
        store = Results(results.storage.root + str(lost))
        record = begin(store, small_study())
        add_runs(store, record, {"main": {**MAIN["main"], "no_film": [*WORSE[:7], lost]}})
        record.add_judgement(store, 8)
        film = findings_of(store, "mine").findings[0]
        assert (film.verdict, film.diverged, film.effects[PRIMARY].n) == ("helps", (1, 0), 7)


def test_one_arm_in_place_of_another_is_said_as_such(results: Results) -> None:
    pairs = [{"arm": "no_mixer", "against": "no_film"}]
    record = begin(results, small_study(pairs=pairs))
    add_runs(results, record, MAIN)
    record.add_judgement(results, 8)
    study = findings_of(results, "mine")
    mixer = study.findings[1]
    assert (mixer.without, mixer.with_part, mixer.verdict, mixer.instead) == ("no_mixer", "no_film", "hurts", True)
    said = sentence(study, mixer)
    assert "taking no_mixer in place of no_film lowered the test MSE" in said and "no_mixer is the better" in said
    assert mixer.claim == "no_film has a lower test error than no_mixer" and "Several things" not in said


def test_a_re_tuned_arm_is_as_inert_as_it_was(results: Results) -> None:
    cells = {"alternating": {}, "joint": {"training.mode": "joint"}}
    study = small_study(
        arms=["no_film", "no_lr_scale"], cells=cells, seeds=8, nuisance=["training.lr"], retune={"trials": 2}
    )
    record = begin(results, study, {("no_lr_scale", "alternating"): "no gradient"})
    assert record.family == 6
    tuned = {arm: {cell: {"training.lr": 0.003} for cell in cells} for arm in ("full", "no_film", "no_lr_scale")}
    record.add_tuned(results, tuned)
    assert len(Recorded.of(results, record).hypotheses) == 6
    everything = dict.fromkeys(record.study.table, FULL)
    add_runs(results, record, dict.fromkeys(cells, everything))
    record.add_judgement(results, 8)
    verdicts = {(f.name, f.cell): f.verdict for f in findings_of(results, "mine").findings}
    inert = {key for key, verdict in verdicts.items() if verdict == "inert"}
    assert inert == {("no_lr_scale", "alternating"), ("no_lr_scale@tuned", "alternating")} and len(verdicts) == 8


def test_an_arm_of_matched_width_is_none_where_no_width_is_closer(results: Results) -> None:
    study = small_study(cells={"a": {}, "b": {"data.pred_len": 12}}, matched={"no_film": {"a": 4}}, seeds=9)
    assert study.family() == 5
    record = begin(results, study)
    arms = {"a": study.table, "b": ("full", "no_film", "no_mixer")}
    every = {cell: {arm: [*FULL, 0.4] for arm in names} for cell, names in arms.items()}
    add_runs(results, record, every)
    record.add_judgement(results, 9)
    names = [(f.name, f.cell) for f in findings_of(results, "mine").findings]
    assert ("no_film@matched", "a") in names and ("no_film@matched", "b") not in names


def test_a_study_without_the_whole_network_is_compared_with_the_linear_map_too(results: Results) -> None:
    record = begin(results, small_study(arms=["only_revin", "only_mixer"]))
    add_runs(results, record, {"main": {"only_trend": FULL, "only_revin": WORSE, "only_mixer": SAME}})
    record.add_judgement(results, 8)
    study = findings_of(results, "mine")
    assert {f.name: f.verdict for f in study.findings}["only_revin"] == "hurts", "adding it raised the loss"
    linear = dataclasses.replace(study.cells[0], linear={PRIMARY: 0.1})
    said = against_linear(dataclasses.replace(study, cells=(linear,)), "main")
    assert "the whole network is no arm of this study" in said and "does not beat the closed-form" in said


def begin_again(results: Results) -> Any:
    from ablations.findings.record import StudyRecord

    return StudyRecord.load(results, "mine")


def test_runs_without_errors_of_windows_reach_no_further_than_these_rows(results: Results) -> None:
    """As records of before have them; and a study that ends early has intervals at the level of its looks."""
    study = found(results)
    for runs in study.arms:
        for run in runs.runs:
            results.delete_blob(windows_path(run))
    film = findings_of(results, "mine").findings[0]
    assert (film.verdict, film.shown, film.both) == ("on these rows only", "helps", None)
    assert "the errors of single windows are not on record" in sentence(study, film)
    assert label(study, film) == "FiLM helps, on these rows only"


def test_intervals_of_a_study_that_may_stop_early_share_what_they_miss_among_looks(results: Results) -> None:
    record = begin(results, small_study(seeds="auto", max_seeds=12, looks=2))
    add_runs(results, record, MAIN)
    record.add_judgement(results, 8)
    effect = findings_of(results, "mine").findings[0].effects[PRIMARY]
    differences = list(effect.by_seed.values())
    assert effect.interval == pytest.approx([float(x) for x in signed_ranks.signed_rank_interval(differences, 0.025)])


def test_an_arm_that_an_older_rule_held_for_decided_is_judged_with_the_seeds_that_it_has(results: Results) -> None:
    record = begin(results, small_study(seeds="auto", max_seeds=12, looks=2))
    unclear = [value + 0.02 * (-1) ** seed for seed, value in enumerate(FULL)]
    add_runs(results, record, {"main": {"full": FULL, "no_film": WORSE, "no_mixer": unclear}})
    record.add_judgement(results, 8)
    add_runs(results, record, {"main": {"full": [0.4] * 4}}, seeds=(9, 10, 11, 12))
    record.add_judgement(results, 12)
    mixer = findings_of(results, "mine").findings[1]
    assert mixer.decision is not None
    assert (mixer.verdict, mixer.decision.seeds, mixer.effects[PRIMARY].n) == ("undecided", 8, 8)


def test_what_a_reader_must_not_overlook_is_a_note(results: Results) -> None:
    """A run far out, adjusted p at their floor, and validation that says the opposite."""
    bad = [*WORSE[:7], 0.9]
    study = found(results, {"main": {"full": FULL, "no_film": bad, "no_mixer": [value - 0.05 for value in FULL]}})
    notes = " ".join(study.notes)
    assert "1 of 8 runs of no_film in cell main is far out (seed 8; test MSE up to 0.9000, median " in notes
    assert "adjusted p = 0.0156 of 2 comparisons is the least that 8 seeds allow in this family" in notes
    film = study.findings[0]
    assert "A risk of no_film beside that: 1 of 8 runs came out far worse than the others." in sentence(study, film)
    validation = film.validation
    assert validation is not None and not film.opposite
    turned = dataclasses.replace(validation, typical=-0.01, interval=(-0.02, -0.005))
    opposite = dataclasses.replace(film, validation=turned)
    assert label(study, opposite).endswith("FiLM helps, on these rows only (validation: the opposite)") or (
        label(study, opposite) == "FiLM helps (validation: the opposite)"
    )
    assert "Validation says the opposite: without it the validation MSE was 0.0100 lower" in sentence(study, opposite)


def test_a_joint_test_decides_with_six_seeds(results: Results) -> None:
    arms = {"arms": ["no_film", "no_mixer", "no_trend", "no_revin", "no_context", "no_gate_masks", "no_workers"]}
    noise = np.random.default_rng(2).normal(0, 0.002, (7, 6)).round(6)
    six = {arm: (np.array(FULL[:6]) + noise[at]).tolist() for at, arm in enumerate(arms["arms"])}
    six |= {"full": FULL[:6], "no_film": WORSE[:6]}
    with pytest.raises(ConfigError, match="take at least 9 seeds"):
        begin(results, small_study(**arms, seeds=6))
    with pytest.raises(ConfigError, match="judges all arms at the same seeds"):
        begin(results, small_study(**arms, seeds="auto", correction="max_t"))
    record = begin(results, small_study(**arms, seeds=6, correction="max_t"))
    assert record.identity["rule"]["correction"] == "max_t"
    add_runs(results, record, {"main": six})
    record.add_judgement(results, 6)
    study = findings_of(results, "mine")
    film = study.findings[0]
    assert film.shown == "helps" and film.decision is not None and film.decision.p_adjusted == 2 / 2**6
    assert film.decision.interval[0] > 0 and study.findings[1].shown == "undecided"


def test_what_is_not_there(results: Results) -> None:
    begin(results, small_study())
    with pytest.raises(DataError, match="no run on record yet"):
        findings_of(results, "mine")
    with pytest.raises(ConfigError, match="did you mean 'mine'"):
        findings_of(results, "mina")
    results.add("studies", [{"study": "search", "settings": '{"settings": {}}'}])
    with pytest.raises(ConfigError, match="'search' is a search, not an ablation study"):
        findings_of(results, "search")


def test_device_time_counts_each_run_once(results: Results) -> None:
    own = {"name": "without_film", "claim": "the same by another name", "overrides": {"model.film": False}}
    record = begin(results, small_study(arms=["no_film", own]))
    add_runs(results, record, {"main": {"full": FULL, "no_film": WORSE, "without_film": WORSE}})
    assert Recorded.of(results, record).device_seconds() == 16 * 1.5
