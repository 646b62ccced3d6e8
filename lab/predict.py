"""`python -m lab.predict`: the rows that come after the end of a file, from what is on record, what was trained, a bar.

Writes to --out: forecast.csv (or .parquet), dates, channels in their own units and a band; forecast.json, what was
done; backtest.csv, what was forecast of the test rows; with --plots forecast.png. By default the choice is fitted again
on all rows up to the file's end, for as many epochs as it took, and the band comes from the backtest: a walk over the
test rows with the weights that were judged, which is a look on the ledger.
"""

import argparse
import io
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from lab.compute import kernels
from lab.compute.device import out_of_memory, pick_device, use_threads
from lab.console.commands import as_typed, command_line, command_named, refused
from lab.console.folders import make_folder, write_whole
from lab.console.parser import Parser
from lab.console.printing import one_line, print, say
from lab.errors import ConfigError, DataError
from lab.forecasting.backtest import Backtest, walked
from lab.forecasting.band import DEFAULT_LEVEL, percent
from lab.forecasting.chosen import chosen_of
from lab.forecasting.given import Given
from lab.forecasting.making import Judged, best_bar, judged_bar, judged_of
from lab.forecasting.model import ForecastModel
from lab.forecasting.refit import refit, whole
from lab.provenance import code_provenance
from lab.registry import add_model_argument, add_overrides_argument, forecaster, known_presets
from lab.series.bars import BARS
from lab.store.place import Place, add_results_argument
from lab.store.schema import ResultsError
from lab.store.tables import StorageError

_SHOWN = 6  # steps and channels of the table on the screen


def parser() -> Parser:
    result = Parser(prog=f"python -m {as_typed('lab.predict')}", description=(__doc__ or "").split("\n")[0])
    add_overrides_argument(result, "of --bar alone; or how --data is read")
    result.add_argument("--study", help="the final seeds of a search's best trial, or the seeds of an arm")
    result.add_argument("--arm", help="of an ablation (default: full)")
    result.add_argument("--cell", help="of an ablation with several")
    result.add_argument("--run", metavar="ID", help="one run on record")
    result.add_argument("--from", dest="source", type=Path, metavar="PATH", help="a folder of train, or a saved model")
    result.add_argument(
        "--bar", metavar="NAME", help=f"best (on validation), {', '.join(BARS)}: in the place of a network"
    )
    add_results_argument(result, old=None)
    add_model_argument(result)
    result.add_argument("--preset", help="settings by name, of --bar alone")
    result.completes |= {"preset": known_presets(), "bar": ("best", *BARS)}
    result.add_argument("--config", help="a YAML file of settings, of --bar alone")
    result.add_argument(
        "--data", type=Path, metavar="FILE", help="forecast after its end (default: the data learned from)"
    )
    result.add_argument("--level", type=float, default=DEFAULT_LEVEL, help="of the band (default: %(default)s)")
    result.add_argument("--no-refit", action="store_true", help="keep the weights that were judged")
    result.add_argument(
        "--backtest",
        action=argparse.BooleanOptionalAction,
        help="walk the test rows, a look on the ledger: the band comes from it (default: yes, unless --no-refit)",
    )
    result.add_argument("--plots", action="store_true", help="history, forecast and band")
    result.add_argument(
        "--format", choices=("csv", "parquet"), default="csv", help="of the tables (default: %(default)s)"
    )
    result.add_argument("--save", type=Path, metavar="FILE", help="one file that --from and lab.load take")
    result.add_argument(
        "--export", type=Path, metavar="FILE", help="a program of torch's, which forecasts without this project (.pt2)"
    )
    result.add_argument("--out", type=Path, help="folder of what is written (default: forecast/<name> beside results)")
    result.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    result.add_argument("--threads", type=int, default=1, help="CPU threads")
    return result


@dataclass(frozen=True)
class Source:
    """What forecasts: with the data that it was judged on, or a saved model without."""

    name: str  # of the folder that is written to
    model: ForecastModel
    judged: Judged | None


def source_of(args: argparse.Namespace, device: torch.device) -> Source:
    """Raises ConfigError, DataError or ResultsError: nothing that can forecast is named, or it is not there."""
    named = [f"--{n}" for n, v in (("study", args.study), ("run", args.run), ("from", args.source)) if v is not None]
    if len(named) > 1:
        raise ConfigError(f"{' and '.join(named)} each say what forecasts; take one of them")
    # Beside records, settings say how the rows of --data are to be understood, and nothing else.
    own = [f"--{name}" for name in ("preset", "config") if getattr(args, name)]
    own += args.overrides if args.data is None else []
    if named and own:
        raise ConfigError(f"{one_line(own[0])}: with {named[0]} the settings are those on record; leave it out")
    if not named:
        if args.bar is None:
            raise ConfigError(
                "nothing is named that forecasts: --study NAME or --run ID of --results, --from FOLDER of lab.train, "
                "or --bar best with settings of data, such as data.path=FILE"
            )
        settings = forecaster(args.model).config
        if args.preset and args.config:
            raise ConfigError("--preset and --config each give all settings; take one of them")
        base = settings.from_yaml(args.config) if args.config else settings.create(preset=args.preset)
        judged = judged_bar(args.bar, base.override(args.overrides))
        return Source(f"{judged.data.name}-{judged.model.about['model']}", judged.model, judged)
    if args.source is not None and args.source.is_file():
        refused = [f"--{n}" for n in ("bar", "arm", "cell", "backtest") if getattr(args, n)]
        if refused:
            raise ConfigError(f"{refused[0]}: {one_line(args.source)} is a saved model, as it was saved; leave it out")
        if args.data is None:
            raise ConfigError("--data FILE is needed: a saved model holds no rows to forecast from")
        return Source(args.source.stem, ForecastModel.load(args.source, device), None)
    place = Place.of(args.results)
    place.check()
    chosen = chosen_of(args.source or place.url, args.study, args.run, args.arm, args.cell)
    judged = judged_of(chosen, args.bar, device)
    name = args.study or (chosen.runs[0] if args.run else args.source.name)
    return Source(f"{name}-{args.bar}" if args.bar else name, judged.model, judged)


@command_named("lab.predict")
def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_intermixed_args(argv)  # overrides may stand between the flags
    try:
        percent(args.level)
        kernels.asked()
        device = pick_device(args.device)
        use_threads(args.threads)
        return _forecast(args, device, command_line("lab.predict", argv))
    except (ConfigError, DataError, ResultsError, StorageError, OSError) as error:
        return refused(error)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        return refused(error, f"the models do not fit into memory ({one_line(error)}); name one run")


def _forecast(args: argparse.Namespace, device: torch.device, command: str) -> int:
    source = source_of(args, device)
    model, judged = source.model, source.judged
    out = args.out or Place.of(args.results).folder("forecast", source.name)
    make_folder(out)
    # Whatever is refused is said before test is looked at and anything is trained.
    _check_files(args, model)
    if args.data is not None:
        alone = not (args.study or args.run or args.source)  # then settings say what is learned from
        given = model.reading.told([] if alone else args.overrides).read(args.data)
    else:
        assert judged is not None
        given = judged.whole()
    model.check(given, args.level)
    if judged is not None and not args.no_refit:
        whole(judged, given)
    for note in dict.fromkeys((*model.about["notes"], *given.notes)):
        say(f"note: {note}", file=sys.stderr)
    tested = best = None
    if judged is not None:
        best = None if judged.chosen is None else best_bar(judged.series, judged.data)
        judged, tested = walked(judged, args.level, args.backtest, not args.no_refit, command, best)
        model = judged.model
    if judged is not None and not args.no_refit:
        model = refit(judged, given, device, lambda line: say(line, file=sys.stderr))
    frame = model.predict_given(given, args.level)
    lines = said(model, given, args.level, tested)
    print("\n".join([*lines, "", *table(frame), ""]))
    if judged is not None and best is not None and best.validation.mse < judged.validation:
        print(
            f"note: on validation the {best.bar.title} ({best.validation.mse:.4f}) is better than this "
            f"({judged.validation:.4f}); the same command with --bar {best.bar.name} forecasts with it"
        )
    done = {
        **model.about, "said": lines, "command": command, "time": time.time(), "code": code_provenance(),
        "data": given.name, "rows": len(given.values), "level": args.level, "band_windows": model.band.windows,
        "band_split": model.band.split,
        "backtest": None if tested is None else tested.record(),
    }  # fmt: skip
    written = write(out, args.format, frame, tested, done)
    on_record(model, done)
    if args.plots:
        from lab.forecasting.drawing import draw  # matplotlib takes a second to import

        draw(frame, given, model.reading, model.members.title, args.level).savefig(out / "forecast.png", dpi=110)
        written.append("forecast.png")
    if args.save is not None:
        model.save(args.save)
    if args.export is not None:
        model.export(args.export)
    files = [str(path) for path in (args.save, args.export) if path is not None]
    print("; ".join([f"written to {out}: {', '.join(written)}", *files]))
    if tested is None and judged is not None:
        again = command.replace(" --no-backtest", "")
        print(f"what the band held on the test rows (a look at test): {again} --backtest")
    return 0


def _check_files(args: argparse.Namespace, model: ForecastModel) -> None:
    """Raises ConfigError: files beside the folder that cannot be written, or a model that cannot be exported."""
    for name in ("save", "export"):
        path: Path | None = getattr(args, name)
        if path is not None and (path.is_dir() or not path.parent.is_dir()):
            why = "it is a folder" if path.is_dir() else f"there is no folder {one_line(path.parent)}"
            raise ConfigError(f"--{name} {one_line(path)}: cannot be written: {why}; name a file in one that is there")
    if args.export is not None:
        from lab.forecasting.exporting import check

        check(model.members)


def said(model: ForecastModel, given: Given, level: float, tested: Backtest | None) -> list[str]:
    """What was done, in sentences."""
    members = "" if model.members.count == 1 else f" the mean of {model.members.count} seeds;"
    past = f"past errors on {model.band.windows} {model.band.split} windows with the weights that were judged"
    if model.band.split == "validation":
        why = f"; {model.about['band']}" if model.about.get("band") else ""
        past += f" (validation had a say in the choice{why})"
    spread = "" if model.members.count == 1 else "what the seeds span and "
    return [
        f"the next {model.reading.pred_len} rows of {given.name}, a row every {model.reading.step}",
        f"{model.about['text']};{members} {model.about['weights']}",
        f"band of {level:.0%}: from {spread}{past}, for each step and channel (conformal)",
        *([] if tested is None else tested.lines()),
    ]


def table(frame: pd.DataFrame) -> list[str]:
    """The first steps of the first channels."""
    channels = list(dict.fromkeys(frame["channel"]))[:_SHOWN]
    rows = frame[frame["channel"].isin(channels) & (frame["step"] <= _SHOWN)]
    key = "date" if "date" in frame else "step"
    cells = [[key, *map(one_line, channels)]]
    for when, mine in rows.groupby(key, sort=False):
        found = mine[["low", "forecast", "high"]].to_numpy()
        shown = [" .. ".join(f"{number:.4g}" for number in numbers) for numbers in found]
        cells.append([str(when), *shown])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in cells]


def on_record(model: ForecastModel, done: Mapping[str, Any]) -> None:
    """Keeps what was done in the results that the runs came from. A store that cannot take it costs that alone."""
    results, now = model.place.results, time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    if results is None:
        return
    try:
        results.put_blob(
            f"forecasts/{model.place.study or (done['runs'] or [done['model']])[0]}/{now}.json", _json(done)
        )
    except StorageError as error:
        print(f"note: not on record in {results.storage.url}: {error}", file=sys.stderr)


def _json(done: Mapping[str, Any]) -> bytes:
    return (json.dumps(done, indent=1) + "\n").encode()


def write(out: Path, kind: str, frame: pd.DataFrame, tested: Backtest | None, done: Mapping[str, Any]) -> list[str]:
    """The tables, and what was done; each appears whole or not at all. Returns the names of the files."""
    bodies = {}
    for name, content in (("forecast", frame), ("backtest", None if tested is None else tested.frame)):
        if content is not None:
            buffer = io.BytesIO()
            content.to_csv(buffer, index=False) if kind == "csv" else content.to_parquet(buffer, index=False)
            bodies[f"{name}.{kind}"] = buffer.getvalue()
    bodies["forecast.json"] = _json(done)
    for name, body in bodies.items():
        write_whole(out / name, body)
    return list(bodies)


if __name__ == "__main__":
    sys.exit(main())
