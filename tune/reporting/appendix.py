"""How a search was done: what was stopped and what failed, what it cost, its settings, where it came from."""

import csv
import io
import math
from collections.abc import Iterator

from lab.pages.blocks import Block, Item, Section, Text, items, section, table
from lab.pages.formats import MISSING, duration, setting, whole
from lab.pages.skipped import skipped_section
from tune.findings.findings import COMPLETE, DIVERGED, FAILED, RACED_OUT, STOPPED, Cost, SearchFindings
from tune.racing.rule import ALPHA


def record(findings: SearchFindings) -> list[Section | None]:
    return [
        section("Early stopping and conditional settings", "stopping", _stopping(findings)),
        section("Failures, divergences and repetitions", "failures", _failures(findings)),
        section("Cost", "cost", _cost(findings)),
        skipped_section(findings.skipped),
        section("What happened on the way", "incidents", [items(Item(text) for text in findings.incidents)]),
        section("Settings of the study", "settings", _settings(findings)),
        section("Provenance", "provenance", [table(("what", "value"), findings.provenance.items(), words=2)]),
        section("In optuna-dashboard", "dashboard", [Text(_dashboard(findings))]),
    ]


def _stopping(findings: SearchFindings) -> Iterator[Block | None]:
    if findings.rungs:
        factor = f"{findings.budget['reduction_factor']:g}"
        yield Text(
            f"ASHA (arXiv 1810.05934) compares at its rungs: of the trials that came to one, about one in {factor} "
            "goes on. A trial is judged by those that came before it, without waiting, so that early ones often pass."
        )
        yield table(
            ("rung", "epoch", "trials that reached it", "stopped there", "went on"),
            [
                (str(number), whole(r.epoch), whole(r.reached), whole(r.stopped), whole(r.reached - r.stopped))
                for number, r in enumerate(findings.rungs, 1)
            ],
        )
    else:
        yield Text("No rung lies before the last epoch: no trial could be stopped early.")
    yield from _race(findings)
    yield table(
        ("conditional setting", "searched", "trials that drew it"),
        [
            (item.path, item.describe(), whole(sum(item.path in trial.params for trial in findings.trials)))
            for item in findings.space
            if item.when
        ],
        words=2,
    )


def _race(findings: SearchFindings) -> Iterator[Block | None]:
    if not findings.raced:
        return
    out, ended = findings.of(RACED_OUT), len(findings.of(RACED_OUT, COMPLETE))
    yield Text(
        f"Seeds were raced: a trial was trained with one, compared at the rungs on that one, and had the others of the "
        f"{findings.budget['replicates']} unless a one-sided paired test (at {ALPHA:g} over all looks) said that its "
        f"mean over all of them would stay above that of the best trial so far. {len(out)} of {ended} that came to "
        "their end were raced out."
    )
    yield table(("raced out", "why"), [(trial.trial, trial.reason) for trial in out], words=2)


def _failures(findings: SearchFindings) -> Iterator[Block | None]:
    failed, diverged = findings.of(FAILED), findings.of(DIVERGED)
    yield table(("trial", "error, its last line"), [(trial.trial, trial.error) for trial in failed], "Failed", words=2)
    yield items(
        Item(f"a run of it diverged{f' after epoch {trial.last_epoch}' if trial.last_epoch else ''}, which ended the "
             "trial: its loss is a mean over all its seeds.", trial.trial) for trial in diverged
    )  # fmt: skip
    if not failed and not diverged:
        yield Text("No trial failed or diverged.")
    yield items(Item("have the same settings.", " and ".join(names)) for names in findings.repeated)
    if not findings.repeated:
        yield Text("No two trials have the same settings.")


def _cost(findings: SearchFindings) -> Iterator[Block | None]:
    trials = [cost for cost in findings.costs if cost.of in (COMPLETE, STOPPED, RACED_OUT)]
    rows = [_cost_row(cost) for cost in findings.costs]
    yield table(
        ("what", "trials", "runs", "epochs trained", "to the last epoch", "CPU time", "GPU time", "wall time"),
        rows,
        "Epochs count each run; wall time is summed over trials, which may have run side by side",
    )
    epochs, full = sum(cost.epochs for cost in trials), sum(cost.all_epochs for cost in trials)
    if full:
        by = {cost.of: cost.all_epochs - cost.epochs for cost in trials}
        yield Text(
            f"Trials that are complete or were stopped early trained for {epochs:,} of the {full:,} epochs that they "
            f"would have taken to the last one: {1 - epochs / full:.0%} were saved, {by.get(STOPPED, 0):,} epochs by "
            f"stopping weak trials early and {by.get(COMPLETE, 0):,} by patience in complete ones"
            + (f", {by.get(RACED_OUT, 0):,} in those raced out" if findings.raced else "")
            + "."
        )
    if findings.shared:
        were = "1 run was" if findings.shared == 1 else f"{findings.shared} runs were"
        yield Text(f"{were} on record before this study began, and were not trained again; their cost is counted too.")


def _cost_row(cost: Cost) -> tuple[str, ...]:
    trials, full = (whole(cost.trials), whole(cost.all_epochs)) if cost.all_epochs else (MISSING, MISSING)
    gpu = duration(cost.gpu_seconds) if cost.gpu_seconds else MISSING
    epochs = whole(cost.epochs) if cost.epochs or cost.all_epochs else MISSING
    return (
        cost.of, trials, whole(cost.runs), epochs, full, duration(cost.cpu_seconds), gpu, duration(cost.wall_seconds),
    )  # fmt: skip


def _settings(findings: SearchFindings) -> Iterator[Block | None]:
    yield table(
        ("setting", "searched"), [(item.path, item.describe()) for item in findings.space], "The space", words=2
    )
    budget = findings.budget
    yield table(
        ("what", "value"),
        [
            ("objectives", ", ".join(findings.objectives)),
            ("sampler", f"{budget['sampler']}, seed {budget['seed']}"),
            ("trials on record", whole(len(findings.trials))),
            *([("origins", ", ".join(each.name for each in findings.origins))] if findings.origins else []),
            ("seeds of a trial", ", ".join(map(str, findings.seeds))),
            ("last epoch", whole(findings.max_epochs)),
            ("early stopping", f"from epoch {budget['grace_epochs']}, one in {budget['reduction_factor']:g} goes on"),
            ("final replicates", whole(len(findings.final.runs) if findings.final else 0)),
        ],
        "The search",
        words=2,
    )
    yield table(
        ("setting", "here", "default"),
        [(key, setting(here), setting(default)) for key, (default, here) in findings.changed.items()],
        "Fixed settings that differ from their default",
        words=3,
    )


def _dashboard(findings: SearchFindings) -> str:
    if not findings.journal:
        return (
            "The records lie in an object store, where no journal of Optuna's is kept: copy them to a folder and call "
            "the search once more on it; it writes the journal anew from the records."
        )
    return (
        "Optuna's own page on this study, to zoom and to filter: pip install optuna-dashboard, then, in the folder of "
        f"the results, optuna-dashboard {findings.journal}. The journal is a copy of the records that the search makes "
        "anew each time it starts; nothing done in the dashboard comes back into them."
    )


def trials_csv(findings: SearchFindings) -> str:
    """A row per trial, every number in full precision; what is missing is empty."""
    paths = [item.path for item in findings.space]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["trial", "number", "outcome", "val_mse", "val_mse_deviation", "runs", "last_epoch", "epochs", "parameters",
         "cpu_seconds", "gpu_seconds", "wall_seconds", "error", *paths,
         *(f"val_mse_{each.name}" for each in findings.origins)]
    )  # fmt: skip
    for trial in findings.trials:
        numbers = (trial.loss, trial.deviation)
        writer.writerow(
            [trial.trial, trial.number, trial.outcome, *("" if math.isnan(n) else repr(n) for n in numbers),
             len(trial.runs), trial.last_epoch, trial.epochs, "" if trial.parameters is None else trial.parameters,
             trial.cpu_seconds, trial.gpu_seconds, trial.wall_seconds, trial.error,
             *(setting(trial.params[path]) if path in trial.params else "" for path in paths),
             *(repr(trial.at[each.name]) if each.name in trial.at else "" for each in findings.origins)]
        )  # fmt: skip
    return text.getvalue()
