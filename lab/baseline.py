"""`python -m lab.baseline`: the closed-form linear baseline, the bar for whatever is trained on the same windows."""

import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from lab.console.commands import as_typed, command_line, command_named
from lab.console.folders import make_folder
from lab.console.printing import Parser, print
from lab.errors import ConfigError, DataError
from lab.ledger.looks import looking
from lab.registry import add_model_argument, forecaster, known_presets
from lab.series import Series, load_series
from lab.series.linear import LinearBaseline, Metrics, fit_linear
from lab.settings.config import Config
from lab.settings.data import DataConfig


def record(baseline: LinearBaseline, series: Series, config: Config, test: Metrics | None) -> dict[str, object]:
    """Everything but the weights, ready for JSON; `test` is None where it was not read."""

    def plain(metrics: Metrics) -> dict[str, object]:
        numbers = asdict(metrics) | {"windows": metrics.windows}
        del numbers["mse_windows"]
        for name in ("mse_channels", "mae_channels"):
            numbers[name] = dict(zip(series.channels, numbers[name].tolist(), strict=True))
        return numbers

    return {
        "model": "linear",
        "penalty": baseline.penalty,
        "penalty_at_edge": baseline.penalty_at_edge,
        "penalties": [{"penalty": p, "validation_mse": mse} for p, mse in baseline.penalties.items()],
        "weights": baseline.num_weights,
        "train_windows": baseline.train_windows,
        "seconds": baseline.seconds,
        "validation": plain(baseline.validation),
        "test": None if test is None else plain(test),
        "data": {
            "name": series.name,
            "sha256": series.identity,
            "file_sha256": series.file_sha256 or None,
            "source": series.source,
            "notes": list(series.notes),
        },
        "config": config.model_dump(mode="json"),
    }


def table(baseline: LinearBaseline, series: Series, data: DataConfig, test: Metrics | None) -> str:
    """The figures as plain text, one row a channel."""
    splits = {"validation": baseline.validation} | ({} if test is None else {"test": test})
    width = max(len(name) for name in ("all", "channel", *series.channels))
    titles = [f"{split} {kind}" for split in splits for kind in ("MSE", "MAE")]
    rows = [("channel".ljust(width), *(f"{title:>15}" for title in titles))]
    for index, name in enumerate(series.channels):
        pairs = [(float(m.mse_channels[index]), float(m.mae_channels[index])) for m in splits.values()]
        rows.append((name.ljust(width), *(f"{number:15.4f}" for pair in pairs for number in pair)))
    overall = [number for m in splits.values() for number in (m.mse, m.mae)]
    rows.append(("all".ljust(width), *(f"{number:15.4f}" for number in overall)))
    windows = ", ".join(f"{m.windows} {split}" for split, m in splits.items())
    edge = " (at the edge of the range tried)" if baseline.penalty_at_edge else ""
    return "\n".join(
        [
            f"Linear baseline on {series.name}, S={data.seq_len}, H={data.pred_len}",
            f"{baseline.num_weights:,} weights, penalty {baseline.penalty:g}{edge}, {baseline.seconds:.1f} s",
            f"windows: {baseline.train_windows} train, {windows}",
            *(f"note: {note}" for note in series.notes),
            "",
            *("  ".join(row) for row in rows),
        ]
    )


def write(folder: Path, baseline: LinearBaseline, content: dict[str, object]) -> None:
    """Writes baseline.json and baseline.npz (`weight`, (S, H)); each appears whole or not at all."""
    arrays = io.BytesIO()
    np.savez(arrays, weight=baseline.weight)
    # The weights first: whoever finds the JSON finds them too.
    for name, body in (
        ("baseline.npz", arrays.getvalue()),
        ("baseline.json", (json.dumps(content, indent=2) + "\n").encode()),
    ):
        partial = folder / f".{name}.{os.getpid()}"
        partial.write_bytes(body)
        os.replace(partial, folder / name)


@command_named("lab.baseline")
def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status: 0, or 2 for bad arguments or data, with one line on stderr."""
    parser = Parser(
        prog=f"python -m {as_typed('lab.baseline')}",
        description="Fit the closed-form linear baseline and show its errors on the z-scored scale.",
    )
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="e.g. data.dataset=ETTh2")
    parser.add_argument("--preset", help=f"settings by name, of the model: {', '.join(known_presets())}")
    add_model_argument(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="write baseline.json and baseline.npz there")
    parser.add_argument("--no-test", action="store_true", help="do not read the test split")
    # Overrides may stand before and after an option, which parse_args does not allow.
    options = parser.parse_intermixed_args(arguments)
    try:
        settings = forecaster(options.model).config
        if note := settings.presets.note(options.preset):
            print(f"note: {note}", file=sys.stderr)
        config = settings.create(preset=options.preset, overrides=options.overrides)
        if options.out:
            make_folder(options.out)
        series = load_series(config.data)
        baseline = fit_linear(series, config.data)
        test = None
        if not options.no_test:
            with looking(series, "baseline", command=command_line("lab.baseline", arguments)):
                test = baseline.evaluate(series, config.data, "test")
        print(table(baseline, series, config.data, test))
        if options.out:
            write(options.out, baseline, record(baseline, series, config, test))
            print(f"\nwritten: {options.out / 'baseline.json'}, {options.out / 'baseline.npz'}")
    except (ConfigError, DataError) as error:
        print(f"{parser.prog}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
