"""After the search: fresh seeds of the best config, test read once, and the summary beside the bars."""

import statistics
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from lab.compute.device import device_for, use_threads
from lab.console.printing import print
from lab.ledger.looks import typed
from lab.machines.session import DoesNotFit, RaySession
from lab.pages.formats import decimal, shortened
from lab.references.forecasts import keep_forecasts
from lab.references.measured import Measured
from lab.references.standing import Standing
from lab.references.wording import added
from lab.registry import configs_of_json, reported
from lab.series import Series
from lab.settings.config import Config
from lab.store.events import record_event
from lab.store.tables import Results
from lab.training.readings import read_test
from lab.training.stack_run import StackRun
from tune.findings.agreement import losses_at
from tune.findings.findings import SearchFindings
from tune.offers import better_bar
from tune.progress import params_text
from tune.proposals import Proposal, Proposals
from tune.reporting.agreement import PLACES_HEADER, RANKS_HEADER, placed, ranked, sentence

METRICS = ("mse", "mae")


@ray.remote
def train_final(
    results: Results,
    model: str,
    configs: Sequence[str],
    series: Series,
    gpu: bool,
    threads: int,
    provenance: Mapping[str, Any],
    most: int,
    study: str,
    command: str,
) -> list[str]:
    """Trains the final replicates as one stack of so many at most, to the end, and reads test. Returns how often the
    stack was halved, a line each."""
    use_threads(threads)
    device = device_for(gpu)
    finals = configs_of_json(model, configs)
    # Every seed of the final is reported.
    stack = StackRun(results, finals, device, provenance, series, outlive_divergence=True, most=most)
    while stack.step().state == "running":
        pass

    def show(run: str, config: Config, weights: Mapping[str, Any]) -> None:
        if run == stack.ids[0]:
            keep_forecasts(results, run, config, weights, series)

    read_test(results, stack.ids, "final", device, series, study, command, show)
    return stack.halvings


def train_finals(session: RaySession, results: Results, study: str, finals: Sequence[Config], series: Series) -> None:
    """The final replicates, to their end, in smaller stacks where one of all does not fit into memory."""

    def happened(kind: str, text: str) -> None:
        print(text, file=sys.stderr, flush=True)
        record_event(results, study, kind, text)

    most = len(finals)
    provenance = session.trial_spec(results, study, series.identity).provenance
    model, texts = finals[0].forecaster, [config.to_json() for config in finals]
    data = session.data(series.identity)
    while True:
        call = (
            results, model, texts, data, session.gpus > 0, session.threads, provenance, most, study, typed(),
        )  # fmt: skip
        try:
            for text in session.run_tasks(train_final, {"final": call}, happened)["final"]:
                record_event(results, study, "halved", f"final replicates: {text}")
            return
        except DoesNotFit as error:
            if most == 1:
                raise
            most = (most + 1) // 2
            happened("halved", f"{error}; it goes on with {most} models side by side at most")


def losses_of(results: Results, proposals: Proposals, trial: str) -> Mapping[str, float]:
    """Mean validation MSE of a complete trial's runs at each of several origins, the data's own last; {} of one."""
    members = [row for row in results.table("members", proposals.study).to_pylist() if row["trial"] == trial]
    origins = [origin.name for origin in proposals.origins if origin.name is not None]
    return losses_at(origins, [trial], members, results.runs([row["run"] for row in members])).get(trial, {})


def origins_text(findings: SearchFindings) -> list[str]:
    """The best trial at each of several origins, and whether rankings travel from one to the next; [] of one."""
    if not findings.origins:
        return []
    lines = ["", "validation MSE at each origin:", *aligned([PLACES_HEADER, *placed(findings.origins)])]
    if findings.agreements:
        lines += ["", "had one chosen by earlier rows:", *aligned([RANKS_HEADER, *ranked(findings.agreements)])]
        lines += [line for each in findings.agreements for line in textwrap.wrap(sentence(each), 118)]
    return lines


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def at_text(losses: Mapping[str, float]) -> str:
    """Behind a trial's value, what it is the mean of."""
    if not losses:
        return ""
    each = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
    return f" (geometric mean over {len(losses)} origins: {each})"


@dataclass(frozen=True)
class Scores:
    """Errors of some runs of one kind, on test but for the first."""

    name: str
    parameters: int
    validation: list[float]
    mse: list[float]
    mae: list[float]

    def row(self) -> str:
        def text(values: list[float]) -> str:
            spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
            return f"{statistics.fmean(values):.4f}{spread}" if values else "-"

        errors = "".join(f"{text(values):>18s}" for values in (self.validation, self.mse, self.mae))
        return f"{self.name:<31s}{errors}{self.parameters:>12,d}"


def scores_of(results: Results, name: str, ids: Sequence[str]) -> Scores:
    """What some runs came to on validation, and the recorded readings of test."""
    found: dict[str, dict[str, float]] = {metric: {} for metric in METRICS}
    for row in results.of_runs("evaluations", ids).to_pylist():
        if row["split"] == "test" and row["channel"] is None:
            found[row["metric"]].setdefault(row["run"], row["value"])
    runs = results.runs(ids)
    parameters = next((row["parameters"] for row in runs.values()), 0)
    validation = [row["val_mse"] for row in runs.values() if row.get("val_mse") is not None]
    return Scores(name, parameters, validation, list(found["mse"].values()), list(found["mae"].values()))


def comparison_table(
    scores: Sequence[Scores], standing: Standing, base: Config, others: Sequence[Measured] = ()
) -> list[str]:
    """Errors beside the bars, beside `others` as leagues measured them and, where it applies, the published table."""
    lines = [f"{'':<31s}{'validation MSE':>18s}{'test MSE':>18s}{'test MAE':>18s}{'parameters':>12s}"]
    lines += [score.row() for score in scores]
    for bar in standing.rows:
        errors = "".join(f"{decimal(bar.errors[name]):>18s}" for name in ("val_mse", "test_mse", "test_mae"))
        lines.append(f"{bar.title:<31s}{errors}{bar.parameters or 0:>12,d}")
    for each in others:
        errors = "".join(f"{each.text(name):>18s}" for name in ("val_mse", "test_mse", "test_mae"))
        lines.append(f"{shortened(f'{each.title}, measured', 30):<31s}{errors}{each.parameters:>12,d}")
    for name, (mse, mae, size) in reported(base.data).items():
        lines.append(f"{name + ', quoted':<31s}{'':>18s}{mse:>18.3f}{mae:>18.3f}{size:>12s}")
    if others:
        lines.append(f"measured: in {', '.join(sorted({each.study for each in others}))}; quoted: as papers report it")
    return lines


def verdicts(standing: Standing, loss: float) -> list[str]:
    """What training added, and whether a bar is better on validation already.

    `loss`: of the best trial, at the data's own origin.
    """
    lines = added(standing, "the best config")
    if (bar := better_bar(standing, loss)) is not None:
        lines.append(
            f"note: on validation, too, the {bar.title} ({bar.errors['val_mse']:.4f}) is better than the best trial "
            f"({loss:.4f}): the bar is the answer, unless a larger budget or another space finds a better one"
        )
    return [line for text in lines for line in textwrap.wrap(text, 118)]


def edges_text(proposals: Proposals, best: Proposal) -> list[str]:
    """One warning per searched setting whose best value lies at an end of its range."""
    lines = []
    for path, edge in proposals.space.edges(best.params).items():
        item = next(r for r in proposals.space.ranges if r.path == path)
        lines.append(
            f"note: the best {path} = {best.params[path]:g} is at the {edge} end of its range ({item.describe()}); "
            "a wider range may hold a better one"
        )
    return lines


def front_table(front: Sequence[Proposal]) -> list[str]:
    lines = [f"{'Pareto front':<14s}{'val MSE':>10s}{'parameters':>12s}  settings"]
    for proposal in front:
        value, size = proposal.values
        settings = params_text(proposal.params, type(proposal.config))
        lines.append(f"{proposal.trial:<14s}{value:>10.4f}{int(size):>12,d}  {settings}")
    return lines
