"""What a finding says, in one sentence that a reviewer would accept. Pure text of a `Findings` object.

A sentence names the data, the horizon, the split and the seeds, and claims no more than was shown: an undecided finding
is not "no effect", and a small effect is none only where it was shown to be small. What seeds alone show is said of
these rows; the part, not the arm without it, is what helps or hurts.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

from ablations.findings.findings import PRIMARY, Finding, Findings, PooledFinding
from ablations.judging.verdicts import (
    AT_THESE_ORIGINS,
    DESCRIPTIVE,
    HELPS,
    HURTS,
    INCOMPLETE,
    INERT,
    INVALID,
    NO_EFFECT,
    ON_THESE_ROWS,
    ON_THESE_SERIES,
    RESOLUTION,
    SAME,
    UNDECIDED,
)
from ablations.reporting.phrases import (
    JUDGED,
    LOSS,
    adds,
    adjusted,
    allowed,
    aside,
    deed,
    either,
    exploratory,
    interaction_meaning,
    interacts,
    mark,
    network,
    numbers,
    observed,
    pairs,
    place,
    qualifications,
    seeds_of,
    subject,
    verb,
    within,
)
from lab.arms import FULL
from lab.pages.formats import (
    counted,
    decimal,
    interval,
    known,
    mean_deviation,
    over_windows,
    p_clause,
    percent,
    signed,
)

UNTRAINED = "not trained"
# What is decided comes first.
ORDER = (
    HELPS, HURTS, NO_EFFECT, ON_THESE_SERIES, AT_THESE_ORIGINS, ON_THESE_ROWS, UNDECIDED, INVALID, INCOMPLETE,
    DESCRIPTIVE, UNTRAINED, SAME, INERT,
)  # fmt: skip


def sentence(findings: Findings, finding: Finding) -> str:
    """What was found, and after it what qualifies that: several changes at once, one search, divergence, flags."""
    seeds = "" if finding.verdict in (INERT, UNTRAINED) else counted(seeds_of(findings, finding), "seed")
    said = _SAY.get(finding.shown, _untrained)(findings, finding)
    where = place(findings, finding.cell, seeds)
    return " ".join([f"On the test split of {where}, {said}.", *qualifications(findings, finding)])


def label(findings: Findings, finding: Finding) -> str:
    """The verdict with its subject and what is said beside it: `the part helps (validation: the opposite)`.

    Wherever a verdict stands by itself, it is this or `brief`, so that none goes without its marks.
    """
    opposite = "validation: the opposite" if finding.opposite else ""
    return _brief(findings, finding) + aside(*_marks(findings, finding), opposite)


def brief(findings: Findings, finding: Finding) -> str:
    """As `label`, without what validation says."""
    return _brief(findings, finding) + aside(*_marks(findings, finding))


def _marks(findings: Findings, finding: Finding) -> tuple[str, str]:
    return mark(findings, finding.verdict), within([finding]) if finding.verdict in JUDGED else ""


def _brief(findings: Findings, finding: Finding) -> str:
    """The verdict with its subject, so that nobody reads that an arm without a part helps: `the part helps`."""
    return spoken(findings, finding, finding.shown) + _only(finding)


def spoken(findings: Findings, finding: Finding, shown: str) -> str:
    """What was shown, with the part as its subject: of one cell, or of `finding`'s question over several."""
    if shown in (HELPS, HURTS) and not interacts(finding):
        return _helps(findings, finding, shown)
    return unspoken(finding, shown)


def kind(finding: Finding) -> str:
    """The verdict without its subject, to be counted: `helps`, `helps, on these rows only`."""
    return unspoken(finding, finding.shown) + _only(finding)


def unspoken(finding: Finding, shown: str) -> str:
    """An interaction neither helps nor hurts, so that its sign is put in other words."""
    if not interacts(finding) or shown not in (HELPS, HURTS):
        return shown
    if len(finding.factors) == 2:
        return "replace each other" if shown == HELPS else "need each other"
    return "positive interaction" if shown == HELPS else "negative interaction"


def _only(finding: Finding) -> str:
    return f", {ON_THESE_ROWS}" if finding.verdict == ON_THESE_ROWS else ""


def _helps(findings: Findings, finding: Finding, shown: str) -> str:
    if finding.instead:
        return f"{finding.with_part if shown == HELPS else finding.without} is the better of the two"
    what = subject(findings, finding)
    return f"{what} {verb(what, shown)}"


_Asked = TypeVar("_Asked", Finding, PooledFinding)


def ordered(findings: Iterable[_Asked]) -> list[_Asked]:
    """Those that are decided first; otherwise in the order given."""
    return sorted(findings, key=lambda finding: ORDER.index(finding.verdict))


def counts(findings: Iterable[Finding]) -> dict[str, int]:
    """How many findings there are of each label, those that are decided first."""
    return tally(kind(finding) for finding in ordered(findings))


def tally(kinds: Iterable[str]) -> dict[str, int]:
    """How many of each, in the order in which they come first."""
    return dict(Counter(kinds))


def against_linear(findings: Findings, cell: str) -> str:
    """Whether the whole network beats the closed-form linear baseline, on average and seed by seed."""
    where, bar = f"On the test split of {place(findings, cell)}", findings.cell(cell).linear.get(PRIMARY)
    if bar is None or not known(bar):
        return f"{where}, no linear baseline is on record to compare {network(findings)} with."
    full = next((runs for runs in findings.arms if (runs.arm, runs.cell) == (FULL, cell)), None)
    losses = [loss for loss in full.errors.get(PRIMARY, ()) if known(loss)] if full else []
    if full is None:
        return _arms_against_linear(findings, cell, where, bar)
    if not losses:
        lost = f"{where}, no run of {network(findings)} is complete"
        return f"{lost}; the linear baseline has a {LOSS} of {decimal(bar)}."
    mean, better = full.mean(PRIMARY) or 0.0, sum(loss < bar for loss in losses)
    it = "the network" if findings.league is None else "it"
    beats = "beats the baseline" if mean < bar else "does not beat the baseline"
    if len(losses) == 1:
        end = f"{it} {beats}, as far as one seed can say"
    else:
        share = {0: "none", len(losses): "all"}.get(better, f"{better}")
        end = f"on average {it} {beats}; {share} of its {len(losses)} seeds did"
    spread = mean_deviation(mean, full.deviation(PRIMARY))
    return (
        f"{where}, {network(findings)} has a {LOSS} of {spread} (mean ± deviation over "
        f"{counted(len(losses), 'seed')}) and the closed-form linear baseline one of {decimal(bar)}: {end}."
        f"{over_windows(findings.cell(cell).less_linear)}"
    )


def _arms_against_linear(findings: Findings, cell: str, where: str, bar: float) -> str:
    """Of a study that does not train the whole network."""
    means = {runs.arm: mean for runs in findings.arms if runs.cell == cell and (mean := runs.mean(PRIMARY)) is not None}
    if not means:
        return f"{where}, no run is complete; the linear baseline has a {LOSS} of {decimal(bar)}."
    best = min(means, key=lambda arm: means[arm])
    beats = "beats" if means[best] < bar else "does not beat"
    return (
        f"{where}, the whole network is no arm of this study; of its arms {best} has the lowest mean {LOSS}, "
        f"{decimal(means[best])}, which {beats} the closed-form linear baseline's {decimal(bar)}."
    )


# By verdict ----------------------------------------------------------------------------------------------------------


def _decided(findings: Findings, finding: Finding) -> str:
    """Helps or hurts."""
    effect, what = finding.effects[PRIMARY], deed(findings, finding)
    if not known(effect.typical):  # so many runs diverged that no pairs are left, which decides by itself
        return f"{what} is decided by divergence alone, for {_lost(findings, finding)}: {_verdict(findings, finding)}"
    if interacts(finding):
        meaning = interaction_meaning(finding, effect.typical > 0) + _reach(finding) + exploratory(findings)
        size = f"{signed(effect.typical)} in {LOSS} ({numbers(finding, adjusted(finding))})"
        return f"{what} is {size}: {meaning}"
    moved = "raised" if (effect.typical > 0) != adds(finding) else "lowered"
    turned = "doing without it: " if adds(finding) else ""
    bracket = f"{turned}{numbers(finding, adjusted(finding))}"
    size = f"{decimal(abs(effect.typical))} in the typical run{_often(finding)}"
    return f"{what} {moved} the {LOSS} by {size} ({bracket}): {_verdict(findings, finding)}"


def _verdict(findings: Findings, finding: Finding) -> str:
    return f"{_helps(findings, finding, finding.shown)}{_reach(finding)}{exploratory(findings)}"


def _reach(finding: Finding) -> str:
    """What was covered, where that is less than the verdict would need."""
    if finding.verdict != ON_THESE_ROWS:
        return ""
    if finding.both is None:
        why = f" ({finding.windows_note})" if finding.windows_note else ""
        return f" on these rows only: over other stretches of time nothing is known{why}"
    return " on these rows only: it was shown over seeds, but other stretches of time could change that"


def _often(finding: Finding) -> str:
    """`on average` where the mean's interval carries it; else in how many runs."""
    effect = finding.effects[PRIMARY]
    if finding.on_average:
        return f" and by {decimal(abs(effect.mean))} on average"
    share = effect.improvement if effect.typical > 0 else 1 - effect.improvement
    return f" (in most runs, {round(share * effect.n)} of {effect.n}; of the average nothing is shown)"


def _equivalent(findings: Findings, finding: Finding) -> str:
    effect, decision = finding.effects[PRIMARY], finding.decision
    assert decision is not None
    within = f"within ±{findings.study.margin_percent:g}% (±{decimal(decision.margin)})"
    said = f"{deed(findings, finding)} left the {LOSS} {within} of what it was"
    if interacts(finding):
        said = f"{deed(findings, finding)} is {within} of the {LOSS}"
    equivalence = p_clause("adjusted p of equivalence", decision.equivalence_p_adjusted)
    also = ""
    if decision.p_adjusted <= findings.study.alpha and abs(effect.typical) > RESOLUTION * effect.with_mean:
        also = f"; that it differs from 0 was shown too ({adjusted(finding)}), but it is less than matters"
    elif abs(effect.typical) <= RESOLUTION * effect.with_mean:
        also = "; two machines differ by as much"
    often = " and on average" if finding.on_average else ", so in most runs; of the average nothing is shown"
    size = f"{observed(finding, effect)} ({numbers(finding, equivalence)})"
    return (
        f"{said} in the typical run{often}: {size}: no practical effect{_reach(finding)}{exploratory(findings)}{also}"
    )


def _undecided(findings: Findings, finding: Finding) -> str:
    effect, decision = finding.effects.get(PRIMARY), finding.decision
    assert decision is not None
    what = deed(findings, finding)
    said = f"neither {what if interacts(finding) else f'an effect of {what}'} nor its absence was shown"
    if effect is None or not known(effect.typical):
        return said
    equivalence = p_clause("of equivalence", decision.equivalence_p_adjusted)
    bracket = "; ".join(filter(None, (percent(effect.percent), f"{adjusted(finding)}, {equivalence}", pairs(finding))))
    if not any(map(math.isfinite, effect.interval)):
        return f"{said}: {observed(finding, effect)} ({bracket}); so few seeds give no 95% interval"
    return (
        f"{said}: {observed(finding, effect)} ({bracket}), and the 95% interval over seeds, "
        f"{interval(effect.interval)}, still allows {allowed(findings, effect)}"
    )


def _invalid(findings: Findings, finding: Finding) -> str:
    said = f"{deed(findings, finding)} cannot be judged"
    if reason := findings.cell(finding.cell).invalid:
        return f"{said}, for nothing in this cell may be compared: {reason.rstrip('.')}"
    return (
        f"{said}: {_lost(findings, finding)}, and the pairs that are left show no direction that would hold however "
        "those had ended"
    )


def _incomplete(findings: Findings, finding: Finding) -> str:
    if not sum(finding.failed):
        return f"{deed(findings, finding)} is not judged: arms that it compares have no run on record"
    are = "run is" if sum(finding.failed) == 1 else "runs are"
    missing = f"{sum(finding.failed)} {are} missing or failed ({either(findings, finding, finding.failed)})"
    return f"{deed(findings, finding)} is not judged: {missing}"


def _inert(findings: Findings, finding: Finding) -> str:
    said = f"{deed(findings, finding)} changes nothing: {finding.inert.rstrip('.')}"
    effect = finding.effects.get(PRIMARY)
    if effect is None or not effect.by_seed:
        return f"{said}; it was not trained"
    largest, seeds = max(map(abs, effect.by_seed.values())), counted(len(effect.by_seed), "seed")
    if largest == 0:
        return f"{said}; trained all the same, it came to the same {LOSS} with each of {seeds}"
    return (
        f"{said}; yet trained all the same, its {LOSS} differs by up to {decimal(largest)} over {seeds}: look into it"
    )


def _same(findings: Findings, finding: Finding) -> str:
    trained = counted(len(finding.effects[PRIMARY].by_seed) if PRIMARY in finding.effects else 0, "seed")
    return (
        f"{deed(findings, finding)} made no difference: with each of {trained} it came to the same errors, up to "
        "rounding, so that nothing is tested"
    )


def _described(findings: Findings, finding: Finding) -> str:
    effect, what = finding.effects.get(PRIMARY), deed(findings, finding)
    if effect is None or not known(effect.typical):
        return f"{what} is not judged by itself"
    return f"{what}: {observed(finding, effect)} ({numbers(finding)}), which is descriptive"


def _untrained(findings: Findings, finding: Finding) -> str:
    return f"{deed(findings, finding)} has not been trained yet, so that nothing is known of it"


def _lost(findings: Findings, finding: Finding) -> str:
    return f"{either(findings, finding, finding.diverged)} diverged"


_SAY: dict[str, Callable[[Findings, Finding], str]] = {
    HELPS: _decided,
    HURTS: _decided,
    NO_EFFECT: _equivalent,
    UNDECIDED: _undecided,
    INVALID: _invalid,
    INCOMPLETE: _incomplete,
    DESCRIPTIVE: _described,
    SAME: _same,
    INERT: _inert,
}
