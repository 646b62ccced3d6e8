"""The tables of effects: comparisons, arms of matched capacity, contrasts, frozen settings beside re-tuned ones."""

from collections.abc import Iterator

from ablations.findings.findings import Finding, Findings
from ablations.reporting.phrases import LOSS, less, network, null, place, positive
from ablations.reporting.tables import Row
from lab.pages.blocks import Block, Item, Text, items, table
from lab.pages.formats import (
    METRIC_NAMES,
    MISSING,
    decimal,
    interval,
    known,
    mean_deviation,
    p_value,
    percent,
    signed,
    whole,
)

_BY_NOISE = (
    "Three intervals, three kinds of noise. Over seeds (and the p-values): what would vary if these arms were trained "
    "again and read on the same test rows. Over windows: how the mean effect of these trained models varies over "
    "stretches of time, allowing for correlation over S + H rows. Over both: the two put together. A verdict is given "
    "without more words only where the last carries it; else it holds on these rows only. The family's alpha is kept "
    "over seeds; each interval over windows is 95% for its own arm alone. Not one of them speaks for other series."
)
_ON_AVERAGE = "'on average' is said only where the mean's bootstrap-t interval carries it, else 'in most runs'."
HOW_CONTRASTS = (
    "Every combination of the factors was trained. A main effect is that of doing without a part, averaged over the "
    "others on and off. An interaction of two is half the difference of one's effect where the other is off and where "
    "it is on: positive where they stand in for each other, negative where they need each other."
)


def effects(findings: Findings, rows: list[Row]) -> Iterator[Block | None]:
    yield Text(
        f"An effect is {less(findings, f'the {LOSS}')}, paired by seed: positive where {positive(findings)}. It is "
        f"that of the typical run, a pseudo-median. {how(findings)}"
    )
    yield Text(f"{null(findings)}: {_ON_AVERAGE}")
    for cell in findings.cells:
        mine = [(f, row) for f, row in _primary(findings, rows) if f.cell == cell.name and not f.factors]
        yield table(
            ("arm", "verdict", *sides(findings), "effect", "%", "95% over seeds", "95% over windows", "95% over both",
             "adjusted p", "equivalence p"),
            [_effect(finding, row) for finding, row in mine],
            f"Effects on the {LOSS}: {place(findings, cell.name)}",
            words=2,
        )  # fmt: skip
    yield Text(_BY_NOISE, "note")
    notes = {f.windows_note: None for f in findings.findings if f.windows is None and f.windows_note}
    yield items(Item(f"No interval over test windows: {note}") for note in notes)
    both = " / ".join(sides(findings))
    worse, the_part = ("worse without", " the part") if findings.league is None else ("model worse", "")
    for cell in findings.cells:
        mine = [(f, row) for f, row in _primary(findings, rows) if f.cell == cell.name and known(row["effect"])]
        yield table(
            ("arm", "n", "p", "family's interval", "its level", worse, "mean effect", "its 95%, bootstrap-t",
             f"middle half {both}", "Hedges' g", "margin", "seeds", "look", "diverged", "failed"),
            [_details(finding, row) for finding, row in mine],
            f"Details of the tests: {place(findings, cell.name)}; {worse}: share of the pairs (probability of "
            f"improvement); middle half: interquartile means; diverged and failed runs {both}{the_part}",
        )  # fmt: skip
    yield table(
        ("arm", "cell", "metric", "n", "effect", "%", "95% over seeds", "p, unadjusted"),
        [
            (
                row["finding"],
                row["cell"],
                METRIC_NAMES.get(row["metric"], row["metric"]),
                whole(row["n"]),
                signed(row["effect"]),
                percent(row["percent"]),
                bounds(row, "interval"),
                p_value(row["p"]),
            )
            for row in rows
            if not row["primary"] and known(row["effect"])
        ],
        "Other metrics: descriptive, no verdict rests on them",
        words=3,
    )


def sides(findings: Findings) -> tuple[str, str]:
    """Whose the two errors of an effect are."""
    return ("without", "with") if findings.league is None else ("the model's", f"{network(findings)}'s")


def how(findings: Findings) -> str:
    test = "the exact signed-rank test, adjusted for all comparisons (Holm) and looks"
    if findings.study.correction == "max_t":
        test = (
            "a joint permutation test of all arms (the largest t under flips of whole seeds; it asks that the effects "
            "of one seed, taken together, are as likely with all signs turned)"
        )
    looks = len(findings.looks)
    shared = f" Intervals are at {1 - 0.05 / looks:.1%} at each of {looks} looks: 95% whenever it stops." * (looks > 1)
    return f"Verdicts rest on {test}, and on signed-rank tests of equivalence (Holm).{shared}"


def _effect(finding: Finding, row: Row) -> tuple[str, ...]:
    return (
        finding.name,
        row["says"],
        mean_deviation(row["without_mean"], row["without_deviation"]),
        mean_deviation(row["with_mean"], row["with_deviation"]),
        signed(row["effect"]),
        percent(row["percent"]),
        bounds(row, "interval"),
        bounds(row, "window"),
        bounds(row, "both"),
        p_value(row["p_adjusted"]),
        p_value(row["equivalence_p_adjusted"]),
    )


def _details(finding: Finding, row: Row) -> tuple[str, ...]:
    level = MISSING if not known(row["adjusted_alpha"]) else f"{100 * (1 - row['adjusted_alpha']):.4g}%"
    both = [f"{row[f'{name}_without']} / {row[f'{name}_with']}" for name in ("diverged", "failed")]
    numbers = (
        f"{row['improvement']:.0%}",
        signed(row["mean"]),
        bounds(row, "mean"),
        f"{decimal(row['without_middle'])} / {decimal(row['with_middle'])}",
        decimal(row["standardised"], 2),
        decimal(row["margin"]),
    )
    judged = (whole(row["seeds"]), whole(row["look"]))
    return (
        finding.name,
        whole(row["n"]),
        p_value(row["p"]),
        bounds(row, "adjusted"),
        level,
        *numbers,
        *judged,
        *both,
    )


def matched(findings: Findings, rows: list[Row]) -> Block | None:
    pairs = {(f.cell, f.name): (f, row) for f, row in _primary(findings, rows) if not f.factors}
    body = []
    for (cell, name), (finding, row) in pairs.items():
        if finding.matched:
            plain = pairs.get((cell, finding.unmatched))
            effective = f"{whole(row['effective_without'])} / {whole(row['effective_with'])}"
            before = (signed(plain[1]["effect"]), plain[1]["says"]) if plain else (MISSING, MISSING)
            now = (signed(row["effect"]), row["says"])
            body.append((name, cell, finding.mismatch or MISSING, effective, *before, *now))
    header = ("arm", "cell", "what is left", "effective without / with", "effect, unmatched", "unmatched verdict")
    return table((*header, "effect, matched", "matched verdict"), body, words=3)


def contrasts(findings: Findings, rows: list[Row]) -> Iterator[Block | None]:
    found = [(f, row) for f, row in _primary(findings, rows) if f.factors]
    if not found:
        return
    yield Text(HOW_CONTRASTS)
    yield table(
        ("contrast", "verdict", "cell", "kind", "effect", "%", "95% over seeds", "adjusted p",
         "equivalence p"),
        [
            (f.name, row["says"], f.cell, "main effect" if len(f.factors) == 1 else "interaction",
             signed(row["effect"]), percent(row["percent"]), bounds(row, "interval"), p_value(row["p_adjusted"]),
             p_value(row["equivalence_p_adjusted"]))
            for f, row in found
        ],
        words=4,
    )  # fmt: skip


def retuned(findings: Findings, rows: list[Row]) -> Iterator[Block | None]:
    pairs = {(f.cell, f.name): (f, row) for f, row in _primary(findings, rows) if not f.factors}
    body = []
    for (cell, _), (finding, row) in pairs.items():
        if finding.tuned:
            frozen = pairs.get((cell, finding.untuned))
            both = [*([frozen] if frozen else []), (finding, row)]
            cells = [(signed(r["effect"]), bounds(r, "interval"), r["says"]) for _, r in both]
            body.append((finding.untuned, cell, *sum(cells if frozen else [(MISSING,) * 3, *cells], ())))
    if body:
        yield Text(
            "With frozen settings an arm runs with what suits the whole network; re-tuned, each arm and the whole "
            "network had a search of their own. Re-tuned intervals are conditional on that one search."
        )
        header = ("effect, frozen", "95% over seeds", "frozen verdict")
        yield table(("arm", "cell", *header, "effect, re-tuned", "95% over seeds", "re-tuned verdict"), body, words=2)


def _primary(findings: Findings, rows: list[Row]) -> list[tuple[Finding, Row]]:
    return list(zip(findings.findings, (row for row in rows if row["primary"]), strict=True))


def bounds(row: Row, name: str) -> str:
    return interval((row[f"{name}_low"], row[f"{name}_high"]))
