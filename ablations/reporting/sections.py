"""What was found, section by section, in the order in which a reader asks. How it was found is in `appendix`."""

from collections.abc import Iterable, Iterator, Mapping

from ablations.findings.findings import METRICS, PRIMARY, Findings
from ablations.judging.verdicts import INERT, SAME
from ablations.reporting import curves, figures
from ablations.reporting.effect_sections import contrasts, effects, matched, retuned
from ablations.reporting.glance import pictures
from ablations.reporting.phrases import LOSS, colours, exploratory, network, place
from ablations.reporting.sealed import sealed
from ablations.reporting.tables import arm_rows, effect_rows
from ablations.reporting.wording import against_linear, counts, sentence
from lab.arms import FULL
from lab.pages.blocks import Block, Item, Section, Text, drawing, items, section, table
from lab.pages.formats import (
    METRIC_NAMES,
    counted,
    decimal,
    duration,
    mean_deviation,
    whole,
)
from lab.pages.skipped import skipped_note
from lab.pages.svg import slug
from lab.references.drawing import legend
from lab.references.standing import METRICS as BAR_METRICS
from lab.references.wording import added, over_cells


def evidence(findings: Findings) -> list[Section | None]:
    rows = effect_rows(findings)
    return [
        section("The answer at a glance", "glance", _glance(findings)),
        *bars(findings),
        section("Before you read on", "first", first(findings)),
        section("Effects", "effects", effects(findings, rows)),
        section("On sealed rows", "sealed", sealed(findings)),
        *cell_by_cell(findings),
        section("Arms that made no difference", "same", _same(findings)),
        section("Inert arms", "inert", _inert(findings)),
        section("Arms of matched capacity", "matched", [matched(findings, rows)]),
        section("Contrasts of the factorial", "contrasts", contrasts(findings, rows)),
        section("Frozen and re-tuned settings", "retuned", retuned(findings, rows)),
    ]


def bars(findings: Findings) -> list[Section | None]:
    linear = [Text(against_linear(findings, cell.name)) for cell in findings.cells]
    return [
        section("Against the linear baseline", "linear", linear),
        section("Against the bars", "bars", _bars(findings)),
    ]


def cell_by_cell(findings: Findings) -> list[Section | None]:
    """Errors of arms, and what is drawn of each cell."""
    return [
        section("Errors of each arm", "arms", _arms(findings)),
        section("Validation curves", "curves", _drawings(findings, "curves")),
        section("Accuracy and parameters", "accuracy", _drawings(findings, "accuracy")),
        section("Effects by channel", "channels", _drawings(findings, "heatmap")),
        section(findings.study.forecaster.diagnostics_title, "diagnostics", _diagnoses(findings)),
    ]


def _glance(findings: Findings) -> Iterator[Block | None]:
    over = f"over {counted(len(findings.cells), 'cell')}"
    return glance(findings, counts(findings.findings), over, pictures(findings))


def glance(
    findings: Findings, kinds: Mapping[str, int], over: str, shown: Iterable[Block | None]
) -> Iterator[Block | None]:
    """How many questions came to which verdict, and a picture of each. `over`: what they were tested over."""
    if findings.exploratory:
        yield Text(f"The verdicts are exploratory: {findings.exploratory}", "banner")
    tally = "; ".join(f"{name} {number}" for name, number in kinds.items())
    asked = f"Of {counted(sum(kinds.values()), 'question')} ({findings.family} of them tested, {over})"
    yield Text(f"{asked}: {tally}{exploratory(findings)}.")
    yield from shown


def _bars(findings: Findings) -> Iterator[Block | None]:
    if len(findings.cells) > 1:
        for text in over_cells([cell.standing for cell in findings.cells], network(findings)):
            yield Text(text)
    for cell in findings.cells:
        where, standing = place(findings, cell.name), cell.standing
        yield table(
            ("bar", *(METRIC_NAMES[metric] for metric in BAR_METRICS), "numbers fitted"),
            [(b.title, *(decimal(b.errors[m]) for m in BAR_METRICS), whole(b.parameters)) for b in standing.rows],
            where,
        )
        yield items(Item(text, where) for text in added(standing, network(findings)))


def first(findings: Findings) -> Iterator[Block | None]:
    for note in skipped_note(findings.skipped):
        yield Text(note, "banner")
    for cell in findings.cells:
        if cell.invalid:
            yield Text(f"Nothing in {place(findings, cell.name)} may be compared: {cell.invalid}", "banner")
    yield items(Item(note) for note in findings.notes)


def _arms(findings: Findings) -> Iterator[Block | None]:
    rows, names = arm_rows(findings), [METRIC_NAMES[metric] for metric in METRICS]
    yield Text("Mean ± standard deviation over the complete runs of each arm, on z-scored data.")
    for cell in findings.cells:
        yield table(
            ("arm", *names, "runs", "diverged", "missing", "parameters", "effective", "device time"),
            [
                (
                    row["arm"],
                    *(mean_deviation(row.get(m), row.get(f"{m}_deviation")) for m in METRICS),
                    whole(row["n"]),
                    whole(row["diverged"]),
                    whole(row["failed"]),
                    whole(row["parameters"]),
                    whole(row["effective"]),
                    duration(row["device_seconds"]),
                )
                for row in rows
                if row["cell"] == cell.name
            ],
            place(findings, cell.name),
        )
        bad = [row for row in rows if row["cell"] == cell.name and row["channels"]]
        few = cell.channels if len(cell.channels) <= figures.MOST_CHANNELS else ()
        yield table(
            ("arm", *few),
            [(row["arm"], *(decimal(row["channels"].get(name)) for name in few)) for row in bad if few],
            f"{LOSS[0].upper()}{LOSS[1:]} by channel, mean over runs: {place(findings, cell.name)}",
        )


_DRAWN = {
    "curves": (
        curves.validation,
        "Mean over seeds, the band one standard deviation; grey: {network} (full), which is blue in its own "
        "panel. Runs that ended keep their last value; bad first epochs are cut off. "
        "Panels share their scale, but for arms far above the others.",
    ),
    "accuracy": (
        figures.accuracy,
        "Bars: one standard deviation over seeds; blue: {network} (full); triangles, and names with a number: "
        "beyond the upper edge. Effective parameters are those that are trained and that the forecast reads.",
    ),
    "heatmap": (
        figures.heatmap,
        f"Effect on the {LOSS} by channel: {{colours}}. Descriptive.",
    ),
    "diagnostics": (
        curves.diagnoses,
        "Mean over validation windows, channels and seeds by epoch, the band one standard deviation over seeds.",
    ),
}

_BARS = {"curves": "val_mse", "accuracy": PRIMARY}  # figures with bars in them, and by which error


def _drawings(findings: Findings, kind: str) -> Iterator[Block | None]:
    draw, caption = _DRAWN[kind]
    for cell in findings.cells:
        about = caption.format(colours=colours(findings), network=network(findings))
        if kind == "heatmap" and len(cell.channels) > figures.MOST_CHANNELS:
            about += f" Of {len(cell.channels)} channels the {figures.MOST_CHANNELS} with the largest effects."
        if kind in _BARS and (lines := legend(figures.marks_of(findings, cell.name, _BARS[kind]))):
            about += f" Bars, fitted in closed form: {lines}."
        yield drawing(draw(findings, cell.name, slug(kind, cell.name)), f"{place(findings, cell.name)}. {about}")


def _diagnoses(findings: Findings) -> Iterator[Block | None]:
    yield from _drawings(findings, "diagnostics")
    for cell in findings.cells:
        full = next((runs for runs in findings.arms if (runs.arm, runs.cell) == (FULL, cell.name)), None)
        if full is None:
            continue
        notes = [(each, curves.diagnosis_note(full, each)) for each in full.diagnoses]
        said = [(each.name, note, each.why if note == curves.STILL else "") for each, note in notes if note]
        yield items(Item(f"{place(findings, cell.name)}: {note}. {why}".rstrip(), name) for name, note, why in said)


def _same(findings: Findings) -> Iterator[Block | None]:
    found = [finding for finding in findings.findings if finding.verdict == SAME]
    if found:
        yield Text(
            "These arms came to the errors of their baseline arm with every seed, up to rounding (a relative 1e-6): "
            "they left the family of tests."
        )
        yield items(Item(sentence(findings, finding), finding.name, SAME) for finding in found)


def _inert(findings: Findings) -> Iterator[Block | None]:
    found = [finding for finding in findings.findings if finding.verdict == INERT]
    if found:
        yield Text(
            "These arms train the baseline again under another name: they are no members of the family of tests."
        )
        yield items(Item(sentence(findings, finding), finding.name, INERT) for finding in found)
