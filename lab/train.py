"""`python -m lab.train --model NAME`: trains one run, or a stack of one run per seed, and reads test at the end.

Writes to --out: checkpoint.pt (the same command goes on from it), and for each seed a folder with config.yaml,
history.csv, metrics.json, best.pt (the weights, as the model's forecaster saves them) and, with --plots, figures.
"""

import argparse
import csv
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from lab.baseline import every_bar
from lab.compute import kernels
from lab.compute.device import out_of_memory, pick_device, use_threads
from lab.console.commands import as_typed, command_line, command_named, refused
from lab.console.folders import make_folder
from lab.console.parser import Parser
from lab.console.printing import QUIET, one_line, print, say, verbosity
from lab.errors import ConfigError, DataError
from lab.forecaster import Forecaster
from lab.ledger.looks import looking
from lab.pages.formats import counted, shortened
from lab.references.measured import measured
from lab.registry import add_model_argument, add_overrides_argument, forecaster, known_presets, reported
from lab.series import load_series
from lab.settings.config import Config
from lab.settings.sizes import check_size
from lab.store.place import Place
from lab.training.checkpoint import read_file
from lab.training.trainer import Run, StackTrainer, evaluate_weights

# Flags of their own for the settings that every model has.
FLAGS = {
    "seq_len": "data.seq_len", "pred_len": "data.pred_len", "batch_size": "training.batch_size", "lr": "training.lr",
    "weight_decay": "training.weight_decay", "max_epochs": "training.max_epochs", "patience": "training.patience",
    "seed": "training.seed",
}  # fmt: skip


def parser(model: Forecaster | None = None, flags: Mapping[str, str] = FLAGS) -> Parser:
    """Of the command of one model, or of any: then `--model` names it.

    `flags`: name -> the setting that it stands for.
    """
    result = Parser(prog=f"python -m {as_typed('lab.train')}", description=(__doc__ or "").split("\n")[0])
    if model is None:
        add_model_argument(result)
    add_overrides_argument(result, "dotted settings; they win", None if model is None else model.name)
    result.completes["preset"] = known_presets() if model is None else model.config.presets
    known = "" if model is None else f": {', '.join(model.config.presets)}"
    result.add_argument("--preset", help=f"settings by name, of the model{known}")
    result.add_argument("--config", help="a YAML file of settings, such as a search's best.yaml")
    result.add_argument("--seeds", help="comma-separated: one model each, trained as one stack")
    result.add_argument("--out", help="folder of what is written (default: train/<run> beside results)")
    result.add_argument("--plots", action="store_true", help="forecast, training curves, diagnostics over test windows")
    result.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    result.add_argument("--threads", type=int, default=1, help="CPU threads")
    result.add_argument("--no-test", action="store_true", help="do not read the test split")
    for flag, key in flags.items():
        result.add_argument(f"--{flag}", f"--{flag.replace('_', '-')}", dest=flag, help=f"= {key}")
    return result


def configs_of(
    args: argparse.Namespace, model: Forecaster | None = None, flags: Mapping[str, str] = FLAGS
) -> list[Config]:
    """The configs that the arguments ask for, one per seed. Raises ConfigError."""
    settings = (forecaster(args.model) if model is None else model).config
    if note := settings.presets.note(args.preset):
        say(f"note: {note}", file=sys.stderr)
    config = settings.create(preset=args.preset)
    if args.config:
        config = settings.from_yaml(args.config)
        if args.preset:
            raise ConfigError("--preset and --config each give all settings; take one of them")
    named = [f"{key}={getattr(args, flag)}" for flag, key in flags.items() if getattr(args, flag) is not None]
    config = config.override([*named, *args.overrides])
    if args.seeds is None:
        return [config]
    try:
        seeds = [int(seed) for seed in args.seeds.split(",")]
    except ValueError:
        raise ConfigError(f"--seeds takes numbers separated by commas, got '{args.seeds}'") from None
    if len(set(seeds)) != len(seeds):
        raise ConfigError(f"--seeds names a seed twice: {args.seeds}")
    return [config.override({"training.seed": seed}) for seed in seeds]


def save_checkpoint(trainer: StackTrainer, path: Path) -> None:
    """Writes the checkpoint so that a reader finds the old one or the new one, never half of one."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        torch.save(trainer.state_dict(), file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def train(configs: Sequence[Config], out: Path, device: torch.device, *, progress: bool = True) -> StackTrainer:
    """Trains a stack with a checkpoint after each epoch, going on from `out` where that holds one of the same runs."""
    trainer = StackTrainer(configs, device=device)
    make_folder(out)
    path = out / "checkpoint.pt"
    if path.exists():
        try:
            state = read_file(path)
        except DataError as error:
            raise ConfigError(f"{path}: {error}; take another --out, or delete the folder") from None
        except Exception as error:  # whatever unpickling makes of a foreign file
            raise ConfigError(f"{path}: not a checkpoint ({type(error).__name__}); take another --out") from None
        try:
            trainer.load_state_dict(state)
        except DataError as error:
            raise ConfigError(f"{path}: {error}; take another --out, or delete the folder") from None
        say(f"going on from {path}, epoch {trainer.epoch}", file=sys.stderr)
    bar = tqdm(
        total=max(c.training.max_epochs for c in configs), initial=trainer.epoch, unit="epoch",
        disable=not progress or not sys.stderr.isatty() or verbosity() == QUIET,
    )  # fmt: skip

    def after_epoch(trainer: StackTrainer) -> None:
        save_checkpoint(trainer, path)
        last = [run.history[-1] for run in trainer.runs if run.epochs == trainer.epoch]
        best = min((run.best["mse"] for run in trainer.runs if run.best), default=float("nan"))
        means = {k: statistics.fmean(row.get(k, float("nan")) for row in last) for k in ("train_loss", "val_mse")}
        text = {"train": f"{means['train_loss']:.4f}", "val": f"{means['val_mse']:.4f}", "best": f"{best:.4f}"}
        if bar.disable and progress:
            words = "  ".join(f"{k} {v}" for k, v in text.items())
            say(f"epoch {trainer.epoch:3d}  {words}  ({len(last)} models)", file=sys.stderr)
        bar.set_postfix(text)
        bar.update()

    trainer.train(after_epoch)
    bar.close()
    return trainer


def write_run(trainer: StackTrainer, run: Run, folder: Path, *, read_test: bool) -> dict[str, Any]:
    """Writes one run's config, history, metrics and best weights. Returns the metrics."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(run.config.to_yaml())
    columns = list(dict.fromkeys(key for row in run.history for key in row))
    with open(folder / "history.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(run.history)
    metrics: dict[str, Any] = {
        "run": run.run, "status": run.status, "seed": run.config.training.seed, "epochs": run.epochs,
        "best_epoch": run.best_epoch, "parameters": trainer.size.parameters,
        "protocol": run.config.protocol or None, "model": run.config.forecaster, "dataset": trainer.series.name,
        "data_sha256": trainer.series.identity, "data_file_sha256": trainer.series.file_sha256 or None,
        "data_notes": list(trainer.series.notes), "channels": list(trainer.series.channels),
        "cpu_seconds": run.cpu_seconds, "validation": run.best or None, "test": None,
    }  # fmt: skip
    if run.weights is not None:
        if read_test:
            test = evaluate_weights(run.config, run.weights, trainer.series, "test", trainer.device)
            names = ("mse", "mae", "mse_channels", "mae_channels")
            metrics["test"] = {name: getattr(test, name)[0].tolist() for name in names}
        about = {"epoch": run.best_epoch, "metrics": metrics, "config": run.config.to_json()}
        trainer.forecaster.save(run.config, run.weights, trainer.series.num_channels, folder / "best.pt", about)
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1))
    return metrics


def print_results(trainer: StackTrainer, metrics: Sequence[dict[str, Any]], *, read_test: bool) -> None:
    """The table of runs, beside the bars and, where it applies, the published results."""
    print(f"\n{'':24s}{'status':>10s}{'best epoch':>12s}{'val MSE':>10s}{'test MSE':>10s}{'test MAE':>10s}")
    for row in metrics:
        val, test = row["validation"], row["test"]
        numbers = [f"{val['mse']:.4f}" if val else "-"]
        numbers += [f"{test[k]:.4f}" if test else "-" for k in ("mse", "mae")]
        best = row["best_epoch"] if row["best_epoch"] is not None else "-"
        print(f"{'seed ' + str(row['seed']):24s}{row['status']:>10s}{best:>12}" + "".join(f"{n:>10s}" for n in numbers))
    done = [row for row in metrics if row["test"]]
    for name in ("mse", "mae") if len(done) > 1 else ():
        values = [row["test"][name] for row in done]
        mean, deviation = statistics.fmean(values), statistics.stdev(values)
        print(f"test {name.upper()}: {mean:.4f} ± {deviation:.4f} over {len(done)} seeds")
    if not read_test:
        return
    if done:
        rows = zip(*(row["test"]["mse_channels"] for row in done), strict=True)
        channels = [statistics.fmean(values) for values in rows]
        pairs = zip(trainer.series.channels, channels, strict=True)
        print("test MSE per channel: " + "  ".join(f"{name} {value:.3f}" for name, value in pairs))
    data = trainer.runs[0].config.data
    lines, _ = every_bar(trainer.series, trainer.runs[0].config, test=True)
    for line in lines:
        assert line.test is not None
        print(f"{line.title:24s}{line.validation.mse:>32.4f}{line.test.mse:>10.4f}{line.test.mae:>10.4f}")
    others = measured(None, trainer.series.identity, data.pred_len)
    for each in others:
        errors = "".join(f"{each.mean(metric):>10.4f}" for metric in ("test_mse", "test_mae"))
        print(
            f"{shortened(each.title, 24):24s}{'':32s}{errors}  measured in {each.study}, {counted(each.runs, 'seed')}"
        )
    for name, (mse, mae, size) in reported(data).items():
        print(f"{name + ', ' + size:24s}{'':32s}{mse:>10.3f}{mae:>10.3f}  quoted")


@command_named("lab.train")
def main(argv: Sequence[str] | None = None) -> int:
    return run_command(argv)


def run_command(argv: Sequence[str] | None, model: Forecaster | None = None, flags: Mapping[str, str] = FLAGS) -> int:
    """The command of one model, or of any (see `parser`). Returns its exit code."""
    args = parser(model, flags).parse_intermixed_args(argv)  # overrides may stand between the flags
    try:
        configs = configs_of(args, model, flags)
        kernels.asked()
        device = pick_device(args.device)
        use_threads(args.threads)
        series = load_series(configs[0].data)
        for note in series.notes:
            say(f"note: {note}", file=sys.stderr)
        check_size(configs[0], series.num_channels)
        name = configs[0].run_id(series.identity)
        out = Path(args.out or Place.of(None).folder("train", name))
        trainer = train(configs, out, device)
    except (ConfigError, DataError, OSError) as error:
        return refused(error)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        what = f"{len(configs)} models of these settings do" if len(configs) > 1 else "a model of these settings does"
        return refused(error, f"{what} not fit into memory ({one_line(error)}); take fewer or smaller ones")
    read_test = not args.no_test
    metrics = []
    with ExitStack() as look:
        if read_test or args.plots:  # figures show forecasts of test windows
            ids = [run.run for run in trainer.runs if run.weights is not None]
            typed = command_line("lab.train", argv)
            look.enter_context(looking(trainer.series, "train", runs=len(ids) + 1, ids=ids, command=typed))
        for run in trainer.runs:
            folder = out / f"seed-{run.config.training.seed}"
            metrics.append(write_run(trainer, run, folder, read_test=read_test))
        print_results(trainer, metrics, read_test=read_test)
        print(f"written to {out}")
        drawn = not args.plots or draw(trainer, out, device)
    return 0 if drawn and any(run.status == "complete" for run in trainer.runs) else 1


def draw(trainer: StackTrainer, out: Path, device: torch.device) -> bool:
    """Figures of every run, after all else: one that cannot be drawn is said and costs no result. Whether all were."""
    from lab.training.plots import write_plots  # matplotlib takes a second to import

    drawn = True
    for run in trainer.runs:
        folder = out / f"seed-{run.config.training.seed}"
        try:
            if run.weights is not None:
                write_plots(run, trainer.series, folder, device)
        except Exception as error:  # whatever matplotlib makes of names and numbers that nobody thought of
            drawn = False
            print(f"error: figures for {folder}: {type(error).__name__}: {error}", file=sys.stderr)
    return drawn


if __name__ == "__main__":
    sys.exit(main())
