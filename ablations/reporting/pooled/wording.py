"""What a pooled row says, in one sentence that a reviewer would accept, with the part as its subject.

It names what was pooled over, claims for other series no more than the interval over series and origins carries, and
says on how many series it was so, and with what chance it is on the next one. Pure text of a `Findings` object.
"""

from collections.abc import Callable, Iterable, Mapping

from ablations.findings.findings import Finding, Findings, Interval, PooledFinding
from ablations.judging.pooling import Pooled
from ablations.judging.verdicts import (
    AT_THESE_ORIGINS,
    HELPS,
    HURTS,
    INCOMPLETE,
    INERT,
    INVALID,
    NO_EFFECT,
    ON_THESE_SERIES,
    SAME,
    UNDECIDED,
)
from ablations.reporting.phrases import (
    JUDGED,
    LOSS,
    TUNED,
    aside,
    changes,
    deed,
    drawn_start,
    either,
    exploratory,
    factors,
    interacts,
    listed,
    mark,
    subject,
    within,
)
from ablations.reporting.wording import ordered, spoken, tally, unspoken
from lab.arms import FULL
from lab.pages.formats import METRIC_NAMES, chance, counted, known, p_clause, p_value, percent, percents

_REACH = {"series": "over series and origins", "origins": "over origins as if these were independent", "": ""}


def sentence(findings: Findings, row: PooledFinding) -> str:
    """What was shown over all cells, how far it reaches, and what qualifies it."""
    said = f"On the test split of {scope(findings, row)}, {_SAY.get(row.shown, _untrained)(findings, row)}."
    return " ".join([said, *_elsewhere(row), *_qualifications(findings, row)])


def label(findings: Findings, row: PooledFinding) -> str:
    """The verdict with its subject: `the part helps, on these series only (validation: the opposite)`."""
    opposite = "validation: the opposite" if row.opposite else ""
    return spoken(findings, row.one, row.shown) + _only(row) + aside(*_marks(findings, row), opposite)


def brief(findings: Findings, row: PooledFinding) -> str:
    """As `label`, without what validation says."""
    return spoken(findings, row.one, row.shown) + _only(row) + aside(*_marks(findings, row))


def _marks(findings: Findings, row: PooledFinding) -> tuple[str, str]:
    return mark(findings, row.verdict), within(_cells(findings, row)) if row.verdict in JUDGED else ""


def kind(row: PooledFinding) -> str:
    """The verdict without its subject, to be counted."""
    return unspoken(row.one, row.shown) + _only(row)


def counts(rows: Iterable[PooledFinding]) -> dict[str, int]:
    """How many rows there are of each verdict, those that are decided first."""
    return tally(kind(row) for row in ordered(rows))


def scope(findings: Findings, row: PooledFinding) -> str:
    """What it was pooled over: `4 series (11 cells, 9 seeds)`."""
    cells = [findings.cell(name) for name in row.cells] or list(findings.cells)
    series = list(dict.fromkeys(cell.series for cell in cells))
    places = {(cell.series, cell.origin or -cell.back) for cell in cells}
    seeds = "" if row.decision is None else counted(row.decision.seeds or len(findings.seeds), "seed")
    origins = counted(len(places), "origin") if len(series) == 1 else ""
    over = counted(len(cells), "cell") if len(cells) > max(len(series), len(places) if origins else 0) else ""
    notes = ", ".join(filter(None, (origins, over, seeds)))
    name = series[0] if len(series) == 1 else f"{len(series)} series"
    return f"{name} ({notes})" if notes else name


def one_series(findings: Findings) -> bool:
    """Whether effects are pooled over the origins of one series alone."""
    return len({cell.series for cell in findings.cells}) == 1


def held(pooled: Pooled, helps: bool = True) -> tuple[int, int]:
    """On how many series, or origins, it was so, of how many without a diverged run."""
    means = [mean for mean in pooled.means if known(mean)]
    return sum(mean > 0 if helps else mean < 0 for mean in means), len(means)


def reaching(findings: Findings, row: PooledFinding) -> Interval | None:
    """The interval over series, which a verdict has to be carried by; in a study of one over its origins, which carries
    none.

    Of a part that is alive on one of several series there is none, though its origins have one.
    """
    over = "origins" if one_series(findings) else "series"
    return row.pooled.interval if row.pooled is not None and row.pooled.over == over else None


def without_cells(row: PooledFinding) -> str:
    """`ETTh1 and ETTh1-back1 (inert: why)`, by reason; "" where every cell is in it."""
    by_reason: dict[str, list[str]] = {}
    for cell, why in row.left_out.items():
        by_reason.setdefault(why.rstrip("."), []).append(cell)
    return "; ".join(f"{listed(cells)} ({why})" for why, cells in by_reason.items())


def _only(row: PooledFinding) -> str:
    return f", {row.verdict}" if row.verdict in (ON_THESE_SERIES, AT_THESE_ORIGINS) else ""


# By verdict ----------------------------------------------------------------------------------------------------------


def _decided(findings: Findings, row: PooledFinding) -> str:
    """Helps or hurts."""
    said = spoken(findings, row.one, row.shown)
    if interacts(row.one):
        parts = listed(factors(findings, row.one))
        said = f"{parts} {said}" if len(row.one.factors) == 2 else f"the parts {parts} have a {said}"
    said += f"{_confined(row)}{exploratory(findings)}"
    if row.pooled is None or not known(row.pooled.typical):
        return f"{said}: {_lost(findings, row)}, each the worst outcome of its pair, so that no size can be given"
    it = "their interaction" if interacts(row.one) else "it"
    return f"{said}: {observed(row, it=it)} ({_numbers(row, _p(row))})"


def _equivalent(findings: Findings, row: PooledFinding) -> str:
    decision = row.decision
    assert decision is not None
    what = _what(findings, row)
    within = f"within ±{findings.study.margin_percent:g}%"
    equivalence = p_clause("adjusted p of equivalence", decision.equivalence_p_adjusted)
    equivalence += _over(row, row.reach_equivalence_p)
    said = f"there is no practical effect of {what}{_confined(row)}{exploratory(findings)}"
    return f"{said}: {observed(row)} ({_numbers(row, equivalence)}), {within}"


def _undecided(findings: Findings, row: PooledFinding) -> str:
    decision, what = row.decision, _what(findings, row)
    assert decision is not None
    said = f"neither {what if interacts(row.one) else f'an effect of {what}'} nor its absence was shown"
    if row.pooled is None or not known(row.pooled.typical):
        return f"{said}, as {_lost(findings, row)}"
    equivalence = p_clause("of equivalence", decision.equivalence_p_adjusted)
    none = f"less than {findings.study.margin_percent:g}% either way would count as none"
    return f"{said}: {observed(row)} ({_numbers(row, f'{_p(row)}, {equivalence}')}); {none}"


def _invalid(findings: Findings, row: PooledFinding) -> str:
    lost = _lost(findings, row)
    return f"{_deed(findings, row)} cannot be judged: {lost}, and the other pairs show no direction that would hold"


def _incomplete(findings: Findings, row: PooledFinding) -> str:
    missing = sum(sum(one.failed) for one in _cells(findings, row, every=True))
    why = f"{counted(missing, 'run')} missing or failed" if missing else "there is no cell whose runs are all on record"
    return f"{_deed(findings, row)} is not judged: {why}"


def _inert(findings: Findings, row: PooledFinding) -> str:
    why = {reason.removeprefix("inert: ").rstrip(".") for reason in row.left_out.values()}
    return f"{_deed(findings, row)} changes nothing in any cell: {min(why) if len(why) == 1 else without_cells(row)}"


def _same(findings: Findings, row: PooledFinding) -> str:
    return (
        f"{_deed(findings, row)} made no difference in any cell: with every seed it came to the same errors, up to "
        "rounding, so that nothing is tested"
    )


def _untrained(findings: Findings, row: PooledFinding) -> str:
    return f"{_deed(findings, row)} has not been trained yet, so that nothing is known of it"


_SAY: Mapping[str, Callable[[Findings, PooledFinding], str]] = {
    HELPS: _decided,
    HURTS: _decided,
    NO_EFFECT: _equivalent,
    UNDECIDED: _undecided,
    INVALID: _invalid,
    INCOMPLETE: _incomplete,
    SAME: _same,
    INERT: _inert,
}


# Parts of speech -----------------------------------------------------------------------------------------------------


def _deed(findings: Findings, row: PooledFinding) -> str:
    return deed(findings, row.one)


def _what(findings: Findings, row: PooledFinding) -> str:
    """The part, or what was done where no part is one side of it."""
    if interacts(row.one):
        return f"the interaction of {listed(factors(findings, row.one))}"
    return deed(findings, row.one) if row.one.instead else subject(findings, row.one).rstrip(",")


def observed(row: PooledFinding, pooled: Pooled | None = None, loss: str = LOSS, it: str = "it") -> str:
    """The typical effect in plain words, whichever way round the arm is; `it`: an interaction."""
    found = pooled or row.pooled
    assert found is not None
    if interacts(row.one):
        return f"{it} is {percent(found.typical)} of the {loss}"
    side = f"with {row.one.without}" if row.one.instead else "without it"
    if found.typical == 0:
        return f"{side} the {loss} was the same"
    size = percent(abs(found.typical)).lstrip("+")
    return f"{side} the {loss} was {size} {'higher' if found.typical > 0 else 'lower'} in the typical run"


def _numbers(row: PooledFinding, *more: str) -> str:
    """Both intervals and what else there is, as in a bracket."""
    pooled = row.pooled
    assert pooled is not None
    seeds = f"over seeds {percents(pooled.seeds)}" if known(pooled.seeds[0]) else ""
    reach = f"{_REACH[pooled.over]} {percents(pooled.interval)}" if pooled.interval else ""
    return "; ".join(filter(None, (", ".join(filter(None, (seeds, reach))), *more)))


def _p(row: PooledFinding) -> str:
    assert row.decision is not None
    return p_clause("adjusted p", row.decision.p_adjusted) + _over(row, row.reach_p)


def _over(row: PooledFinding, p: float) -> str:
    """The adjusted p that decides how far a verdict reaches, behind that over seeds."""
    if row.pooled is None or row.pooled.interval is None or not known(p):
        return ""
    return f", over {row.pooled.over} {p_value(p)}"


def _confined(row: PooledFinding) -> str:
    """What was covered, where that is less than the verdict would need."""
    if not _only(row):
        return ""
    if row.verdict == AT_THESE_ORIGINS:
        return f" {row.verdict} (it was shown over seeds; origins share rows, and speak for no others)"
    if row.pooled is None or row.pooled.interval is None:
        return f" {row.verdict} (of other series nothing is known)"
    return f" {row.verdict} (it was shown over seeds, but other series could change that)"


def _elsewhere(row: PooledFinding) -> list[str]:
    """A sentence: where it was so, by how much from series to series, and with what chance it is so elsewhere."""
    pooled, hurts = row.pooled, row.shown == HURTS
    if pooled is None or not pooled.over or row.shown not in (HELPS, HURTS, NO_EFFECT, UNDECIDED):
        return []
    known_means = [mean for mean in pooled.means if known(mean)]
    span = f"effects of {percent(min(known_means))} to {percent(max(known_means))}" if known_means else ""
    places = "origins" if pooled.over == "origins" else "series"
    if row.shown == NO_EFFECT:
        return [f"From one of the {places} to another it had {span}."] if len(known_means) > 1 else []
    what, is_so = ("It helped", "that it helps") if not hurts else ("It hurt", "that it hurts")
    if row.one.instead or interacts(row.one):
        what, is_so = f"The effect was {'negative' if hurts else 'positive'}", "that it is so"
    count, whole = held(pooled, not hurts)
    where = f"{what} on {count} of {whole} {places}"
    if not known(pooled.typical):
        return [f"{where} without a diverged run ({span})."] if whole else []
    chances = [(pooled.next_series, "on the next series like these"), (pooled.next_origin, "at the next origin of one")]
    if pooled.over == "origins":
        chances = [(pooled.next_origin, "at the next origin of this series")]
    said = [f"{_odds(1 - p if hurts else p)} {place}" for p, place in chances if p is not None and known(p)]
    return [f"{where} ({span}){f'; the chance {is_so} is {listed(said)}' if said else ''}."]


def _odds(probability: float) -> str:
    return chance(probability).replace("<", "under").replace(">", "over")


def _lost(findings: Findings, row: PooledFinding) -> str:
    runs = [one.diverged for one in _cells(findings, row)]
    return f"{either(findings, row.one, (sum(each[0] for each in runs), sum(each[1] for each in runs)))} diverged"


def _cells(findings: Findings, row: PooledFinding, every: bool = False) -> list[Finding]:
    """The question in each of the cells that it is pooled over, or in those left out, too."""
    return [f for f in findings.findings if f.name == row.name and (every or f.cell in row.cells)]


def _qualifications(findings: Findings, row: PooledFinding) -> list[str]:
    """Sentences on what a reader must not overlook."""
    said, ones = [], _cells(findings, row)
    if row.opposite:
        found = row.validation
        assert found is not None
        val = METRIC_NAMES["val_mse"]
        said.append(f"Validation says the opposite: {observed(row, found, val)} (over seeds {percents(found.seeds)}).")
    for arm in dict.fromkeys((row.one.without, row.one.with_part)):
        runs = [runs for runs in findings.arms if runs.arm == arm and runs.cell in row.cells]
        far = sum(len(each.far) for each in runs)
        if far and arm != FULL:
            lost = f"{far} of {counted(sum(each.complete for each in runs), 'run')}"
            said.append(f"A risk of {arm} beside that: {lost} came out far worse than the others of their cell.")
    judged = row.shown in (HELPS, HURTS) and row.pooled is not None and known(row.pooled.typical)
    if judged and any(any(one.diverged) for one in ones):
        said.append(f"Note that {_lost(findings, row)}; in the test a diverged run counts as the worst outcome.")
    if row.verdict in JUDGED and (text := drawn_start(ones)):
        said.append(text)
    odd = [one for one in ones if one.mismatch]
    more = f" ({odd[0].cell}; likewise in {counted(len(odd) - 1, 'other cell')})" if len(odd) > 1 else ""
    said += changes(findings, row.one, odd[0].mismatch.rstrip(".") + more if odd else "")
    if row.one.tuned and row.decision is not None:
        said.append(TUNED)
    if row.cells and (text := without_cells(row)):
        said.append(f"Left out: {text}.")
    flags: dict[str, int] = {}
    for flag in (flag.split(" pairs ")[-1] for one in ones for flag in one.flags):
        flags[flag] = flags.get(flag, 0) + 1
    return [*said, *(f"Beware: in {counted(count, 'cell')} pairs {flag.rstrip('.')}." for flag, count in flags.items())]
