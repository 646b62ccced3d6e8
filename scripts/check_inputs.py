"""Bad inputs over every command, and what each says: none may be taken, end in a traceback or wait for ever.

    python -m scripts.check_inputs [--every 12] [--command tune.search] [--show]

Each runs in a process of its own, forked once everything is imported. Where a command would begin to train, fit or
start Ray, it has taken its input. A message has to name what is wrong and what was got, and what is allowed or to be
done. Last line: the totals. Exit code 1 where an input was taken, or an answer is none.
"""

import argparse
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch

import ablations.report
import ablations.run
import cluster.checks
import cluster.submit
import dynonet.baseline
import dynonet.data
import dynonet.predict
import dynonet.train
import lab.baseline
import lab.machines.session
import lab.results
import lab.train
import tune.report
import tune.search
from scripts.bad_inputs import Input, all_inputs

COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "dynonet.data": dynonet.data.main, "dynonet.train": dynonet.train.main,
    "dynonet.baseline": dynonet.baseline.main, "dynonet.predict": dynonet.predict.main,
    "tune.search": tune.search.main, "ablations.run": ablations.run.main,
    "tune.results": lambda given: lab.results.main(list(given)), "tune.report": tune.report.main,
    "ablations.report": ablations.report.main, "cluster.submit": cluster.submit.main,
    "cluster.checks": lambda given: cluster.checks.main(list(given)),
}  # fmt: skip
SECONDS = 60  # after which a command hangs: refusals take a fraction of one, but two cores may be busy
TAKEN, RAISED = 77, 99  # exit codes: it would have begun, and an exception came out of it
UNPLANNED = ("Traceback (most recent", "this was not expected")
AT_ONCE = 2
# How a message says what is allowed, or what to do.
HELPS = re.compile(
    r"no channel is left|nothing stands there|"
    r"allowed|needed|takes? |did you mean|expected|data.\w+|give |write |save |must |choose|at most|at least|"
    r"mend |columns:|is it |no such|leave |keep |fill |required|cannot |set |greater|less|should|unrecognized|"
    r"not allowed with|means|no results|first|too few|another|not a |not UTF-8|no text|use |unset|studies in|"
    r"named both|not among|goes with|in a circle|are the same|nothing to compare|of the form|switch|"
    r"nothing is left|a search would|reads it from|chmod|pass it by|invalid \w+ value|neither|already|has \d|"
    r"true or false|unpack|make it a cell|results need|lowest|no folder|more than|is empty|no rows|"
    r"control character|of the same name|holds|answers|twice|line \d+|no number|choice",
    re.I,
)
UNREADABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]|object at 0x|pydantic|validation error", re.I)


@dataclass(frozen=True)
class Answer:
    code: int
    text: str  # stderr, and stdout behind it
    hung: bool
    seconds: float

    def faults(self, given: Input) -> list[str]:
        """What is wrong with it: [] if nothing."""
        if self.hung:
            return ["hang"]
        if self.code == RAISED or any(words in self.text for words in UNPLANNED):
            return ["traceback"]
        if given.good:
            return [] if self.code in (0, TAKEN) else ["good input refused"]
        if self.code in (0, TAKEN):
            return ["taken"]
        found = []
        if self.code not in (1, 2):
            found.append(f"exit code {self.code}")
        flat = " ".join(self.text.split())
        if not all(re.search(pattern, flat) for pattern in given.says):
            found.append("names not what or got")
        if not HELPS.search(flat):
            found.append("says not what is allowed")
        if len(self.text) > 4000 + 3 * max(map(len, given.arguments), default=0) or UNREADABLE.search(self.text):
            found.append("unreadable")
        return found


class Taken(BaseException):
    """A command began its work."""


def answers(inputs: Sequence[Input], folder: Path) -> Iterator[tuple[Input, Answer]]:
    """The answers, in the order in which they come, some at once."""
    waiting = list(reversed(inputs))
    running: dict[int, tuple[Input, Path, float]] = {}
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            given = waiting.pop()
            place = folder / f"said-{len(waiting)}"
            running[_start(given, place)] = (given, place, time.monotonic())
        pid, status = os.waitpid(-1, os.WNOHANG)
        now = time.monotonic()
        if not pid:
            for late in [pid for pid, (_, _, began) in running.items() if now - began > SECONDS]:
                os.killpg(late, signal.SIGKILL)
            time.sleep(0.005)
        elif pid in running:
            given, place, began = running.pop(pid)
            text = place.read_text(errors="replace")
            hung = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
            yield given, Answer(os.waitstatus_to_exitcode(status), text, hung, now - began)


def _start(given: Input, place: Path) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        return pid
    os.setpgid(0, 0)
    code = RAISED
    try:
        with open(place, "wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.environ.update(given.environment)
        sys.argv = [given.command, *given.arguments]
        code = COMMANDS[given.command](given.arguments)
    except Taken:
        code = TAKEN
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _begin(*_: Any, **__: Any) -> Any:
    raise Taken


def stand_in() -> None:
    """Puts an end to a command where its work would begin."""
    ray.init = _begin
    lab.train.StackTrainer.train = _begin  # type: ignore[method-assign]
    lab.baseline.fit_bars = _begin


def main(arguments: Sequence[str] | None = None) -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--every", type=int, default=1, help="only each Nth input of a command (default: all)")
    options.add_argument("--command", choices=COMMANDS, help="of this command alone")
    options.add_argument("--show", action="store_true", help="print what each input is answered")
    args = options.parse_args(arguments)
    torch.set_num_threads(1)
    stand_in()
    for name in ("DYNONET_RESULTS", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        os.environ.pop(name, None)
    folder = Path(tempfile.mkdtemp(prefix="check-inputs-"))
    try:
        inputs = [each for each in all_inputs(folder) if args.command in (None, each.command)]
        chosen = [each for name in COMMANDS for each in [i for i in inputs if i.command == name][:: args.every]]
        return report(chosen, folder, args.show)
    finally:
        os.chdir("/")
        shutil.rmtree(folder, ignore_errors=True)


def report(inputs: Sequence[Input], folder: Path, show: bool) -> int:
    rows: dict[str, dict[str, int]] = {name: {} for name in COMMANDS}
    columns = ("inputs", "exit 2", "exit 1", "taken", "tracebacks", "hangs", "unclear", "good")
    slowest = 0.0
    for given, answer in answers(inputs, folder):
        faults = answer.faults(given)
        row = rows[given.command]
        kinds = ["good" if given.good else "inputs", {2: "exit 2", 1: "exit 1"}.get(answer.code, "")]
        kinds += [
            {"traceback": "tracebacks", "hang": "hangs"}.get(f, f if f == "taken" else "unclear") for f in faults[:1]
        ]
        for kind in kinds:
            row[kind] = row.get(kind, 0) + 1
        slowest = max(slowest, answer.seconds)
        if faults or show:
            said = " ".join(answer.text.split())
            print(f"{given.command}, {given.name}: {', '.join(faults) or 'fine'} (exit {answer.code}): {said[-300:]!r}")
    print(f"{'command':18s}" + "".join(f"{name:>11s}" for name in columns))
    for command, row in rows.items():
        print(f"{command:18s}" + "".join(f"{row.get(name, 0):11d}" for name in columns))
    total = {name: sum(row.get(name, 0) for row in rows.values()) for name in columns}
    print("slowest answer " + f"{slowest:.1f} s" + f"; {total['good']} good inputs beside them")
    print(", ".join(f"{total[name]} {name}" for name in columns[:-1]))
    return int(any(total[name] for name in ("taken", "tracebacks", "hangs", "unclear")))


if __name__ == "__main__":
    sys.exit(main())
