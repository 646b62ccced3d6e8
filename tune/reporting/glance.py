"""The answer at a glance: what the search found beside what it has to beat, the lowest error first."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from lab.pages.blocks import Strip, Strips
from lab.pages.formats import METRIC_NAMES, counted, decimal, known, mean_deviation
from lab.pages.strips import Axis
from tune.findings.findings import SearchFindings
from tune.reporting.axes import Reach
from tune.reporting.figures import quoted


@dataclass(frozen=True)
class _Shown:
    name: str
    error: float
    deviation: float = math.nan
    mark: str = "diamond"
    tone: str = "grey"
    hollow: bool = False


def picture(findings: SearchFindings) -> Strips | None:
    """By the test MSE of the best trial's final replicates, else by validation; None where no trial is complete."""
    if findings.best is None:
        return None
    final = findings.final
    tested = final is not None and bool(final.known("test_mse"))
    rows = sorted(_tested(findings) if tested else _validated(findings), key=lambda row: row.error)
    ours = [row.error for row in rows if row.mark == "dot"]
    reach = Reach.of([row.error for row in rows], least=max(ours))
    ends = [
        row.error + sign * row.deviation for row in rows if row.error <= reach.cut and known(row.deviation)
        for sign in (-1, 1)
    ]  # fmt: skip
    axis = Axis.holding([*(row.error for row in rows if row.error <= reach.cut), *ends])
    metric = METRIC_NAMES["test_mse" if tested else "val_mse"]
    far = " An arrow: so far above the others that it is off this axis." if reach.pressed else ""
    return Strips(
        tuple(_strip(row, axis, row.error > reach.cut) for row in rows), axis.ticks(),
        f"{metric[0].upper()}{metric[1:]} on z-scored data, the lowest first",
        "Round: what the search found, with one standard deviation over seeds; diamonds: bars, fitted in closed form"
        f"{'; squares: other models, hollow where only their papers say so' if tested and _others(findings) else ''}."
        f"{far}",
    )  # fmt: skip


def _strip(row: _Shown, axis: Axis, far: bool) -> Strip:
    said = mean_deviation(row.error, row.deviation) if known(row.deviation) else decimal(row.error)
    if far:
        return Strip(row.name, said, reaches=((1.0, 1.0),), tone=row.tone)
    reaches = axis.span((row.error - row.deviation, row.error + row.deviation))
    return Strip(
        row.name, said, at=axis.place(row.error), reaches=reaches, mark=row.mark, tone=row.tone, hollow=row.hollow
    )


def _tested(findings: SearchFindings) -> Iterator[_Shown]:
    final = findings.final
    assert final is not None
    name = f"{final.trial}, {counted(len(final.known('test_mse')), 'final replicate')}"
    yield _Shown(name, final.mean("test_mse"), final.deviation("test_mse"), "dot", "blue")
    yield from _bars(findings, "test_mse")
    yield from _others(findings)


def _others(findings: SearchFindings) -> list[_Shown]:
    measured = [
        _Shown(f"{each.title}, measured", each.mean("test_mse"), each.deviation("test_mse"), "square", "violet")
        for each in findings.measured
    ]
    papers = [_Shown(f"{each.name}, quoted", each.mse, mark="square", tone="violet", hollow=True)
              for each in quoted(findings)]  # fmt: skip
    return [row for row in (*measured, *papers) if known(row.error)]


def _validated(findings: SearchFindings) -> Iterator[_Shown]:
    best = findings.best
    assert best is not None
    yield _Shown(f"best trial, {best.trial}", best.loss, best.deviation, "dot", "blue")
    yield from _bars(findings, "val_mse")


def _bars(findings: SearchFindings, metric: str) -> Iterator[_Shown]:
    standing = findings.standing if metric == "test_mse" else findings.marked
    for bar in standing.rows:
        error = bar.errors.get(metric, math.nan)
        if known(error):
            start = bar is standing.start
            best = standing.best is not None and bar.name == standing.best.name
            name = f"{bar.title} (best bar by validation)" if best else bar.title
            yield _Shown(name, error, math.nan, "triangle" if start else "diamond", "ink" if best else "grey")
