"""`python -m lab.baseline`: the bars, fitted in closed form on the windows that a network would train on.

Every bar of lab.series.bars in one table, on validation and test, and, of settings whose network starts from a closed
form, that network before its first step.
"""

import io
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from lab.console.commands import as_typed, command_line, command_named, refused
from lab.console.folders import make_folder, write_whole
from lab.console.parser import Parser
from lab.console.printing import print, say
from lab.errors import ConfigError, DataError, unknown
from lab.ledger.looks import looking
from lab.references.titles import START_TITLE
from lab.registry import add_model_argument, add_overrides_argument, forecaster, forecaster_of, known_presets
from lab.series import Series, load_series
from lab.series.bars import BARS, FittedBar, Metrics, fit_bar, fit_bars
from lab.settings.config import Config
from lab.store.schema import START

Lookbacks: TypeAlias = Mapping[str, Sequence[int]]  # by a bar's name


@dataclass(frozen=True)
class Line:
    """A bar as it is shown: its errors, and what it is made of."""

    name: str
    title: str
    validation: Metrics
    test: Metrics | None  # None where it was not read
    weights: int
    fitted: FittedBar | None = None  # None of a network before its first step

    @property
    def splits(self) -> dict[str, Metrics]:
        return {"validation": self.validation} | ({} if self.test is None else {"test": self.test})


def line_of(fitted: FittedBar, series: Series, config: Config, test: bool) -> Line:
    read = fitted.evaluate(series, config.data, "test") if test else None
    return Line(fitted.bar.name, fitted.bar.title, fitted.validation, read, fitted.num_weights, fitted)


def start_of(series: Series, config: Config, test: bool) -> Line:
    """Of settings whose network starts from a closed form."""
    from lab.references.starts import Starts  # imports torch

    starts = Starts([config], series)
    read = starts.evaluate("test")[0] if test else None
    return Line(START, START_TITLE, starts.evaluate("validation")[0], read, starts.parameters)


def record(line: Line, series: Series, config: Config) -> dict[str, Any]:
    """Everything but the weights, ready for JSON; `test` is None where it was not read."""

    def plain(metrics: Metrics) -> dict[str, Any]:
        numbers = asdict(metrics) | {"windows": metrics.windows}
        del numbers["mse_windows"]
        for name in ("mse_channels", "mae_channels"):
            numbers[name] = dict(zip(series.channels, numbers[name].tolist(), strict=True))
        return numbers

    how: dict[str, Any] = {}
    if line.fitted is not None:
        choices = line.fitted.solution.choices
        how = {**choices, **{f"{name}_at_edge": name in line.fitted.solution.edges for name in choices}}
        how |= {"penalties": list(line.fitted.solution.tried)} if line.fitted.solution.tried else {}
        how |= {"train_windows": line.fitted.train_windows, "seconds": line.fitted.seconds}
    return {
        "model": line.name,
        **how,
        "weights": line.weights,
        "validation": plain(line.validation),
        "test": None if line.test is None else plain(line.test),
        "data": {
            "name": series.name,
            "sha256": series.identity,
            "file_sha256": series.file_sha256 or None,
            "source": series.source,
            "notes": list(series.notes),
        },
        "config": config.model_dump(mode="json"),
    }


def table(lines: Sequence[Line], missing: Sequence[str]) -> list[str]:
    """A row a bar, and which is the best on validation."""
    titles = [f"{split} {kind}" for split in lines[0].splits for kind in ("MSE", "MAE")]
    rows = [("bar", *titles, "weights", "chosen")]
    for line in lines:
        numbers = [f"{number:.4f}" for m in line.splits.values() for number in (m.mse, m.mae)]
        rows.append((line.title, *numbers, f"{line.weights:,}", how(line)))
    last = len(rows[0]) - 1
    widths = [max(len(row[at]) for row in rows) for at in range(last + 1)]
    shown = [
        "  ".join(
            text.ljust(width) if at in (0, last) else text.rjust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    best = min(lines, key=lambda line: line.validation.mse)
    shown += ["", f"the best on validation: {best.title}"]
    return [*shown, *(f"not there: {reason}" for reason in missing)]


def how(line: Line) -> str:
    """What validation or the calendar chose."""
    if line.fitted is None:
        return ""
    found = line.fitted.solution
    ends = {name: " (at the edge of the range tried)" if name in found.edges else "" for name in found.choices}
    return ", ".join(f"{name.replace('_', ' ')} {value:g}{ends[name]}" for name, value in found.choices.items())


def channels(line: Line, series: Series) -> list[str]:
    """A row a channel of one bar."""
    width = max(len(name) for name in ("all", "channel", *series.channels))
    titles = [f"{split} {kind}" for split in line.splits for kind in ("MSE", "MAE")]
    rows = [("channel".ljust(width), *(f"{title:>15}" for title in titles))]
    for index, name in enumerate(series.channels):
        pairs = [(float(m.mse_channels[index]), float(m.mae_channels[index])) for m in line.splits.values()]
        rows.append((name.ljust(width), *(f"{number:15.4f}" for pair in pairs for number in pair)))
    overall = [number for m in line.splits.values() for number in (m.mse, m.mae)]
    rows.append(("all".ljust(width), *(f"{number:15.4f}" for number in overall)))
    return ["  ".join(row) for row in rows]


def write(folder: Path, content: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes baseline.json and baseline.npz; each appears whole or not at all."""
    packed = io.BytesIO()
    np.savez(packed, **dict[str, Any](arrays))
    # The weights first: whoever finds the JSON finds them too.
    for name, body in (
        ("baseline.npz", packed.getvalue()),
        ("baseline.json", (json.dumps(content, indent=2) + "\n").encode()),
    ):
        write_whole(folder / name, body)


def lookbacks_of(texts: Sequence[str], bar: str | None) -> Lookbacks:
    """What `--lookback` says: rows by a bar's name. `bar`: the only one that is fitted; None: all are.

    Raises ConfigError: no such bar, one that no lookback changes or that is not fitted, or no numbers of rows.
    """
    some = BARS.values() if bar not in BARS else (BARS[bar], *BARS[bar].members)
    allowed = [each.name for each in some if each.lookback]
    found: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, equals, numbers = text.rpartition("=")
        if equals and name not in BARS:
            raise unknown("lookback", name, [each.name for each in BARS.values() if each.lookback])
        if bar == START or (equals and name not in allowed) or not allowed:
            of = f"of bar {bar}" if bar else "of that bar"
            fitted = f"; allowed: {', '.join(allowed)}" if allowed and bar != START else ""
            raise ConfigError(f"lookback: got '{text}', which changes nothing {of}{fitted}")
        try:
            rows = tuple(int(number) for number in numbers.split(","))
        except ValueError:
            rows = ()
        if not rows or min(rows) < 2:
            raise ConfigError(
                f"lookback: got '{text}'; expected rows, 2 or more, such as folded=336, or 96,192,336 of every bar, "
                "of which validation chooses"
            )
        for each in [name] if equals else allowed:
            if each in found:
                raise ConfigError(f"lookback: got rows of '{each}' twice; several in one are separated by commas")
            found[each] = rows
    return found


def every_bar(
    series: Series, config: Config, test: bool, lookbacks: Lookbacks | None = None
) -> tuple[list[Line], list[str]]:
    """All bars that there are of this data, and why the others are not."""
    lines, missing = [], []
    for bar, fitted in zip(BARS.values(), fit_bars(series, config.data, lookbacks=lookbacks), strict=True):
        if isinstance(fitted, FittedBar):
            lines.append(line_of(fitted, series, config, test))
        else:
            missing.append(f"{bar.title}: {fitted}")
    if forecaster_of(config).starts_closed(config):
        lines.append(start_of(series, config, test))
    return lines, missing


def one_bar(name: str, series: Series, config: Config, test: bool, lookbacks: Lookbacks | None = None) -> Line:
    """Raises ConfigError for the start of settings whose network does not start from a closed form."""
    if name != START:
        return line_of(fit_bar(series, config.data, BARS[name], lookbacks=lookbacks), series, config, test)
    if not forecaster_of(config).starts_closed(config):
        raise ConfigError("bar: got 'start', but a network of these settings does not start from a closed form")
    return start_of(series, config, test)


def shown(lines: Sequence[Line], missing: Sequence[str], series: Series, config: Config, one: bool) -> str:
    data, first = config.data, lines[0]
    what = f"{first.title[0].upper()}{first.title[1:]}" if one else "Bars"
    counts = ", ".join(f"{m.windows} {split}" for split, m in first.splits.items())
    trained = sorted({line.fitted.train_windows for line in lines if line.fitted is not None})
    train = f"{' to '.join(map(str, dict.fromkeys((trained[0], trained[-1]))))} train, " if trained else ""
    head = [f"{what} on {series.name}, S={data.seq_len}, H={data.pred_len}", f"windows: {train}{counts}"]
    if one and first.fitted is not None:
        made = ", ".join(filter(None, [f"{first.weights:,} weights", how(first), f"{first.fitted.seconds:.1f} s"]))
        head.insert(1, made)
    body = channels(first, series) if one else table(lines, missing)
    return "\n".join([*head, *(f"note: {note}" for note in series.notes), "", *body])


@command_named("lab.baseline")
def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status: 0, or 2 for bad arguments or data, with one line on stderr."""
    parser = Parser(
        prog=f"python -m {as_typed('lab.baseline')}",
        description="Fit the bars, closed-form references, and show their errors on the z-scored scale.",
    )
    add_overrides_argument(parser, "e.g. data.dataset=ETTh2")
    parser.add_argument("--preset", help=f"settings by name, of the model: {', '.join(known_presets())}")
    add_model_argument(parser)
    about = ", ".join((*BARS, START))
    parser.completes |= {"preset": known_presets(), "bar": (*BARS, START)}
    parser.add_argument("--bar", metavar="NAME", help=f"one bar alone, a row a channel: {about}")
    parser.add_argument(
        "--lookback", action="append", default=[], metavar="BAR=ROWS",
        help="rows that a bar reads in place of data.seq_len, such as folded=336; of several (linear=96,336,512) "
        "validation chooses; without a name: of every bar that is fitted",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="DIR", help="write baseline.json and baseline.npz there")
    parser.add_argument("--no-test", action="store_true", help="do not read the test split")
    # Overrides may stand before and after an option, which parse_args does not allow.
    options = parser.parse_intermixed_args(arguments)
    try:
        settings = forecaster(options.model).config
        if note := settings.presets.note(options.preset):
            say(f"note: {note}", file=sys.stderr)
        config = settings.create(preset=options.preset, overrides=options.overrides)
        if options.bar is not None and options.bar not in (*BARS, START):
            raise unknown("bar", options.bar, (*BARS, START))
        lookbacks = lookbacks_of(options.lookback, options.bar)
        if options.out:
            make_folder(options.out)
        series, test = load_series(config.data), not options.no_test
        look = looking(series, "baseline", command=command_line("lab.baseline", arguments)) if test else nullcontext()
        with look:
            if options.bar is None:
                lines, missing = every_bar(series, config, test, lookbacks)
            else:
                lines, missing = [one_bar(options.bar, series, config, test, lookbacks)], []
        print(shown(lines, missing, series, config, options.bar is not None))
        if options.out:
            # Of all bars the ridge's record stands outside, as it did when it was the only one.
            first = next((line for line in lines if line.name == "linear"), lines[0])
            content = record(first, series, config)
            if options.bar is None:
                inner = [record(line, series, config) for line in lines]
                content["bars"] = [{k: v for k, v in each.items() if k not in ("data", "config")} for each in inner]
            arrays = {f"weight_{line.name}": line.fitted.weight for line in lines if line.fitted is not None}
            if first.fitted is not None:
                arrays = {"weight": first.fitted.weight} | (arrays if options.bar is None else {})
            write(options.out, content, arrays)
            print(f"\nwritten: {options.out / 'baseline.json'}, {options.out / 'baseline.npz'}")
    except (ConfigError, DataError) as error:
        return refused(error, " ".join(str(error).split()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
