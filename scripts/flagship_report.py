"""`make flagship-report`: what the flagship study found, from its records alone: pages, one figure, and the tables.

Every number of docs/findings.md, and of the README's section "What we found", is printed here.
"""

import argparse
import contextlib
import io
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import ablations.report
import tune.report
from ablations.findings.collect import findings_of as ablation_findings
from ablations.findings.findings import Findings
from ablations.judging.statistics import t_interval
from ablations.reporting.console import sentence_lines, verdict_lines
from dynonet.forecaster import DYNONET
from forecasters.reported import PUBLISHED_CODE_ETTH1_H96, PUBLISHED_ETTH1_H96
from lab.arms import FULL
from lab.baseline import every_bar, one_bar, table
from lab.errors import DataError
from lab.pages import svg
from lab.pages.formats import mean_deviation
from lab.references.wording import added
from lab.series import load_series
from lab.store.frames import open_results
from lab.store.schema import BARS, START
from lab.store.tables import Results
from tune.conclusion import origins_text
from tune.findings.collect import findings_of as search_findings
from tune.findings.findings import COMPLETE, SearchFindings
from tune.progress import params_text
from tune.reporting.sections import comparisons

ROOT = Path(__file__).parents[1]
SEARCH, FRONT = "tuned-etth1-h96", "front-etth1-h96"
PUBLISHED, SIGNALS, PARTS, BILEVEL = "parts-published", "signals-published", "parts_tuned", "bilevel_tuned"
SERIES = ("series-etth1", "series-etth2", "series-exchange", "series-illness")  # searches over several origins
ON_SERIES = "series_tuned"  # parts and signals of what those found, pooled over series and origins
STUDIES = (PUBLISHED, SIGNALS, PARTS, BILEVEL, ON_SERIES)
MSE, MAE = "test_mse", "test_mae"
FAR = 1.15  # times the error of a panel's first row: off its axis

Mark: TypeAlias = tuple[float, str, str]  # value, name, line style


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--results", default=str(ROOT / "results" / "flagship"), help="the records")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "flagship-pages", help="where the pages go")
    options = parser.parse_args(arguments)
    results = open_results(options.results)
    there = results.studies()
    searches = {name: search_findings(results, name) for name in (SEARCH, FRONT, *SERIES) if name in there}
    studies = {name: ablation_findings(results, name) for name in STUDIES if name in there}
    for name in searches:
        page(tune.report.main, name, options)
    for name in studies:
        page(ablations.report.main, name, options)
    (options.out / "seeds.svg").write_text(figure(searches[SEARCH], studies))
    lines = [f"pages and figure in {options.out}", ""]
    lines += reproduced(studies[PUBLISHED]) + tuned(searches[SEARCH]) + bars(searches[SEARCH])
    if FRONT in searches:
        lines += front(searches[FRONT])
    for name in SERIES:
        if name in searches:
            lines += over_origins(searches[name])
    for findings in studies.values():
        lines += ["", *verdict_lines(findings), "", *sentence_lines(findings)]
    print("\n".join(lines + budget(results, searches, studies)))
    return 0


def page(command: Callable[[Sequence[str]], int], study: str, options: argparse.Namespace) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        code = command([study, "--results", options.results, "--out", str(options.out / study)])
    if code:
        sys.exit(code)


def spread(name: str, mse: Sequence[float], mae: Sequence[float], parameters: int) -> str:
    low, high = (float(end) for end in t_interval(np.array(mse)))
    return (
        f"{name:<34s}{mean_deviation(statistics.fmean(mse), statistics.stdev(mse)):>17s}"
        f"{f'{low:.4f} to {high:.4f}':>20s}{min(mse):>9.4f}{max(mse):>9.4f}"
        f"{mean_deviation(statistics.fmean(mae), statistics.stdev(mae)):>17s}{parameters:>9,d}{len(mse):>4d}"
    )


HEADER = (
    f"{'':<34s}{'test MSE':>17s}{'95% of the mean':>20s}{'lowest':>9s}{'highest':>9s}{'test MAE':>17s}{'weights':>9s}"
    f"{'n':>4s}"
)


def reproduced(findings: Findings) -> list[str]:
    """The published settings and protocol, and where the published figures lie among their seeds."""
    full = findings.runs_of(FULL, "main")
    mse, mae = full.errors[MSE], full.errors[MAE]
    mean, deviation = statistics.fmean(mse), statistics.stdev(mse)
    lines = ["1. reproduced: published settings and protocol", HEADER]
    lines.append(spread("published DynoNet, ours", mse, mae, full.parameters))
    theirs = {"reported, one run": PUBLISHED_ETTH1_H96["DynoNet (published)"][0]}
    theirs |= {f"published code, seed {seed}": value for seed, value in PUBLISHED_CODE_ETTH1_H96.items()}
    for name, value in theirs.items():
        below = sum(x < value for x in mse)
        lines.append(
            f"  {name + ':':<30s}{value:.4f}, {(value - mean) / deviation:+.1f} deviations from our mean; "
            f"{below} of {len(mse)} seeds are below it"
        )
    return lines


def tuned(findings: SearchFindings) -> list[str]:
    """The winner of the search on seeds that the search never saw."""
    best, final, linear = findings.best, findings.final, findings.linear
    assert best is not None and final is not None and linear is not None
    lines = ["", "2. tuned: the search's best on fresh seeds; test was read once a seed", HEADER]
    lines.append(spread("tuned", final.known(MSE), final.known(MAE), final.parameters or 0))
    lines.append(
        f"{'linear baseline':<34s}{linear.mean(MSE):>8.4f}{'':>47s}{linear.mean(MAE):>8.4f}{linear.parameters:>18,d}"
    )
    lines += [f"  on {split}, {text}" for split, text in comparisons(findings).items()]
    gain = 1 - final.mean(MSE) / linear.mean(MSE)
    lines.append(f"  its mean test MSE is {gain:.1%} below the linear baseline's")
    lines.append(
        f"  validation MSE: {mean_deviation(final.mean('val_mse'), final.deviation('val_mse'))} (fresh seeds), "
        f"{best.loss:.4f} (in the search), {linear.mean('val_mse'):.4f} (linear baseline)"
    )
    lines.append(f"  {best.trial}: {params_text(dict(best.params), DYNONET.config)}")
    for edge in findings.edges:
        lines.append(f"  at the {edge.end} edge of its range: {edge.path} = {edge.value}")
    return lines + starts(findings)


def bars(findings: SearchFindings) -> list[str]:
    """Every bar, and the winner before its first step, fitted anew, also where bars read other windows."""
    assert findings.final is not None
    lines = [
        "",
        "bars beside the winner, fitted now on the same windows (python -m lab.baseline --preset " + SEARCH + ")",
    ]
    config = DYNONET.config.create(preset=SEARCH)
    try:
        series = load_series(config.data)
    except DataError as error:
        return [*lines, f"  not computed, for the data is not here: {' '.join(str(error).split())}"]
    rows, missing = every_bar(series, config, test=True)
    lines += [f"  {line}" for line in table(rows, missing)]
    lines += [
        f"  {line}" for line in table([one_bar("mean_of_ridges", series, config, True, {"folded": [336]})], [])[:2]
    ]
    trained = findings.final.known(MSE)
    start = next(row for row in rows if row.name == START)
    best = min((row for row in rows if row is not start), key=lambda row: row.validation.mse)
    assert start.test is not None and best.test is not None
    gaps = np.array(trained) - start.test.mse  # the start is one and the same for every seed
    low, high = (float(end) for end in t_interval(gaps))
    lines.append(
        f"  training changed the start by {gaps.mean():+.5f} ({low:+.5f} to {high:+.5f} over {len(gaps)} seeds)"
    )
    over = findings.standing.over_start
    if over is not None and over.over_both is not None:
        lines.append("  over seeds and test windows by {:+.4f} to {:+.4f}".format(*over.over_both))
    lines.append(
        f"  MAE by {statistics.fmean(findings.final.known(MAE)) - start.test.mae:+.4f}; the trained are "
        f"{statistics.fmean(trained) - best.test.mse:+.4f} from the {best.title}, the best bar on validation"
    )
    return lines


def starts(findings: SearchFindings) -> list[str]:
    """The complete trials by how their trend layer starts."""
    lines = []
    for start in ("uniform", "closed_form"):
        found = [
            t.loss for t in findings.trials if t.params.get("model.trend_start") == start and t.outcome == COMPLETE
        ]
        every = sum(t.params.get("model.trend_start") == start for t in findings.trials)
        best = f"{min(found):.4f}" if found else "none"
        lines.append(f"  trend_start={start}: {every} trials, {len(found)} complete, best validation MSE {best}")
    return lines


def front(findings: SearchFindings) -> list[str]:
    lines = ["", f"3. validation MSE against size: the Pareto front of {len(findings.trials)} trials"]
    for trial in findings.front:
        settings = params_text(dict(trial.params), DYNONET.config)
        lines.append(f"  {trial.loss:.4f}  {trial.parameters:>7,d} weights  {settings}")
    for final in findings.finals[:1]:
        if len(final.known(MSE)) > 1:
            lines += [HEADER, spread("its best by MSE, fresh seeds", final.known(MSE), final.known(MAE),
                                     final.parameters or 0)]  # fmt: skip
    return lines


def over_origins(findings: SearchFindings) -> list[str]:
    """The winner by the mean over origins, on fresh seeds at the latest; every bar there; and how rankings agree."""
    best, final = findings.best, findings.final
    lines = ["", f"{findings.name}: the best of {len(findings.trials)} trials by the mean over origins", HEADER]
    if final is not None:
        lines.append(spread("tuned", final.known(MSE), final.known(MAE), final.parameters or 0))
    for bar in findings.standing.rows:
        lines.append(
            f"{bar.title:<34s}{bar.errors[MSE]:>8.4f}{'':>47s}{bar.errors[MAE]:>8.4f}{bar.parameters or 0:>18,d}"
            f"    validation MSE {bar.errors['val_mse']:.4f}"
        )
    if best is not None:
        lines.append(f"  {best.trial}: {params_text(dict(best.params), DYNONET.config)}")
    lines += [f"  {text}" for text in added(findings.standing, "the tuned network")]
    return lines + [f"  {text}".rstrip() for text in origins_text(findings)]


def budget(results: Results, searches: dict[str, SearchFindings], studies: dict[str, Findings]) -> list[str]:
    """What it took, and what befell it on the way."""
    lines = ["", "budget", f"{'study':<20s}{'trials':>8s}{'runs':>6s}{'epochs':>8s}{'CPU h':>7s}"]
    seen: set[str] = set()
    for name in (*searches, *studies):
        rows = [row for row in results.table("runs", name).to_pylist() if row["run"] not in seen]
        rows = [row for row in rows if row["model"] not in BARS]  # which nothing trained
        seen |= {row["run"] for row in rows}
        trials = str(len(searches[name].trials)) if name in searches else ""
        hours = sum(row["cpu_seconds"] or 0 for row in rows) / 3600
        lines.append(
            f"{name:<20s}{trials:>8s}{len(rows):>6d}{sum(row['epochs'] or 0 for row in rows):>8d}{hours:>7.2f}"
        )
    every = results.runs(seen).values()
    hours = sum(row["cpu_seconds"] or 0 for row in every) / 3600
    lines.append(f"{'together':<28s}{len(every):>6d}{sum(row['epochs'] or 0 for row in every):>8d}{hours:>7.2f}")
    for name in (*searches, *studies):
        found = (searches | studies)[name].incidents
        lines += [f"{name}: {line}" for line in found]
    return lines


def figure(search: SearchFindings, studies: dict[str, Findings]) -> str:
    """Test MSE of every seed: the published settings, the winner, and both with one thing changed."""
    assert search.final is not None and search.linear is not None
    panels: dict[str, list[tuple[str, Sequence[float]]]] = {
        "published": [(FULL, studies[PUBLISHED].runs_of(FULL, "main").errors[MSE])],
        "tuned": [("fresh seeds", search.final.known(MSE))],
        "tuned, alternating": [],
    }
    about = {PUBLISHED: "published", SIGNALS: "published", PARTS: "tuned", BILEVEL: "tuned, alternating"}
    for name, findings in studies.items():
        if name not in about:
            continue
        rows = panels[about[name]]
        rows += [
            (runs.arm, [x for x in runs.errors[MSE] if not math.isnan(x)])
            for runs in findings.arms
            if runs.complete and not (runs.arm == FULL and about[name] == "published")
        ]
    panels = {title: rows for title, rows in panels.items() if rows}
    heights = [len(rows) + 1.5 for rows in panels.values()]
    marks = [
        (search.linear.mean(MSE), "linear baseline", "-"),
        (PUBLISHED_ETTH1_H96["DynoNet (published)"][0], "reported", ":"),
    ]
    with svg.style():
        drawing = Figure(figsize=(7.2, 0.21 * sum(heights)), layout="constrained")
        several = drawing.subplots(len(panels), height_ratios=heights, squeeze=False)[:, 0]
        for axes, (title, rows) in zip(several, panels.items(), strict=True):
            panel(axes, title, rows, marks)
        several[-1].set_xlabel("test MSE, a dot a seed, the stroke their mean")
        # It stands alone in a README, on white or on black: currentColor would be black there.
        return svg.inline(drawing, "seeds", "Test MSE by seed").replace("currentColor", svg.GREY)


def panel(axes: Axes, title: str, rows: Sequence[tuple[str, Sequence[float]]], marks: Sequence[Mark]) -> None:
    """The first row stands out. Rows far from it are written at the edge."""
    near = [(min(values), max(values)) for _, values in rows if statistics.fmean(values) < FAR * min(rows[0][1])]
    low, high = min(low for low, _ in near), max(high for _, high in near)
    there = [mark for mark in marks if low * 0.98 < mark[0] < high * 1.02]
    low, high = min([low, *(m[0] for m in there)]), max([high, *(m[0] for m in there)])
    margin = 0.04 * (high - low)
    axes.set_xlim(low - margin, high + margin)
    for place, (_, values) in enumerate(rows):
        mean = statistics.fmean(values)
        if mean > high:
            axes.text(high, place, f"{mean:.3f} →", color=svg.INK, fontsize=8, ha="right", va="center")
            continue
        colour = svg.GREY if place else svg.BLUE
        axes.plot(values, [place] * len(values), "o", color=colour, markersize=4, alpha=0.6, markeredgewidth=0)
        axes.plot([mean], [place], "|", color=svg.INK, markersize=9)
    for value, name, dash in there:
        axes.axvline(value, color=svg.GREEN, linewidth=1, linestyle=dash)
        axes.text(value, -0.6, f" {name} {value:.3f}", color=svg.GREEN, fontsize=7, va="bottom")
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -1.2)
    axes.set_title(title, loc="left", weight="bold")
    axes.grid(axis="x")


if __name__ == "__main__":
    sys.exit(main())
