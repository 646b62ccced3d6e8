"""Presets of settings and of searches: one namespace, which every command takes."""

from pathlib import Path

import pytest

from dynonet.config import Config
from dynonet.presets import PRESETS, PUBLISHED
from dynonet.train import configs_of, parser
from lab.store.frames import load

FLAGSHIP = Path(__file__).parents[2] / "results" / "flagship"
FOUND = sorted(set(PRESETS) - set(PRESETS.search_names()) - set(PUBLISHED))


@pytest.mark.parametrize("name", FOUND)
def test_a_preset_that_was_found_is_what_its_search_trained_at_the_end(name: str) -> None:
    frame = load(name.removeprefix("tuned-") if "series" in name else name, FLAGSHIP)
    finals = frame[frame["role"].str.contains("final")]
    config = Config.create(preset=name)
    assert len(finals) == 10
    for run, seed, series in zip(finals["run"], finals["seed"], finals["data_sha256"], strict=True):
        assert config.with_seed(seed).run_id(series) == run


def test_a_search_s_preset_gives_one_run_its_settings() -> None:
    assert {"h96", "quickstart", "smoke", "etth1-h96", "tuned-etth1-h96"} <= {*PRESETS}
    for name in ("quickstart", "smoke", "etth1-h96"):
        assert Config.create(preset=name) == Config.create(PRESETS.search(name)["settings"])
        assert f"'{name}'" in PRESETS.note(name)
    assert not PRESETS.note("h96")
    (config,) = configs_of(parser().parse_args(["--preset", "smoke", "--seed", "3"]))
    assert (config.data.pred_len, config.training.seed) == (8, 3)
