"""Studies tracked by W&B that are killed, go on, or meet a server that hangs."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from lab.store.tables import Results
from lab.tracking.runs import members_of, tracked
from lab.tracking.sink import WandbSink
from tests.lab.tracking.sent import OFFLINE, ONLINE, TINY, check_files, check_server, send
from tests.processes import Driver, drivers, gone, marked
from tests.wandb_server import WandbServer


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    with drivers("tune.search", tmp_path, "--preset", "smoke", "--results", "results", "--trials", "4") as start:
        yield start


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["offline", "online"])
def test_a_search_killed_and_continued(
    begin: Callable[..., Driver], tmp_path: Path, mode: str, server: WandbServer
) -> None:
    results = Results(tmp_path / "results")
    arguments = ("--wandb", mode, "--max-epochs", "12", "--final-replicates", "1")
    driver = begin(*arguments)
    driver.until(lambda: [p for p in results.storage.list("tracking") if p.count("-a1")][1:])
    driver.until(lambda: [p for p in results.storage.list("checkpoints") if "/runs/" not in p])
    driver.kill()
    assert gone(driver.mark), "neither Ray's processes nor W&B's outlive the driver"
    driver = begin(*arguments)
    assert driver.wait() == 0, driver.said()
    assert "Traceback" not in driver.said() and driver.said().count("W&B") == 1 and "warning" not in driver.said()
    assert gone(driver.mark)
    assert len(members_of(results, "smoke")) == 4 * 2 + 1 + 1
    check_files(results, "smoke") if mode == "offline" else check_server(results, "smoke", server)
    with WandbSink(OFFLINE if mode == "offline" else ONLINE, results) as sink:
        assert sink.send("smoke") == 0


@pytest.mark.slow
def test_a_search_while_w_and_b_hangs(begin: Callable[..., Driver], tmp_path: Path, server: WandbServer) -> None:
    """Its result is the same, and neither its end nor Ctrl-C waits for W&B for long."""
    results = Results(tmp_path / "results")
    with server.misbehaving(600.0):
        driver = begin("--wandb", "online")
        driver.until(lambda: results.storage.list("checkpoints"))  # by now W&B has been told of the study
        os.killpg(driver.process.pid, signal.SIGINT)
        started = time.monotonic()
        assert driver.wait() == 130 and time.monotonic() - started < 300, driver.said()
        # Whether it had given up on a call before the Ctrl-C is a matter of seconds; what to do is said anyway.
        assert driver.said().count("warning") <= 1 and "Traceback" not in driver.said()
        assert "python -m tune.results wandb smoke" in driver.said()
        driver = begin("--wandb", "online")
        assert driver.wait() == 0 and "linear baseline" in driver.said(), driver.said()
        assert driver.said().count("warning") == 1 and gone(driver.mark)
    assert not server.runs and not marked(driver.mark)
    assert send(results, "smoke", ONLINE) == 4 * 2 + 2 + 1
    check_server(results, "smoke", server)


@pytest.mark.slow
def test_an_ablation_killed_and_continued(tmp_path: Path) -> None:
    baseline = {**TINY, "training.max_epochs": 8}
    study = {
        "name": "tiny",
        "question": "Does tracking keep up?",
        "baseline": baseline,
        "arms": ["no_film", "no_trend"],
        "seeds": 7,
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(study))
    results = Results(tmp_path / "results")
    with drivers("ablations.run", tmp_path, "tiny.yaml", "--stack-size", "6", "--wandb", "offline") as start:
        driver = start()
        driver.until(lambda: [p for p in results.storage.list("tracking") if "-test" in p][1:])
        driver.kill()
        assert gone(driver.mark)
        driver = start()
        assert driver.wait() == 0, driver.said()
    assert "Traceback" not in driver.said() and "warning" not in driver.said()
    members = members_of(results, "tiny")
    assert Counter(m.arm for m in members) == {"full": 7, "no_film": 7, "no_trend": 7, None: 1}
    assert {run.tags[0] for run in tracked(results, members) if run.readings} == {"arm", "baseline"}
    check_files(results, "tiny")
    assert send(results, "tiny") == 0
