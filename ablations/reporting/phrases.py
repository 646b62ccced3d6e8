"""The parts of speech that `wording` makes sentences of: what was done, in which cell, and what qualifies it."""

import re
from collections.abc import Sequence

from ablations.findings.findings import PRIMARY, Effect, Finding, Findings
from ablations.judging.verdicts import (
    AT_THESE_ORIGINS,
    HELPS,
    HURTS,
    INVALID,
    NO_EFFECT,
    ON_THESE_ROWS,
    ON_THESE_SERIES,
    UNDECIDED,
)
from lab.arms import FULL
from lab.pages.formats import METRIC_NAMES, counted, decimal, interval, known, p_clause, percent, signed

LOSS = METRIC_NAMES[PRIMARY]
JUDGED = (HELPS, HURTS, NO_EFFECT, ON_THESE_ROWS, ON_THESE_SERIES, AT_THESE_ORIGINS, UNDECIDED, INVALID)


def place(findings: Findings, cell: str, *more: str) -> str:
    """The data, horizon and protocol of a cell: `ETTh2 (cell far, H=336)`."""
    data = findings.cell(cell)
    name = f"cell {cell}" if len(findings.cells) > 1 and cell != data.dataset else ""
    protocol = "" if data.protocol in ("", "clean") else f"{data.protocol} protocol"
    dated = data.trains_to and (findings.pooled or several_origins(findings))
    ends = f"trained to {day(data.trains_to)}" if dated else ""
    return f"{data.dataset} ({', '.join(filter(None, (name, f'H={data.pred_len}', ends, protocol, *more)))})"


def network(findings: Findings) -> str:
    """What the arms are held against, as a sentence calls it: the model itself where others stand beside it."""
    return "the whole network" if findings.league is None else findings.study.forecaster.title


def kind(findings: Findings) -> str:
    """What a page or a table calls the study."""
    return "Ablation study" if findings.league is None else "League"


def less(findings: Findings, loss: str, one: str = "a") -> str:
    """What an effect is: the error of an arm less that of what it is held against."""
    if findings.league is not None:
        return f"{loss} of {one} model less that of {network(findings)}"
    return f"{loss} without {one} part less {loss} with it"


def positive(findings: Findings) -> str:
    """Of what a positive effect speaks."""
    return "the part helps" if findings.league is None else f"{network(findings)} has the lower one"


def held_against(findings: Findings) -> str:
    """Whose error an effect is in percent of."""
    return "with the part" if findings.league is None else f"of {network(findings)}"


def minus(findings: Findings) -> str:
    """What an axis of effects says."""
    return f"{less(findings, 'loss', 'the').replace(' less ', ' − ')} (positive: {positive(findings)})"


def colours(findings: Findings) -> str:
    """What the colours of a field of effects say."""
    red = "it hurts" if findings.league is None else "the higher"
    return f"blue, positive: {positive(findings)} there; red, negative: {red}"


def null(findings: Findings) -> str:
    """The null hypothesis of every verdict, and what its test can bear."""
    beside = "without the part as with it"
    if findings.league is not None:
        beside = f"with the model as with {network(findings)}"
    return (
        f"The null hypothesis is that the typical run is as good {beside}: that the pseudo-median (Hodges and Lehmann) "
        "of the paired effects is 0. The exact signed-rank test of it keeps alpha under any noise that is symmetric "
        "about it, and keeps it nearly (8 to 9% for 5%) under exponential and lognormal noise. So few runs cannot "
        "bound a mean whose rare bad runs they have not met"
    )


def several_origins(findings: Findings) -> bool:
    """Whether a series is in it at more than one origin, so that dates tell its cells apart."""
    return any(cell.back for cell in findings.cells)


def day(date: str) -> str:
    """Without the hour."""
    return date[:10]


def seeds_of(findings: Findings, finding: Finding) -> int:
    """With how many it was judged."""
    judged = finding.decision.seeds if finding.decision else 0
    return judged or len(findings.seeds)


def adds(finding: Finding) -> bool:
    """Whether the arm adds the part; its own runs are then those with it."""
    return not finding.factors and finding.with_part == finding.name


def interacts(finding: Finding) -> bool:
    return len(finding.factors) > 1


def part(findings: Findings, finding: Finding) -> str:
    """What was removed or added, as a noun with what stands in its place."""
    return factors(findings, finding)[0] if finding.factors else _noun(finding.noun or finding.about, finding.aside)


def subject(findings: Findings, finding: Finding) -> str:
    """The part itself, as the subject of a verdict, whichever way round the arm is."""
    if not finding.attributable and not finding.matched:
        return f"what was {'added' if adds(finding) else 'removed'}, taken together,"
    return factors(findings, finding, brief=True)[0] if finding.factors else finding.noun or finding.about or "the part"


def verb(noun: str, stem: str) -> str:
    """`helps` of one thing, `help` of several: by the last word of what comes before `of`, `from`, a bracket."""
    words = re.split(r" (?:of|from|by|per|at) | \(|,", noun)[0].split()
    several = (
        words[-1].endswith("s")
        and not words[-1].endswith(("ss", "us", "is", "as"))
        and not re.match(r"every|\w+ing$", words[0])
    )
    return stem.removesuffix("s") if several else stem


def deed(findings: Findings, finding: Finding) -> str:
    """What was done, as the subject or object of a sentence."""
    if interacts(finding):
        return f"the interaction of {listed(factors(findings, finding))}"
    if finding.instead:
        return f"taking {finding.without} in place of {finding.with_part}"
    what = part(findings, finding)
    if finding.factors:
        return f"removing {what}, averaged over the other factors on and off,"
    if adds(finding):
        return f"adding {what} to {finding.without}"
    against = finding.against or finding.with_part
    return f"removing {what}" + (f" from {against}" if against not in ("", FULL) else "")


def factors(findings: Findings, finding: Finding, brief: bool = False) -> list[str]:
    removed = {arm.name: arm for arm in findings.study.factors}
    brief = brief or interacts(finding)
    return [_noun(removed[name].noun, "" if brief else removed[name].aside) for name in finding.factors]


def listed(names: Sequence[str]) -> str:
    """a; a and b; a, b and c."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else ""


def interaction_meaning(finding: Finding, positive: bool) -> str:
    """See `statistics.factorial_contrasts` for the signs."""
    if len(finding.factors) == 2:
        how = "the two stand in for each other (each is worth more where the other is off)"
        return how if positive else "the two need each other (each is worth more where the other is on)"
    if len(finding.factors) == 3:
        return f"any two of them stand in for each other {'more' if positive else 'less'} where the third is off"
    return f"a {'positive' if positive else 'negative'} interaction of {len(finding.factors)} parts"


def observed(finding: Finding, effect: Effect) -> str:
    """The typical effect in plain words, whichever way round the arm is."""
    if interacts(finding):
        return f"it is {signed(effect.typical)}"
    side = f"with {finding.without}" if finding.instead else "without it"
    if effect.typical == 0:
        return f"{side} the {LOSS} was the same"
    return f"{side} the {LOSS} was {decimal(abs(effect.typical))} {'higher' if effect.typical > 0 else 'lower'}"


def numbers(finding: Finding, *more: str) -> str:
    """Percent, interval and what else there is of the primary effect, as in a bracket."""
    effect = finding.effects[PRIMARY]
    bounds = f"over seeds {interval(effect.interval)}" if known(effect.interval[0]) else ""
    bounds += f", over seeds and windows {interval(finding.both)}" if finding.both else ""
    return "; ".join(filter(None, (percent(effect.percent), bounds, *more, pairs(finding))))


def adjusted(finding: Finding) -> str:
    assert finding.decision is not None
    return p_clause("adjusted p", finding.decision.p_adjusted)


def pairs(finding: Finding) -> str:
    """How many pairs the effect is one of, where that is not every seed."""
    effect, decision = finding.effects[PRIMARY], finding.decision
    if decision is None or effect.n == decision.seeds:
        return ""
    return f"over the {counted(effect.n, 'pair')} whose runs are both complete"


def allowed(findings: Findings, effect: Effect) -> str:
    """What the interval leaves open, in percent, beside what would count as nothing."""
    low, high = effect.interval
    if known(effect.with_mean) and effect.with_mean > 0:
        span = f"{percent(100 * low / effect.with_mean)} to {percent(100 * high / effect.with_mean)}"
    else:
        span = f"{signed(low)} to {signed(high)}"
    return f"{span}, where less than {findings.study.margin_percent:g}% either way would count as none"


def either(findings: Findings, finding: Finding, runs: tuple[int, int]) -> str:
    """How many runs without and with the part; a contrast has neither side."""
    if finding.factors:
        return f"{counted(sum(runs), 'run')} of the design"
    if findings.league is not None:
        return f"{counted(runs[0], 'run')} of the model and {runs[1]} of {network(findings)}"
    return f"{counted(runs[0], 'run')} without the part and {runs[1]} with it"


def exploratory(findings: Findings) -> str:
    return aside("exploratory" if findings.exploratory else "")


def mark(findings: Findings, verdict: str) -> str:
    """What a verdict that was judged carries wherever it stands; what was not judged promises nothing anyway."""
    return "exploratory" if findings.exploratory and verdict in JUDGED else ""


def aside(*notes: str) -> str:
    """What stands in one bracket behind a verdict, with a space before it; "" for nothing."""
    there = "; ".join(filter(None, notes))
    return f" ({there})" if there else ""


def qualifications(findings: Findings, finding: Finding) -> list[str]:
    """Sentences on what a reader must not overlook."""
    said = []
    judged = PRIMARY in finding.effects and known(finding.effects[PRIMARY].mean)  # else the verdict says so itself
    if finding.opposite and finding.validation is not None:
        effect = finding.validation
        moved = "higher" if effect.typical > 0 else "lower"
        side = f"with {finding.without}" if finding.instead else "without it"
        said.append(
            f"Validation says the opposite: {side} the validation MSE was {decimal(abs(effect.typical))} {moved} "
            f"({percent(effect.percent)}; over seeds {interval(effect.interval)})."
        )
    for arm in dict.fromkeys((finding.without, finding.with_part)):
        runs = next((runs for runs in findings.arms if (runs.arm, runs.cell) == (arm, finding.cell)), None)
        if runs is not None and runs.far and arm != FULL:
            lost = f"{len(runs.far)} of {runs.complete} runs"
            said.append(f"A risk of {arm} beside that: {lost} came out far worse than the others.")
    if finding.shown in ("helps", "hurts") and any(finding.diverged) and judged:
        worst = "in the test a diverged run counts as the worst outcome"
        said.append(f"Note that {either(findings, finding, finding.diverged)} diverged; {worst}.")
    if judged and (text := drawn_start([finding])):
        said.append(text)
    said += changes(findings, finding, finding.mismatch)
    if finding.tuned and finding.decision is not None:
        said.append(TUNED)
    return [*said, *(f"Beware: {flag.rstrip('.')}." for flag in finding.flags)]


def within(found: Sequence[Finding]) -> str:
    """Beside a verdict, of one question in several cells: for how long a start from drawn weights was trained."""
    epochs = sorted({each.drawn.epochs for each in found if each.drawn is not None})
    return f"within {_span([f'{number}' for number in epochs])} epochs" if epochs else ""


def drawn_start(found: Sequence[Finding]) -> str:
    """A sentence: that a start from drawn weights had no more than the study's training to catch up in."""
    drawn = [each.drawn for each in found if each.drawn is not None]
    if not drawn:
        return ""
    unfinished, runs = sum(each.unfinished for each in drawn), sum(each.runs for each in drawn)
    epochs = _span([f"{number}" for number in sorted({each.epochs for each in drawn})])
    rates = _span([f"{rate:.3g}" for rate in sorted({each.rate for each in drawn})])
    improving = f"{unfinished or 'none'} of its {counted(runs, 'run')} ended with the best epoch"
    return (
        f"The side that starts from drawn weights, where the other starts from a closed form, was trained for at most "
        f"{epochs} epochs at a learning rate of {rates} ({improving}): of longer or faster training this says little."
    )


def _span(numbers: Sequence[str]) -> str:
    """The first and the last, where these are two."""
    return " to ".join(dict.fromkeys((numbers[0], numbers[-1])))


TUNED = (
    "The settings were tuned anew for each arm: the interval is conditional on what one search chose, and does not "
    "hold the noise of searching."
)


def changes(findings: Findings, finding: Finding, mismatch: str) -> list[str]:
    """What changes beside the part. `mismatch`: what matching left, where that is to be said."""
    said = []
    if not finding.attributable and not finding.instead and not finding.matched:
        said.append("Several things change together here, so that this cannot be put down to one part.")
    if finding.matched:
        left = f"; what is left: {mismatch.rstrip('.')}" if mismatch else ""
        width = findings.study.forecaster.width_words[0]
        said.append(f"{width[0].upper()}{width[1:]} was changed too, to match the number of parameters{left}.")
    elif mismatch:
        said.append(f"The number of parameters could not be matched: {mismatch.rstrip('.')}.")
    return said


def _noun(noun: str, aside: str) -> str:
    return f"{noun} ({aside})" if aside else noun
