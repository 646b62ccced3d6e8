"""The ids of runs, pinned before the house was rebuilt: presets x arms, packaged studies, the synthetic series.

A run on record is found by its id. One that changes here would be trained again, and its record never found.
"""

import json
from pathlib import Path
from typing import Any

from ablations.study.reading import load_study, study_names
from dynonet.arms import ARMS
from dynonet.config import Config
from dynonet.presets import PRESETS
from lab.errors import ConfigError
from lab.series.synthetic import checksum
from lab.settings.data import SyntheticConfig

PINNED: dict[str, str] = json.loads((Path(__file__).parents[1] / "golden" / "ids" / "runs.json").read_text())
DATA = "f18d"  # stands for the identity of a series


def id_or_error(make: Any) -> str:
    try:
        return str(make().run_id(DATA))
    except ConfigError as error:  # an arm that such a baseline does not have
        return type(error).__name__


def test_presets_and_arms() -> None:
    found = {"synthetic": Config().run_id(checksum(SyntheticConfig()))}
    for name in set(PRESETS) - set(PRESETS.search_names()):
        base = Config.create(preset=name)
        for arm, spec in ARMS.items():
            found[f"{name}/{arm}"] = id_or_error(lambda base=base, spec=spec: spec.apply(base))
    pinned = {key: value for key, value in PINNED.items() if not key.startswith("study ")}
    assert {key: found.get(key) for key in pinned} == pinned  # arms may come


def test_packaged_studies() -> None:
    found = {}
    for name in study_names():
        study = load_study(name)
        for cell in study.cell_names:
            found |= {f"study {name}/{cell}/{arm}": study.config(cell, arm, 3).run_id(DATA) for arm in study.table}
    pinned = {key: value for key, value in PINNED.items() if key.startswith("study ")}
    assert {key: found.get(key) for key in pinned} == pinned
