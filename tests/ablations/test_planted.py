"""A study finds what is there: a small part of `planted`, from the command to the verdict."""

from pathlib import Path

import pytest
import yaml

from ablations.findings.collect import findings_of
from ablations.study.reading import load_study
from lab.store.tables import Results
from tests.processes import drivers


@pytest.mark.slow
def test_a_part_helps_where_what_it_answers_is_planted_and_not_without(tmp_path: Path) -> None:
    content = load_study("planted").model_dump(mode="json", exclude_defaults=True)
    content |= {"name": "small", "arms": ["no_revin"], "seeds": 7, "scientific": ["model.revin"]}
    content["baseline"]["training.max_epochs"] = 5
    content["cells"] = {cell: content["cells"][cell] for cell in ("none", "level_shifts")}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    with drivers("ablations.run", tmp_path) as begin:
        driver = begin("small.yaml")
        assert driver.process.wait(500) == 0, driver.said()
    findings = findings_of(Results(tmp_path / "results"), "small")
    verdicts = {finding.cell: finding.shown for finding in findings.findings}
    assert verdicts["level_shifts"] == "helps" and verdicts["none"] in ("no practical effect", "undecided"), verdicts
    percent = {finding.cell: finding.effects["test_mse"].percent for finding in findings.findings}
    assert percent["level_shifts"] > 5 > 1 > abs(percent["none"])
