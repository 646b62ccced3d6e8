"""Every verdict's sentence says what was shown, and no more."""

import math
from dataclasses import replace
from typing import Any

import pytest

from ablations.findings.findings import PRIMARY, Decision, Finding, Findings
from ablations.judging.verdicts import INVALID, ON_THESE_ROWS
from ablations.reporting.phrases import verb
from ablations.reporting.wording import against_linear, counts, kind, label, ordered, sentence
from lab.pages.formats import decimal, duration, interval, p_clause, p_value, percent, signed
from lab.training.window_errors import WindowDifference
from tests.ablations import example

NAN = math.nan


@pytest.fixture(scope="module")
def found() -> Findings:
    return example.findings()


def said(found: Findings, name: str, cell: str = "ETTh1") -> str:
    return sentence(found, example.named(found, name, cell))


def contrast(found: Findings, *factors: str) -> Finding:
    return next(finding for finding in found.findings if finding.factors == factors)


def decided(finding: Finding, **changes: Any) -> Finding:
    assert isinstance(finding.decision, Decision)
    return replace(finding, decision=replace(finding.decision, **changes))


# Numbers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.38714, "0.3871"),
        (-0.5, "−0.5000"),
        (0.0, "0.0000"),
        (-0.0, "0.0000"),
        (3e-05, "3e−05"),
        (NAN, "–"),
        (None, "–"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
    ],
)
def test_a_number(value: float | None, text: str) -> None:
    assert decimal(value) == text


def test_an_effect_has_a_sign() -> None:
    assert [signed(value) for value in (0.0042, -0.0042, 0.0, NAN)] == ["+0.0042", "−0.0042", "0.0000", "–"]
    assert [percent(value) for value in (1.13, -0.04, NAN)] == ["+1.1%", "−0.04%", "–"]
    assert interval((-0.001, math.inf)) == "−0.0010 to ∞"
    assert interval((NAN, NAN)) == interval(None) == "–"


@pytest.mark.parametrize(("p", "text"), [(0.0499, "0.0499"), (0.0501, "0.0501"), (0.0009, "< 0.001"), (1.0, "1")])
def test_no_p_is_rounded_across_alpha(p: float, text: str) -> None:
    assert p_value(p) == text


def test_clauses_of_p() -> None:
    assert p_clause("adjusted p", 0.012) == "adjusted p = 0.012"
    assert p_clause("adjusted p", 0.0001) == "adjusted p < 0.001"
    assert p_clause("adjusted p", NAN) == "no adjusted p"
    assert (duration(90), duration(7200), duration(NAN)) == ("1.5 min", "2.0 h", "–")


# Sentences -----------------------------------------------------------------------------------------------------------


def test_helps(found: Findings) -> None:
    assert said(found, "no_film") == (
        "On the test split of ETTh1 (H=96, 9 seeds), removing FiLM raised the test MSE by 0.0125 in the "
        "typical run and by 0.0124 on average (+3.1%; over seeds 0.0089 to 0.0163, over seeds and windows 0.0050 to "
        "0.0198; adjusted p = 0.0117): FiLM helps."
    )
    assert label(found, example.named(found, "no_film")) == "FiLM helps"
    assert said(found, "no_film", "far").startswith("On the test split of ETTh2 (cell far, H=336, 9 seeds), ")


def test_hurts(found: Findings) -> None:
    text = said(found, "no_context")
    assert "removing the context vector lowered the test MSE by 0.0086 in the typical run and by 0.0085 on" in text
    assert text.endswith(": the context vector hurts.")


def test_an_arm_that_adds_turns_the_words_not_the_numbers(found: Findings) -> None:
    text = said(found, "only_film")
    assert "adding FiLM by a controller to only_workers lowered the test MSE by 0.0061" in text
    assert "(doing without it: +1.6%; over seeds 0.0043 to 0.0078, over seeds and windows 0.0024 to 0.0098; " in text
    assert text.endswith("FiLM by a controller helps.")
    finding = example.named(found, "only_film")
    effect = replace(finding.effects[PRIMARY], typical=-0.0061)
    worse = decided(replace(finding, effects={PRIMARY: effect}), verdict="hurts", over_seeds="hurts")
    assert "to only_workers raised the test MSE by 0.0061" in sentence(found, worse)


def test_no_practical_effect_names_margin_and_equivalence(found: Findings) -> None:
    text = said(found, "no_mixer")
    assert "left the test MSE within ±1% (±0.0040) of what it was" in text
    assert "adjusted p of equivalence < 0.001): no practical effect." in text
    assert "differs from 0" not in text
    both = decided(example.named(found, "no_mixer"), p_adjusted=0.01)
    assert "that it differs from 0 was shown too (adjusted p = 0.01), but it is less than matters" in sentence(
        found, both
    )


def test_undecided_is_not_no_effect(found: Findings) -> None:
    text = said(found, "no_bilevel")
    assert "neither an effect of removing bi-level training" in text
    assert "nor its absence was shown: without it the test MSE was 0.0020 higher" in text
    assert "adjusted p = 0.41, of equivalence = 0.212" in text
    assert "the 95% interval over seeds, −0.0042 to 0.0081, still allows −1.1% to +2.0%, where less" in text
    assert "no effect" not in text and "no practical effect" not in text
    assert text.endswith("Beware: 2 of 9 pairs differ in device.")


def test_inert(found: Findings) -> None:
    assert said(found, "no_lr_scale").endswith(f"changes nothing: {example.INERT}; it was not trained.")
    trained = example.named(found, "no_mixer").effects[PRIMARY]
    finding = example.named(found, "no_lr_scale")
    same = replace(finding, effects={PRIMARY: replace(trained, by_seed={1: 0.0, 2: 0.0})})
    assert sentence(found, same).endswith("trained all the same, it came to the same test MSE with each of 2 seeds.")
    other = replace(finding, effects={PRIMARY: replace(trained, by_seed={1: 0.0, 2: -0.5})})
    assert "differs by up to 0.5000 over 2 seeds: look into it" in sentence(found, other)


def test_invalid_counts_divergences(found: Findings) -> None:
    assert "cannot be judged: 2 runs without the part and 0 with it diverged" in said(found, "no_trend")
    cell = replace(found.cells[0], invalid="2785 and 2689 test windows.")
    broken = replace(found, cells=(cell, *found.cells[1:]))
    text = sentence(broken, decided(example.named(broken, "no_film"), verdict=INVALID, over_seeds=""))
    assert text.endswith("cannot be judged, for nothing in this cell may be compared: 2785 and 2689 test windows.")


def test_incomplete_counts_what_is_missing(found: Findings) -> None:
    assert said(found, "no_workers").endswith(
        "is not judged: 2 runs are missing or failed (2 runs without the part and 0 with it)."
    )
    nothing = decided(replace(example.named(found, "no_workers"), effects={}, failed=(0, 0)), seeds=0)
    assert sentence(found, nothing).endswith("is not judged: arms that it compares have no run on record.")


def test_several_changes_are_not_put_down_to_one_part(found: Findings) -> None:
    text = said(found, "published_protocol")
    assert "what was removed, taken together, helps" in text
    assert text.endswith("Several things change together here, so that this cannot be put down to one part.")


def test_matched_and_tuned_say_what_they_hang_on(found: Findings) -> None:
    assert said(found, "no_film@matched").endswith(
        "what is left: worker_hidden=9: 93,011 effective parameters against 92,264 (+0.8%)."
    )
    assert "the interval is conditional on what one search chose" in said(found, "no_film@tuned")


def test_contrasts(found: Findings) -> None:
    main = sentence(found, contrast(found, "no_film"))
    assert "removing FiLM, averaged over the other factors on and off, raised the test MSE by 0.0100" in main
    pair = contrast(found, "no_film", "no_gate_masks")
    assert sentence(found, pair).endswith("the two need each other (each is worth more where the other is on).")
    assert "the interaction of FiLM and the controller's gate_masks is −0.0042 in test MSE" in sentence(found, pair)
    assert label(found, pair) == "need each other"
    turned = replace(pair.effects[PRIMARY], typical=0.0042)
    other = decided(replace(pair, effects={PRIMARY: turned}), verdict="helps", over_seeds="helps")
    assert sentence(found, other).endswith(
        "the two stand in for each other (each is worth more where the other is off)."
    )
    assert label(found, other) == "replace each other"


def test_divergence_that_decides_is_said(found: Findings) -> None:
    finding = example.named(found, "no_film")
    some = replace(finding, diverged=(2, 0), effects={PRIMARY: replace(finding.effects[PRIMARY], n=7)})
    assert "over the 7 pairs whose runs are both complete" in sentence(found, some)
    assert "Note that 2 runs without the part and 0 with it diverged; in the test" in sentence(found, some)
    lost = replace(finding.effects[PRIMARY], n=0, mean=NAN, typical=NAN, interval=(NAN, NAN), percent=NAN)
    text = sentence(found, replace(finding, diverged=(9, 0), effects={PRIMARY: lost}))
    assert "decided by divergence alone, for 9 runs without the part and 0 with it diverged: FiLM helps" in text
    assert "nan" not in text


def test_what_seeds_alone_show_is_said_of_these_rows(found: Findings) -> None:
    finding = decided(example.named(found, "no_film"), verdict=ON_THESE_ROWS)
    assert label(found, finding) == "FiLM helps, on these rows only" and kind(finding) == "helps, on these rows only"
    wide = sentence(found, replace(finding, both=(-0.003, 0.028)))
    assert "over seeds 0.0089 to 0.0163, over seeds and windows −0.0030 to 0.0280; " in wide
    assert wide.endswith("FiLM helps on these rows only: it was shown over seeds, but other stretches of time could "
                         "change that.")  # fmt: skip
    text = said(found, "no_mixer", "far")
    assert "no practical effect on these rows only: over other stretches of time nothing is known (800 wind" in text


def test_on_average_is_said_only_where_the_interval_of_the_mean_carries_it(found: Findings) -> None:
    for name, end in (("no_film", "in most runs, 9 of 9"), ("no_mixer", "in most runs; of the average nothing is")):
        finding = example.named(found, name)
        effect = replace(finding.effects[PRIMARY], mean_interval=(-0.02, 0.03))
        text = sentence(found, replace(finding, effects={PRIMARY: effect}))
        assert end in text and "on average" not in text and "of the average nothing is shown" in text


@pytest.mark.parametrize(
    ("noun", "says"),
    [
        ("RevIN", "helps"),
        ("the recurrent workers", "help"),
        ("the controller's loss_weight", "helps"),
        ("all signals", "help"),
        ("everything the controller does", "helps"),
        ("the separation of the controller's rows from those that pick epochs", "helps"),
        ("mixing channels at the end", "helps"),
        ("what was removed, taken together,", "helps"),
        ("the bias", "helps"),
    ],
)
def test_the_part_is_the_subject_of_a_verb_that_fits(noun: str, says: str) -> None:
    assert verb(noun, "helps") == says


def test_exploratory_verdicts_are_marked(found: Findings) -> None:
    assert said(replace(found, exploratory="seeds were added"), "no_film").endswith("FiLM helps (exploratory).")


def test_another_protocol_is_marked(found: Findings) -> None:
    published = replace(found, cells=tuple(replace(cell, protocol="published") for cell in found.cells))
    assert "ETTh1 (H=96, published protocol, 9 seeds)" in said(published, "no_film")


# The linear baseline -------------------------------------------------------------------------------------------------


def test_the_network_does_not_beat_the_linear_baseline(found: Findings) -> None:
    text = against_linear(found, "ETTh1")
    full = found.runs_of("full", "ETTh1").errors[PRIMARY]
    assert f"test MSE of {decimal(sum(full) / 9)} ± 0.0030 (mean ± deviation over 9 seeds)" in text
    assert text.endswith("on average the network does not beat the baseline; none of its 9 seeds did.")


@pytest.mark.parametrize(
    ("losses", "end"),
    [
        ((0.1, 0.2, 0.6), "on average the network beats the baseline; 2 of its 3 seeds did."),
        ((0.1, 0.2, NAN), "on average the network beats the baseline; all of its 2 seeds did."),
        ((0.3, 0.35, 0.6), "on average the network does not beat the baseline; 2 of its 3 seeds did."),
        ((0.3, NAN, NAN), "the network beats the baseline, as far as one seed can say."),
        ((NAN, NAN, NAN), "no run of the whole network is complete; the linear baseline has a test MSE of 0.4000."),
    ],
)
def test_seed_by_seed(found: Findings, losses: tuple[float, ...], end: str) -> None:
    runs = replace(found.runs_of("full", "ETTh1"), errors={PRIMARY: losses})
    cell = replace(found.cells[0], linear={PRIMARY: 0.4})
    assert against_linear(replace(found, arms=(runs,), cells=(cell,)), "ETTh1").endswith(end)


def test_the_difference_over_test_windows(found: Findings) -> None:
    cell = replace(found.cells[0], less_linear=WindowDifference(-0.0025, (-0.004, 0.001)))
    text = against_linear(replace(found, cells=(cell,)), "ETTh1")
    assert text.endswith("seeds did. The difference, −0.0025, is −0.0040 to 0.0010 over stretches of time (95%).")


def test_no_linear_baseline(found: Findings) -> None:
    cells = (replace(found.cells[0], linear={}),)
    assert "no linear baseline is on record" in against_linear(replace(found, cells=cells), "ETTh1")


def test_what_is_decided_comes_first(found: Findings) -> None:
    verdicts = [finding.verdict for finding in ordered(found.findings)]
    assert verdicts[0] == "helps" and verdicts[-1] == "inert"
    assert counts(found.of_cell("ETTh1")) == {
        **{"helps": 5, "hurts": 1, "need each other": 1, "no practical effect": 2},
        **{"undecided": 3, "invalid": 1, "incomplete": 1, "inert": 1},
    }
