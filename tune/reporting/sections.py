"""What a search found, section by section, in the order in which a reader asks. How it was done is in
`reporting/appendix`."""

import math
from collections.abc import Iterator, Sequence

from lab.pages.blocks import Block, Item, Section, Text, drawing, items, section, table
from lab.pages.formats import MISSING, brief, counted, decimal, mean_deviation, over_windows, whole
from lab.pages.skipped import skipped_note
from lab.references import windows
from lab.references.drawing import legend
from lab.references.wording import added
from lab.unsealing.blocks import error_table, ledger_says, readings
from tune.findings.findings import COMPLETE, METRICS, OUTCOMES, STOPPED, Edge, RunErrors, SearchFindings, Trial
from tune.reporting import agreement as agreement
from tune.reporting import figures as figures
from tune.reporting import glance as glance
from tune.reporting import lines as lines
from tune.reporting.axes import IN_VIEW, LOSS, SHOWN, brief_value, marks_of, short_names

FEW_COMPLETE = 25  # complete trials below which an importance is said to be rough
MOST_ROWS = 20  # trials in a table of the page; all are in trials.csv


def evidence(findings: SearchFindings) -> list[Section | None]:
    return [
        section("The answer at a glance", "glance", _glance(findings)),
        section("On sealed rows", "sealed", _sealed(findings)),
        section("Forecasts beside the truth", "forecasts", _forecasts(findings)),
        section("Optimisation history", "history", _history(findings)),
        section("The best trials", "trials", _trials(findings)),
        section("From one origin to the next", "origins", agreement.blocks(findings)),
        section("Importance of the settings", "importance", _importance(findings)),
        section("Parallel coordinates", "parallel", _parallel(findings)),
        section("Slices", "slices", _slices(findings)),
        section("Error and parameters", "pareto", _pareto(findings)),
        section("Edges of the ranges", "edges", _edges(findings)),
        section("Validation curves", "curves", _curves(findings)),
    ]


def _glance(findings: SearchFindings) -> Iterator[Block | None]:
    best = findings.best
    counts = [f"{len(findings.of(outcome))} {outcome}" for outcome in OUTCOMES if findings.of(outcome)]
    seeds = counted(findings.budget["replicates"], "seed")
    most = "up to " if findings.raced else ""
    yield Text(f"{counted(len(findings.trials), 'trial')} of {most}{seeds} each: {', '.join(counts) or 'none yet'}.")
    if best is None:
        yield Text("No trial is complete: there is no best one, and nothing was read on test.", "banner")
    else:
        yield Text(
            f"The best trial is {best.trial}: {LOSS} {mean_deviation(best.loss, best.deviation)}"
            f"{_over(best)}, with {whole(best.parameters)} parameters."
        )
        if findings.origins:
            at = ", ".join(f"{decimal(each.loss)} at {each.name}" for each in findings.origins)
            yield Text(
                f"The {LOSS} of a trial is the geometric mean over {len(findings.origins)} origins; of the best, {at}. "
                f"Final replicates are trained at {findings.origins[-1].name}, the latest, alone."
            )
    for note in (*skipped_note(findings.skipped), *findings.notes):
        yield Text(note, "banner")
    yield glance.picture(findings)
    yield items(Item(text, f"On {split}") for split, text in comparisons(findings).items())
    yield items(Item(text) for text in added(findings.standing, "the best config"))
    if best is not None:
        ends = {edge.path: edge.end for edge in findings.edges}
        rows = [
            (item.path, brief_value(item, best.params.get(item.path)), item.describe(), ends.get(item.path, ""))
            for item in findings.space
        ]
        yield table(("setting", "best", "searched", "at an end"), rows, f"Settings of {best.trial}", words=4)
    yield table(
        ("model", LOSS, "test MSE", "test MAE", "runs", "parameters"),
        _errors(findings),
        "Errors on z-scored data: mean ± standard deviation over seeds"
        + (f", at {findings.origins[-1].name}, the latest origin" if findings.origins else ""),
    )
    if best is not None:
        yield Text(
            f"The best of many trials looks better on validation than it is, for that is what it was chosen by. Final "
            f"replicates are trained anew with seeds that the search never saw, and read test once, after the choice: "
            f"theirs are the numbers to quote.{_reported(findings)}",
            "note",
        )


def _sealed(findings: SearchFindings) -> Iterator[Block | None]:
    found = findings.sealed
    yield from readings(found)
    for cell in found.cells:
        yield error_table(found, cell, findings.data)
    if found.looks:
        yield Text(
            f"{ledger_says(found)} Read were the final replicates of the best trial, the bars and the networks before "
            "their first step.",
            "note",
        )


def _over(trial: Trial) -> str:
    if math.isnan(trial.deviation):
        return ""
    return f" (mean ± standard deviation over its {counted(len(trial.losses), 'seed')})"


def _reported(findings: SearchFindings) -> str:
    said = ""
    if found := findings.measured:
        said += (
            f" What is called measured is of {', '.join(sorted({each.study for each in found}))}, on these test rows."
        )
    return said + (" Quoted errors are those of the papers, on test." if findings.published else "")


def _errors(findings: SearchFindings) -> Iterator[tuple[str, ...]]:
    best, final = findings.best, findings.final
    if best is not None:
        losses, runs = mean_deviation(best.loss, best.deviation), len(best.runs)
        if findings.origins:
            losses, runs = decimal(findings.origins[-1].loss), runs // len(findings.origins)
        yield f"best trial, {best.trial}", losses, MISSING, MISSING, whole(runs), whole(best.parameters)
    for errors in findings.finals:
        name = "final replicates" if errors is final else f"final replicates of {errors.trial}"
        yield _error_row(name, errors)
    for bar in findings.standing.rows:
        yield (
            bar.title,
            *(decimal(bar.errors[metric]) for metric in METRICS),
            whole(len(bar.runs)),
            whole(bar.parameters),
        )
    for each in findings.measured:
        cells = (mean_deviation(each.mean(metric), each.deviation(metric)) for metric in METRICS)
        count = whole(each.runs) if each.runs == each.asked else f"{each.runs} of {each.asked}"
        yield f"{each.title}, measured", *cells, count, whole(each.parameters)
    for model in findings.published:
        published = (decimal(model.mse, 3), decimal(model.mae, 3))
        yield f"{model.name}, quoted", MISSING, *published, MISSING, model.printed


def _error_row(name: str, errors: RunErrors) -> tuple[str, ...]:
    cells = (mean_deviation(errors.mean(metric), errors.deviation(metric)) for metric in METRICS)
    read, runs = len(errors.known("test_mse")), len(errors.runs)
    return name, *cells, whole(runs) if read == runs else f"{read} of {runs}", whole(errors.parameters)


def comparisons(findings: SearchFindings) -> dict[str, str]:
    """Split -> a sentence: which is better there, the network found or the linear baseline."""
    best, final, linear = findings.best, findings.final, findings.linear
    found: dict[str, str] = {}
    if linear is None or best is None:
        return found
    bar = findings.linear_loss
    if not math.isnan(bar):
        split = f"validation, over {len(findings.origins)} origins" if findings.origins else "validation"
        found[split] = (
            f"the best trial ({decimal(best.loss)}) is {_compared(best.loss, bar)} the linear baseline ({decimal(bar)})"
            + (": a larger budget or another space is needed." if best.loss > bar else ".")
        )
    bar = linear.mean("test_mse")
    if final is not None and final.known("test_mse") and not math.isnan(bar):
        losses, mean = final.known("test_mse"), final.mean("test_mse")
        said = f"{mean_deviation(mean, final.deviation('test_mse'))}) {'is' if len(losses) == 1 else 'are'}"
        found["test"] = (
            f"the best trial's {counted(len(losses), 'final replicate')} ({said} {_compared(mean, bar)} the linear "
            f"baseline ({decimal(bar)}){_seed_by_seed(losses, bar)}.{over_windows(findings.less_linear)}"
        )
    return found


def _seed_by_seed(losses: Sequence[float], bar: float) -> str:
    if len(losses) < 2:
        return ""
    better = sum(loss < bar for loss in losses)
    them = {0: "none of them is", 1: "1 of them is", len(losses): "each of them is"}.get(
        better, f"{better} of them are"
    )
    return f" on average; {them} better than it"


def _compared(loss: float, bar: float) -> str:
    return "better than" if loss < bar else "worse than" if loss > bar else "equal to"


def _forecasts(findings: SearchFindings) -> Iterator[Block | None]:
    found = findings.forecasts
    if found is not None:
        yield drawing(
            windows.in_a_row(found, "forecasts"),
            f"What the first final replicate of the best trial makes of {counted(len(found.rows), 'test window')}, "
            f"channel {found.channel}. They are the middles of equal stretches of test, whatever the errors; the MSE "
            "of each is on z-scored data.",
        )


def _history(findings: SearchFindings) -> Iterator[Block | None]:
    yield drawing(
        figures.history(findings, "history"),
        "Optuna's optimisation history. The line counts complete trials alone; marks at the lower edge have no value "
        f"to compare. {IN_VIEW}{_bars_in(findings)}",
    )
    before = math.nan
    rows = []
    for trial in findings.improvements:
        gain = MISSING if math.isnan(before) else decimal(before - trial.loss)
        rows.append((trial.trial, mean_deviation(trial.loss, trial.deviation), gain))
        before = trial.loss
    yield table(("trial", LOSS, "lower by"), rows, "Trials that were the best so far")


def _trials(findings: SearchFindings) -> Iterator[Block | None]:
    ranked = findings.ranked()
    if len(ranked) > MOST_ROWS:
        yield Text(f"The best {MOST_ROWS} of {len(findings.trials)} trials; all are in trials.csv.")
    names = short_names([item.path for item in findings.space])
    yield table(
        ("trial", "outcome", LOSS, "epochs", "parameters", *names.values()),
        [
            (
                trial.trial,
                trial.outcome,
                mean_deviation(trial.loss, trial.deviation),
                whole(trial.last_epoch),
                whole(trial.parameters),
                *(brief_value(item, trial.params.get(item.path)) for item in findings.space),
            )
            for trial in ranked[:MOST_ROWS]
        ],
        words=2,
    )
    if any(trial.outcome == STOPPED for trial in ranked[:MOST_ROWS]):
        yield Text("Trials that were stopped early stand behind the complete ones, with the error they had then.")
    if findings.raced:
        yield Text(
            f"Complete trials alone have all {findings.budget['replicates']} seeds, and the best is one of them. "
            "Errors of trials that were raced out are means over the fewer seeds that they had, and those of trials "
            "stopped early are of one seed: they are not to be held against the others'."
        )


def _importance(findings: SearchFindings) -> Iterator[Block | None]:
    found = findings.importance
    if found.why_none:
        yield Text(f"No importance is shown: {found.why_none}.")
        return
    yield Text(
        "By Optuna's PED-ANOVA (arXiv 2304.10255), which draws nothing at random and needs no seed: how much more the "
        f"best {found.top} of {found.complete} complete trials crowd in a part of a setting's range than all of them "
        "do. It speaks of the ranges that were searched: a setting that matters can look idle within a range that is "
        "good throughout. Trials that were stopped early do not count."
        + (" Of so few trials it is a rough guide." if found.complete < FEW_COMPLETE else "")
        + (f" It is that for the {LOSS} alone." if len(findings.objectives) > 1 else "")
    )
    if absent := [item.path for item in findings.space if item.path not in found.shares]:
        yield Text(f"Drawn by no complete trial, and so without a share: {', '.join(absent)}.", "note")
    most = max(found.shares.values())
    yield table(
        ("setting", "share"), [(path, f"{value:.1%}") for path, value in found.shares.items()],
        "Shares of all settings' importance", bars=[round(value / most, 4) for value in found.shares.values()],
    )  # fmt: skip


def _parallel(findings: SearchFindings) -> Iterator[Block | None]:
    yield drawing(
        lines.parallel(findings, "parallel"),
        "A line for each complete trial; the axes are the ranges that were searched, logarithmic where they were. "
        f"A third number on the last axis: above it {LOSS} is pressed together.",
    )


def _slices(findings: SearchFindings) -> Iterator[Block | None]:
    if findings.best is None:
        return
    for names, svg in figures.slices(findings, "slices"):
        yield drawing(
            svg,
            f"{names}: complete trials by Optuna, early ones grey, late ones blue; a ring around the best. {IN_VIEW}",
        )


def _pareto(findings: SearchFindings) -> Iterator[Block | None]:
    about = f"{LOSS[0].upper()}{LOSS[1:]} and parameters of each trial. {IN_VIEW}"
    if findings.front:
        about = f"{about} The line joins the trials that no other beats in both, drawn by Optuna."
    about += _bars_in(findings)
    if findings.published or findings.measured:
        about += (
            " Squares: other models' errors on test, filled where a league measured them here, hollow where they are "
            "quoted as their papers report them. They stand there as a backdrop: they are figures of another split, "
            "and no trial's error on it."
        )
    yield drawing(figures.accuracy(findings, "pareto"), about)
    yield table(
        ("trial", LOSS, "parameters", *short_names([item.path for item in findings.space]).values()),
        [
            (
                trial.trial,
                mean_deviation(trial.loss, trial.deviation),
                whole(trial.parameters),
                *(brief_value(item, trial.params.get(item.path)) for item in findings.space),
            )
            for trial in findings.front
        ],
        "Pareto front: complete trials that no other beats in both",
    )  # fmt: skip


def _edges(findings: SearchFindings) -> Iterator[Block | None]:
    if findings.best is None:
        return
    if not findings.edges:
        yield Text("No best value lies at an end of its range that could be wider.")
    yield items(Item(_edge(findings, edge), edge.path) for edge in findings.edges)


def _edge(findings: SearchFindings, edge: Edge) -> str:
    item = next(item for item in findings.space if item.path == edge.path)
    return (
        f"the best value, {brief(edge.value)}, is at the {edge.end} end of its range ({item.describe()}); a wider "
        "range may hold a better one."
    )


def _curves(findings: SearchFindings) -> Iterator[Block | None]:
    best = min(SHOWN, len(findings.of(COMPLETE)))
    yield drawing(
        lines.curves(findings, "curves"),
        f"{'Of its first seed, the' if findings.raced else 'Mean over its seeds of the'} lowest {LOSS} so far, by "
        f"which a trial is judged{' at the rungs' if findings.raced else ''}. In colour: the best {best} "
        "complete trials; grey: the rest, a dot where one ended early; dotted: where the weaker ones are stopped. "
        f"{IN_VIEW}{_bars_in(findings)}",
    )


def _bars_in(findings: SearchFindings) -> str:
    said = legend(marks_of(findings))
    over = ", their geometric means over the origins" if findings.origins else ""
    return f" Bars, fitted in closed form{over}: {said}." if said else ""
