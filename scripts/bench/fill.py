"""How well a search fills one GPU: trials in turns, side by side through MPS, and on streams of one process.

    python -m scripts.bench.fill [--trials 24] [--replicates 2] [--epochs 4] [--share 0.25] [--only turns,mps,streams]

Needs a CUDA GPU with nothing else on it, and ETTh1; some minutes. `turns` and `mps` are `python -m tune.search
--preset etth1-h96` with the two of `--gpu-sharing`, each from an empty folder of results; kernels are compiled before,
by a search of two trials, unless `--cold`. `streams` trains what `turns` proposed, for as many epochs, in threads of
one process with a CUDA stream each; it asks and records nothing, and is no way to run a search here: it shows what is
to be had. `busy` is NVML's share of time with a kernel on the card (`nvidia-smi`), from the first epoch's begin to the
last's end. At the end a few trials of each are trained alone, and must come to the same validation error (within
`SAME`). `--quick` runs all of it on a CPU at tiny sizes: a check of this script. `scripts.bench.gpu` runs this among
all else that is measured on a card.
"""

import argparse
import json
import math
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lab.compute.device import device_for, use_threads
from lab.machines.card.mps import missing
from lab.registry import DEFAULT, configs_of_json
from lab.series import Series, load_series
from lab.settings.config import Config
from lab.store.tables import Results
from lab.training.trainer import StackTrainer
from scripts.bench.turns import NO_MEASUREMENT

SUBJECTS = ("turns", "mps", "streams")
SAME = 1e-5  # of a validation error, relative
ALONE = 3  # trials of each subject that are trained alone, the first
BUSY, SECONDS = 0.70, 20.0  # what is aimed at
EXPECTED = {"mps": 35, "streams": 20, "alone": 15}  # s that each is expected to take, where time is short
ENDING = 20.0  # s that a search that is ended may take to do so


@dataclass(frozen=True)
class Trained:
    """One trial's stack."""

    configs: tuple[Config, ...]
    epochs: int
    errors: tuple[float, ...]  # validation MSE of each of its runs, at its best epoch
    begun: float  # seconds since the epoch
    ended: float
    training: float  # seconds within its epochs


@dataclass(frozen=True)
class Searched:
    """What one subject did. Seconds from its command's start."""

    trials: list[Trained]
    took: float
    proposed: float | None  # the first trial's
    begun: float
    ended: float
    busy: float | None  # share of the time between the two

    @property
    def at_once(self) -> float:
        """Trials in an epoch, on average."""
        return sum(trial.training for trial in self.trials) / max(self.ended - self.begun, 1e-9)

    def figures(self) -> dict[str, float | None]:
        """`idle`: in percent."""
        idle = None if self.busy is None else 100 * (1 - self.busy)
        names = ("took", "proposed", "begun", "ended", "busy", "at_once")
        return {name: getattr(self, name) for name in names} | {"idle": idle, "trials": len(self.trials)}


class Watch(threading.Thread):
    """Samples the card's utilisation within a `with`, however that ends."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.samples: list[tuple[float, float]] = []  # when, share of the time since the last one
        self._asked: subprocess.Popen[str] | None = None
        if torch.cuda.is_available() and shutil.which("nvidia-smi"):
            card = f"GPU-{torch.cuda.get_device_properties(0).uuid}"  # its number there is another's than torch's
            query = ["nvidia-smi", "-i", card, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
            self._asked = subprocess.Popen([*query, "-lms", "200"], stdout=subprocess.PIPE, text=True)

    def run(self) -> None:
        for line in self._asked.stdout or () if self._asked is not None else ():
            if line.strip().isdigit():
                self.samples.append((time.time(), int(line) / 100))

    def __enter__(self) -> "Watch":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._asked is not None:
            self._asked.terminate()
            self._asked.wait()

    def busy(self, begun: float, ended: float) -> float | None:
        found = [share for when, share in self.samples if begun <= when <= ended]
        return sum(found) / len(found) if found else None


# -- searches ------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Asked:
    """The sizes of what is compared."""

    trials: int = 24
    replicates: int = 2
    epochs: int = 4  # of a trial, at most
    share: float = 0.25  # of a GPU
    quick: bool = False

    def command(self, folder: Path, sharing: str) -> list[str]:
        preset, share = ("smoke", 0.0) if self.quick else ("etth1-h96", self.share)
        return [
            sys.executable, "-m", "tune.search", "--preset", preset, "--results", str(folder), "--quiet",
            "--trials", str(self.trials), "--replicates", str(self.replicates), "--max-epochs", str(self.epochs),
            "--final-replicates", "0", "--gpus-per-trial", f"{share:g}", "--gpu-sharing", sharing,
        ]  # fmt: skip

    @property
    def at_once(self) -> int:
        return 2 if self.quick else math.floor(1 / self.share + 1e-9)


QUICK = Asked(3, 1, 2, quick=True)


def run(command: Sequence[str]) -> str:
    """What it says to stdout. However this ends, the process does too; a search is given time to end what it began."""
    here = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}  # no cluster's
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=here) as process:
        try:
            said, _ = process.communicate()
        except BaseException:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=ENDING)
            process.kill()
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return said


def search(asked: Asked, folder: Path, sharing: str) -> Searched:
    with Watch() as watch:
        start = time.time()
        run(asked.command(folder, sharing))
        took = time.time() - start
    results = Results(folder)
    (study,) = results.studies()
    rows = results.table("trials", study).to_pylist()
    proposed = min(_seconds(row["time"]) for row in rows if row["event"] == "proposed")
    trials = of_trials(results, study)
    begun, ended = min(trial.begun for trial in trials), max(trial.ended for trial in trials)
    return Searched(trials, took, proposed - start, begun - start, ended - start, watch.busy(begun, ended))


def of_trials(results: Results, study: str) -> list[Trained]:
    """In the order of their proposals."""
    members: dict[str, list[str]] = {}
    for row in results.table("members", study).to_pylist():
        if row["role"] == "search":
            members.setdefault(row["trial"], []).append(row["run"])
    known, found = results.runs(), []
    for trial in sorted(members):
        runs = [known[run] for run in members[trial] if run in known]
        found.append(
            Trained(
                tuple(configs_of_json(DEFAULT, [run["config"] for run in runs])), max(run["epochs"] for run in runs),
                tuple(run["val_mse"] for run in runs), min(_seconds(run["started"]) for run in runs),
                max(_seconds(run["ended"]) for run in runs), max(run["wall_seconds"] for run in runs),
            )
        )  # fmt: skip
    return found


def _seconds(value: Any) -> float:
    return value.timestamp() if isinstance(value, datetime) else float(value)


# -- one process ---------------------------------------------------------------------------------------------
def train(configs: Sequence[Config], epochs: int, series: Series, device: torch.device) -> Trained:
    begun = time.time()
    trainer = StackTrainer(configs, series, device)
    made = time.time()
    for _ in range(epochs):
        trainer.run_epoch()
    errors = tuple(run.best["mse"] for run in trainer.runs)
    return Trained(tuple(configs), epochs, errors, begun, time.time(), time.time() - made)


def in_threads(told: Sequence[tuple[Sequence[Config], int]], at_once: int, device: torch.device) -> list[Trained]:
    """Each stack in the next free thread, on that thread's own stream."""
    if device.type == "cuda":
        # Else a capture forbids what other threads do meanwhile.
        torch.cuda.graph = partial(torch.cuda.graph, capture_error_mode="thread_local")  # type: ignore[misc,assignment]
    series = load_series(told[0][0][0].data)
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(told)):
        waiting.put(number)
    found: dict[int, Trained] = {}
    failed: list[BaseException] = []

    def work() -> None:
        own = torch.cuda.stream(torch.cuda.Stream(device)) if device.type == "cuda" else nullcontext()
        with own:
            while not failed:
                try:
                    number = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    found[number] = train(*told[number], series, device)
                except BaseException as error:
                    failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return [found[number] for number in range(len(told))]


def process(told: str, at_once: int) -> None:
    """`streams`, or trials alone, in a process of their own: stacks from a file, what came of each to stdout."""
    use_threads(1)
    device = device_for(torch.cuda.is_available())
    stacks = [(configs_of_json(DEFAULT, texts), epochs) for texts, epochs in json.loads(Path(told).read_text())]
    done = in_threads(stacks, at_once, device)
    print(json.dumps([[each.errors, each.begun, each.ended, each.training] for each in done]))


def apart(trials: Sequence[Trained], at_once: int, folder: Path) -> Searched:
    """The same stacks in one process that has nothing else to do."""
    told = folder / "told.json"
    told.write_text(json.dumps([[[c.to_json() for c in trial.configs], trial.epochs] for trial in trials]))
    command = [sys.executable, "-m", "scripts.bench.fill", "--process", str(told), "--at-once", str(at_once)]
    with Watch() as watch:
        start = time.time()
        said = run(command)
        took = time.time() - start
    rows = json.loads(said.splitlines()[-1])
    done = [
        Trained(trial.configs, trial.epochs, tuple(errors), begun, ended, training)
        for trial, (errors, begun, ended, training) in zip(trials, rows, strict=True)
    ]
    begun, ended = min(trial.begun for trial in done), max(trial.ended for trial in done)
    return Searched(done, took, None, begun - start, ended - start, watch.busy(begun, ended))


def difference(trials: Sequence[Trained], alone: Sequence[Trained]) -> float:
    """The largest, relative, between the errors of the same stacks."""
    pairs = [pair for each in zip(trials, alone, strict=True) for pair in zip(*(t.errors for t in each), strict=True)]
    return float(np.max([abs(one - other) / abs(other) for one, other in pairs]))


# -- the command ---------------------------------------------------------------------------------------------
def show(name: str, found: Searched) -> None:
    def number(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    print(
        f"{name:<10s}{found.took:>9.1f}{number(found.proposed, '.1f'):>16s}{found.begun:>14.1f}{found.ended:>13.1f}"
        f"{number(found.busy, '.0%'):>8s}{found.at_once:>10.1f}{len(found.trials):>8d}",
        flush=True,
    )


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--trials", type=int, default=Asked.trials)
    options.add_argument("--replicates", type=int, default=Asked.replicates)
    options.add_argument("--epochs", type=int, default=Asked.epochs, help="of a trial, at most")
    options.add_argument("--share", type=float, default=Asked.share, help="of the GPU, that each trial takes")
    options.add_argument("--only", default=",".join(SUBJECTS), help="with commas; turns, which the others need, always")
    options.add_argument("--cold", action="store_true", help="kernels are not compiled before")
    options.add_argument("--quick", action="store_true", help="on a CPU, at tiny sizes: a check of this script")
    options.add_argument("--process", help=argparse.SUPPRESS)
    options.add_argument("--at-once", type=int, default=1, help=argparse.SUPPRESS)
    args = options.parse_args()
    if args.process:
        process(args.process, args.at_once)
        return
    if unknown := [name for name in args.only.split(",") if name not in SUBJECTS]:
        options.error(f"--only: there is no subject '{unknown[0]}'; subjects are {', '.join(SUBJECTS)}")
    if not 0 < args.share <= 1:
        options.error(f"--share takes a part of the GPU, above 0 and at most 1, got {args.share:g}")
    if args.quick:
        print(NO_MEASUREMENT)
        asked = QUICK
    elif not torch.cuda.is_available():
        sys.exit(f"scripts.bench.fill: torch {torch.__version__} sees no GPU here (--quick checks the script)")
    else:
        asked = Asked(args.trials, args.replicates, args.epochs, args.share)
        print(f"{torch.cuda.get_device_name()}, {os.cpu_count()} CPUs, torch {torch.__version__}")
    found: dict[str, dict[str, Any]] = {}
    compare(asked, args.only.split(","), found, cold=args.cold or args.quick)
    if args.quick:
        print(NO_MEASUREMENT)
    if wrong := differing(found):
        sys.exit(wrong)


def compare(
    asked: Asked, only: Sequence[str], found: dict[str, dict[str, Any]], cold: bool = False, end: float = math.inf
) -> None:
    """Fills `found` with the figures of one subject after the other, and then with how far `apart` its trials are from
    the same alone. `end`, by the monotonic clock: what is expected to end later is left out."""
    print(
        f"A search: {asked.trials} trials of {asked.replicates} seeds, at most {asked.epochs} epochs, {asked.at_once} "
        f"at once; aims: {SECONDS:g} s in all, busy {BUSY:.0%}"
    )
    print(f"{'':10s}{'in all, s':>9s}{'first proposal':>16s}{'first epoch':>14s}{'last ends':>13s}"
          f"{'busy':>8s}{'at once':>10s}{'trials':>8s}")  # fmt: skip
    done: dict[str, Searched] = {}

    def taken(name: str, searched: Searched) -> None:
        show(name, searched)
        done[name], found[name] = searched, searched.figures()

    def left_out(name: str) -> bool:
        why = ("a check on a CPU" if asked.quick else missing()) if name == "mps" else None
        if end - time.monotonic() < EXPECTED[name] + EXPECTED["alone"]:
            why = "no time is left"
        if why:
            print(f"{name:10s}left out: {why}")
        return bool(why)

    if asked.quick:
        os.environ["DYNONET_DEVICE"] = "cpu"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:  # of one that is ended something may go on
        folder = Path(place)
        if not cold:
            run(replace(asked, trials=2, epochs=1).command(folder / "first", "turns"))
        taken("turns", search(asked, folder / "turns", "turns"))
        if "mps" in only and not left_out("mps"):
            taken("mps", search(asked, folder / "mps", "mps"))
        if "streams" in only and not left_out("streams"):
            taken("streams", apart(done["turns"].trials, asked.at_once, folder))
        first = [trial for each in done.values() for trial in each.trials[:ALONE]]
        known = {(trial.configs, trial.epochs): trial for trial in first}  # each once, whoever trained it
        alone = dict(zip(known, apart(list(known.values()), 1, folder).trials, strict=True))
    for name, searched in done.items():
        theirs = searched.trials[:ALONE]
        off = difference(theirs, [alone[trial.configs, trial.epochs] for trial in theirs])
        print(f"{name}: {len(theirs)} trials alone differ by at most {off:.1e} in validation MSE", flush=True)
        found[name]["apart"] = off


def differing(found: Mapping[str, Mapping[str, Any]]) -> str:
    """A sentence where a trial comes to something else than alone, else ""."""
    if all(each["apart"] <= SAME for each in found.values() if "apart" in each):  # NaN is no agreement
        return ""
    return f"scripts.bench.fill: results hang on who computes beside a trial (more than {SAME:g})"


if __name__ == "__main__":
    main()
