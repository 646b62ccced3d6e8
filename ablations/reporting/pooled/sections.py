"""What a pooled study found, section by section: its rows first, then where they hold, then cell by cell."""

from collections.abc import Iterator

from ablations.findings.findings import PRIMARY, Finding, Findings
from ablations.reporting import sections
from ablations.reporting.effect_sections import HOW_CONTRASTS, bounds, how, matched, retuned, sides
from ablations.reporting.phrases import LOSS, colours, exploratory, less, network, null, place, positive
from ablations.reporting.pooled import figures
from ablations.reporting.pooled.glance import picture
from ablations.reporting.pooled.tables import cell_bars, header, shown
from ablations.reporting.pooled.wording import counts, label, one_series, without_cells
from ablations.reporting.sealed import sealed
from ablations.reporting.tables import Row, effect_rows
from lab.pages.blocks import Block, Section, Text, drawing, section, table
from lab.pages.formats import METRIC_NAMES, MISSING, counted, known, mean_deviation, percent, signed, whole
from lab.pages.svg import slug


def evidence(findings: Findings) -> list[Section | None]:
    rows = effect_rows(findings)
    return [
        section("The answer at a glance", "glance", _glance(findings)),
        section("Before you read on", "first", sections.first(findings)),
        section("Effects over all cells", "pooled", _pooled(findings)),
        section("Where they hold: cell by cell", "forest", _cells(findings)),
        section("From origin to origin", "origins", _origins(findings)),
        section("On sealed rows", "sealed", sealed(findings)),
        section("Contrasts of the factorial", "contrasts", _contrasts(findings)),
        section("Series, origins and their dates", "places", _places(findings)),
        *sections.bars(findings),
        section("Left out of the pooling", "left-out", _left_out(findings)),
        section("Effects in each cell", "effects", _descriptive(findings, rows)),
        *sections.cell_by_cell(findings),
        section("Arms of matched capacity", "matched", [matched(findings, rows)]),
        section("Frozen and re-tuned settings", "retuned", retuned(findings, rows)),
    ]


def _glance(findings: Findings) -> Iterator[Block | None]:
    over = f"each once over {_extent(findings)}"
    return sections.glance(findings, counts(findings.pooled), over, [picture(findings)])


def _extent(findings: Findings) -> str:
    """`4 series, 11 cells`."""
    series = {cell.series for cell in findings.cells}
    return f"{len(series)} series, {counted(len(findings.cells), 'cell')}"


def _pooled(findings: Findings) -> Iterator[Block | None]:
    yield Text(
        f"An effect is {less(findings, f'the {LOSS}')}, paired by seed, in percent of the latter in that cell: "
        f"positive where {positive(findings)}. {averaged(findings)}; what is shown is that of the "
        f"typical run, a pseudo-median. {how(findings)}"
    )
    yield Text(f"{null(findings)}.")
    yield table(header(findings), _rows(findings, contrasts=False), f"Effects on the {LOSS}, pooled", words=2)
    yield Text(_reach(findings), "note")


def averaged(findings: Findings) -> str:
    if one_series(findings):
        return "It is averaged over the origins"
    return "It is averaged over the origins of a series, then over series, which count alike"


def _rows(findings: Findings, contrasts: bool) -> list[tuple[str, ...]]:
    return [shown(findings, row) for row in findings.pooled if bool(row.one.factors) == contrasts]


_OVER_SERIES = (
    "Two intervals, two kinds of noise. Over seeds: what would vary if these arms were trained again on the same "
    "series at the same origins. Over series and origins: what would vary on other series like these; it is Student's "
    "t over the means of the series, 95% for its own arm alone. A verdict is decided over seeds first, in a family of "
    "all arms; it stands without more words only where a family over series (Holm, at the same alpha) carries it too. "
    "Few series show little: with two the interval reaches 12.7 standard errors to either side, with three 4.3, with "
    "four 3.2; that a part helps on all of K series is a coin's luck once in 2^K times. The chances at the next series "
    "and at the next origin are predictions of Student's t that start from an even chance: few series never promise "
    "much. Nobody drew these series at random from the world's: 'like these' is a judgement."
)
_OVER_ORIGINS = (
    "Two intervals, two kinds of noise. Over seeds: what would vary if these arms were trained again at the same "
    "origins; verdicts rest on this alone, in a family of all arms, and so are of these origins only. Over origins: "
    "Student's t as if they were independent. They are not, for they share training rows and drift: where neighbours "
    "correlate by 0.4 to 0.7, three of them cover 89 to 78% where 95% are meant, so that this interval is there to be "
    "looked at and decides nothing. Nothing here speaks for other series."
)


def _reach(findings: Findings) -> str:
    return _OVER_ORIGINS if one_series(findings) else _OVER_SERIES


def _cells(findings: Findings) -> Iterator[Block | None]:
    yield Text("Descriptive: no verdict is given on a cell by itself; the family of tests is the pooled rows alone.")
    yield drawing(
        figures.heatmap(findings, "arms-by-cells"),
        f"Effect in percent{exploratory(findings)}, arms by cells, and pooled: {colours(findings)}. Empty: the arm is "
        "left out there.",
    )
    over = "origins as if independent" if one_series(findings) else "series and origins"
    yield Text(
        "Arm by arm. Grey: each cell, by the date to which it was trained, with its 95% interval over seeds; last, "
        f"pooled: thick over seeds; thin, and in brackets, over {over}.",
        "note",
    )
    for row in findings.pooled:
        drawn = figures.forest(findings, row, slug("forest", row.name))
        yield drawing(drawn, f"{row.name}: {label(findings, row)}.")


def _origins(findings: Findings) -> Iterator[Block | None]:
    yield drawing(
        figures.by_origin(findings, "by-origin"),
        f"Effect against origin{exploratory(findings)}, with 95% intervals over seeds; each panel has a scale of its "
        "own, the shaded band is the margin in all of them. Before: by how many test lengths training ends earlier.",
    )


def _contrasts(findings: Findings) -> Iterator[Block | None]:
    if rows := _rows(findings, contrasts=True):
        yield Text(HOW_CONTRASTS)
        yield table(("contrast", *header(findings)[1:]), rows, f"Contrasts on the {LOSS}, pooled", words=2)


def _places(findings: Findings) -> Iterator[Block | None]:
    yield table(
        ("cell", "series", "trained to", "test period", "H", "training ends at row", "test windows"),
        [
            (cell.name, cell.series, cell.trains_to or MISSING, cell.test_period or MISSING, str(cell.pred_len),
             whole(cell.origin or None), whole(cell.test_windows))
            for cell in findings.cells
        ],
        "Which rows and dates each cell is of",
        words=4,
    )  # fmt: skip
    for metric in (PRIMARY, "val_mse"):
        about = f"{METRIC_NAMES[metric]} by cell: {network(findings)} and the bars (*: the best of them on validation)"
        yield table(*cell_bars(findings, metric), f"{about[0].upper()}{about[1:]}")


def _left_out(findings: Findings) -> Iterator[Block | None]:
    yield table(
        ("arm", "cells, and why"), [(row.name, without_cells(row)) for row in findings.pooled if row.left_out], words=2
    )


def _descriptive(findings: Findings, rows: list[Row]) -> Iterator[Block | None]:
    yield Text(f"As on the page of a study of one cell, in units of the {LOSS}; no verdict rests on these.")
    primary = list(zip(findings.findings, (row for row in rows if row["primary"]), strict=True))
    for cell in findings.cells:
        yield table(
            ("arm", *sides(findings), "effect", "%", "95% over seeds", "95% over windows", "95% over both", "n"),
            [_effect(finding, row) for finding, row in primary if finding.cell == cell.name and known(row["effect"])],
            f"Effects on the {LOSS}, descriptive: {place(findings, cell.name)}",
        )


def _effect(finding: Finding, row: Row) -> tuple[str, ...]:
    return (
        finding.name, mean_deviation(row["without_mean"], row["without_deviation"]),
        mean_deviation(row["with_mean"], row["with_deviation"]), signed(row["effect"]), percent(row["percent"]),
        bounds(row, "interval"), bounds(row, "window"), bounds(row, "both"), whole(row["n"]),
    )  # fmt: skip
