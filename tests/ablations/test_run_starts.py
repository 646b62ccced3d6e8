"""A study whose network starts from a closed form, end to end through real Ray: its bars and starts stay with it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from ablations.findings.collect import findings_of
from ablations.report import render
from ablations.study.reading import create_study
from lab.references.runs import start_run
from lab.references.starts import Starts
from lab.results import main as main_results
from lab.series import load_series
from lab.series.bars import BARS
from lab.store.frames import bars
from lab.store.tables import Results
from tests.ablations.tiny import TINY
from tests.processes import Driver, drivers

START = {"model.trend_start": "closed_form", "training.mode": "joint", "training.max_epochs": 1}
CONTENT = {**TINY, "baseline": {**TINY["baseline"], **START}, "arms": ["no_workers"], "seeds": 6}


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    with drivers("ablations.run", tmp_path) as start:
        yield start


@pytest.mark.slow
def test_a_study_of_closed_form_starts_keeps_bars_and_starts_with_its_records(
    begin: Callable[..., Driver], tmp_path: Path
) -> None:
    """Of every seed of the whole network, which begins at a bar: on record, in the table and sentences, in a copy."""
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(CONTENT))
    driver = begin("tiny.yaml")
    assert driver.wait() == 0, driver.said()
    results = Results(tmp_path / "results")
    found = findings_of(results, "tiny").cells[0].standing
    study = create_study(CONTENT)
    configs = [study.config("main", "full", seed) for seed in (1, 2, 3, 4, 5, 6)]
    series = load_series(configs[0].data)
    assert found.start is not None and found.over_start is not None and found.over_start.seeds == 6
    assert set(found.start.runs) == {start_run(config.run_id(series.identity)) for config in configs}
    alone = [each.mse for each in Starts(configs, series).evaluate("test")]
    assert found.start.errors["test_mse"] == pytest.approx(np.mean(alone), rel=1e-6)
    assert {bar.name for bar in found.bars} == set(BARS) and found.missing == ()
    begun = f"before the first step  {found.start.errors['test_mse']:.4f}".split()
    assert any(line.split()[: len(begun)] == begun for line in driver.said().splitlines()), driver.said()
    assert "Before its first step the whole network has a test MSE of" in " ".join(driver.said().split())

    to = tmp_path / "kept"
    assert main_results(["copy", "tiny", "--to", str(to), "--results", str(tmp_path / "results")]) == 0
    assert findings_of(Results(to), "tiny").cells[0].standing == found, "with the interval over test windows"
    assert len(bars("tiny", to)) == len(BARS) + 6
    page = render(findings_of(Results(to), "tiny"))["report.html"]
    assert "before the first step" in page and "Before its first step the whole network" in page
    again = begin("tiny.yaml")
    assert again.wait() == 0 and "nothing is left to train" in again.said()
    assert len(bars("tiny", tmp_path / "results")) == len(BARS) + 6, "each once"
