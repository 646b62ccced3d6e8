"""What a search's page shows first, and that no trial is out of view."""

import re
from dataclasses import replace

import numpy as np
import pytest

from dynonet.config import Config
from lab.store.tables import Results
from tests.tune import searched
from tests.tune.searched import Made, Searched
from tune.findings.collect import findings_of
from tune.findings.findings import UNFINISHED, SearchFindings
from tune.reporting import figures, glance
from tune.reporting.axes import Reach


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> SearchFindings:
    """Twelve trials, one far above the others, a failure and one without an outcome."""
    settings = {"data.dataset": "ETTh1", "data.pred_len": 96, "training.max_epochs": 6}
    study = Searched(Results(tmp_path_factory.mktemp("shown") / "out"), Config.create(settings))
    study.add(*searched.spread(12))
    params = searched.spread(1)[0].params
    study.add(
        Made({**params, "model.dropout": 0.11}, (90.0, 91.0)),
        Made({**params, "model.dropout": 0.2}, (0.9, 0.9), "failed", 3, "RuntimeError: <no>"),
        Made({**params, "model.dropout": 0.21}, state=None),
    )
    study.finals("t00001", searched.spread(2)[1].params, (0.40, 0.42, 0.41)).linear(0.5, 0.405)
    return findings_of(study.results, "mine")


def test_every_trial_is_in_view_and_says_which_it_is(findings: SearchFindings) -> None:
    """However far above the others: the axis is pressed together there, and stays in order."""
    reach = Reach.of([0.66, 0.661, 0.662, 0.663, 0.664, 1.37, 40.0])
    places = [reach.place(value) for value in (0.66, 0.664, reach.cut, 1.37, 40.0)]
    assert reach.pressed and places[0] == 0 and places[-1] == 1 and places == sorted(set(places)) and places[2] > 0.75
    assert np.allclose(reach._backward(reach._forward(np.array([0.1, 0.663, 0.7, 40.0]))), [0.1, 0.663, 0.7, 40.0])
    assert not Reach.of([1.0, 2.0, 3.0]).pressed and not Reach.of([0.5, 0.5]).pressed
    svg = figures.history(findings, "x")
    said = dict(re.findall(r'<g class="told"><title>(t\d+), (complete|stopped early|failed|diverged)', svg))
    assert said == {trial.trial: trial.outcome for trial in findings.trials if trial.outcome != UNFINISHED}
    assert "told:" not in svg and "(best bar)" in svg and ">90.5</text>" in svg


def test_at_a_glance_the_lowest_error_comes_first(findings: SearchFindings) -> None:
    shown = glance.picture(findings)
    assert shown is not None and [strip.name for strip in shown.strips if strip.mark == "dot" and strip.at] == [
        "t00001, 3 final replicates"
    ]
    errors = [float(strip.said.split()[0]) for strip in shown.strips]
    assert errors == sorted(errors) and "0.4100 ± 0.0100" in {strip.said for strip in shown.strips}
    places = [strip.at for strip in shown.strips if strip.at is not None]
    assert places == sorted(places) and places[0] > 0 and places[-1] < 1
    untested = glance.picture(replace(findings, finals=()))
    assert untested is not None and "Validation MSE" in untested.axis
