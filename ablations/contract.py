"""Whether a forecaster goes through a real search, a real study and their reports: what `lab.contract` cannot see.

from ablations.contract import check_commands
print(check_commands("my_package.my_module:NET", folder))
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.console.printing import one_line
from lab.contract import ContractBroken, Report
from lab.contract.report import Broken, Row, expect
from lab.contract.subject import SETTINGS, Subject
from lab.registry import forecaster
from lab.settings.yaml import dump
from lab.store.schema import BARS
from lab.store.tables import Results
from lab.training.liveness import compare, probe

SEARCH, STUDY = "contract-search", "contract-study"
SEEDS = 6  # the fewest at which one comparison can be decided
MOST_SECONDS = 900.0  # that a command may take


def check_commands(model: str, folder: str | Path, settings: Mapping[str, Any] | None = None) -> Report:
    """Runs the commands as a user would type them in `folder`, with Ray on this machine; a minute or two.

    Args:
        model: a name that `--model` takes. A module of one's own is found in `folder`, or on PYTHONPATH.
        settings: dotted settings other than those of `lab.contract.subject.SETTINGS` and `Forecaster.small`.
    Returns:
        what each command did, which prints as a table.
    Raises:
        ContractBroken: the first command that fails, or that leaves something else on record than it should.
    """
    found = forecaster(model)
    subject = Subject(found, {**SETTINGS, "training.max_epochs": 2, **found.small, **(settings or {})})
    place = Path(folder).absolute()
    rows: list[Row] = []
    for check in (_search, _search_report, _study, _study_report):
        began = _seconds()
        try:
            seen, broken = check(model, subject, place), False
        except Broken as error:
            seen, broken = str(error), True
        rows.append(Row(check.__name__.strip("_").replace("_", " "), seen, _seconds() - began, broken))
        if broken:
            raise ContractBroken(Report(subject.forecaster.name, tuple(rows)))
    return Report(subject.forecaster.name, tuple(rows))


def _seconds() -> float:
    """CPU time of this process and of the commands that have ended."""
    return sum(os.times()[:4])


def _run(place: Path, module: str, *arguments: str) -> str:
    command = [sys.executable, "-m", module, *arguments, "--results", str(place / "results")]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=MOST_SECONDS)
    said = one_line((done.stderr.strip() or done.stdout.strip())[-500:])
    expect(done.returncode == 0, f"python -m {module} {' '.join(arguments)} ended with {done.returncode}: {said}")
    return done.stdout


def _search(model: str, subject: Subject, place: Path) -> str:
    overrides = [f"{key}={value}" for key, value in subject.settings.items() if key not in subject.forecaster.space]
    _run(
        place, "tune.search", "--model", model, "--study", SEARCH, "--trials", "2", "--replicates", "2",
        "--grace-epochs", "1", "--final-replicates", "2", *overrides,
    )  # fmt: skip
    return _on_record(model, place, SEARCH, 6)


def _search_report(model: str, subject: Subject, place: Path) -> str:
    said = _run(place, "tune.report", SEARCH, "--model", model)
    return _pages(place, SEARCH, said, ("report.html", "report.md", "trials.csv"))


def _study(model: str, subject: Subject, place: Path) -> str:
    alive = _alive(subject)
    arm: dict[str, Any] | str = alive or {
        "name": "slower", "claim": "the learning rate matters at all", "removes": "half of the learning rate",
        "overrides": {"training.lr": subject.base.training.lr / 2},
    }  # fmt: skip
    content = {
        "name": STUDY, "question": "Does a study of it run to its end?", "model": model,
        "baseline": dict(subject.settings), "arms": [arm], "seeds": SEEDS,
    }  # fmt: skip
    (place / f"{STUDY}.yaml").write_text(dump(content))
    _run(place, "ablations.run", f"{STUDY}.yaml", "--model", model)
    about = alive or "a learning rate, since it has no arm that does something here"
    return f"arm {about}: {_on_record(model, place, STUDY, 2 * SEEDS)}"


def _alive(subject: Subject) -> str | None:
    """The first arm against the baseline that does something."""
    for name, (arm, config, beside) in subject.arms().items():
        if beside == subject.base:
            one, other = probe([config, beside], subject.series)
            if not compare(arm, arm.against, "main", (config, beside), (one, other)).inert:
                return name
    return None


def _study_report(model: str, subject: Subject, place: Path) -> str:
    said = _run(place, "ablations.report", STUDY, "--model", model)
    return _pages(place, STUDY, said, ("report.html", "report.md", "effects.csv", "effects.tex"))


def _on_record(model: str, place: Path, study: str, runs: int) -> str:
    rows = [row for row in Results(place / "results").table("runs", study).to_pylist() if row["model"] not in BARS]
    expect(len(rows) == runs, f"{len(rows)} runs of {study} on record, expected {runs}")
    models, states = {row["model"] for row in rows}, {row["status"] for row in rows}
    expect(models == {model}, f"the runs of {study} are of {', '.join(sorted(models))}, expected {model}")
    expect(states <= {"complete", "stopped"}, f"runs of {study} are {', '.join(sorted(states))}, expected complete")
    return f"{runs} runs on record, each once"


def _pages(place: Path, study: str, said: str, names: tuple[str, ...]) -> str:
    folder = place / "results" / "reports" / study
    for name in names:
        path = folder / name
        expect(path.is_file() and path.stat().st_size, f"the report has no {name}; it said {one_line(said[-300:])}")
    expect(study in (folder / "report.md").read_text(), "report.md does not name its study")
    return ", ".join(names)
