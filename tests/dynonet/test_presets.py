"""Presets of settings and of searches: one namespace, which every command takes."""

import pytest

from dynonet.config import Config
from dynonet.presets import PRESETS, preset_names, preset_note, search_names, search_preset
from dynonet.train import configs_of, parser
from lab.errors import ConfigError


def test_no_name_means_two_things() -> None:
    assert len(set(preset_names())) == len(preset_names()) and {*PRESETS} == {*preset_names()}
    assert {"h96", "quickstart", "etth1-h96", "tuned-etth1-h96"} <= {*preset_names()}


def test_a_search_s_preset_gives_one_run_its_settings() -> None:
    for name in search_names():
        config = Config.create(preset=name)
        assert config == Config.create(search_preset(name)["settings"]) and f"'{name}'" in preset_note(name)
    assert preset_note("h96") == preset_note(None) == preset_note("no such") == ""
    (config,) = configs_of(parser().parse_args(["--preset", "smoke", "--seed", "3"]))
    assert (config.data.pred_len, config.training.seed) == (8, 3)


def test_a_preset_of_settings_is_a_search_with_the_default_space() -> None:
    assert search_preset("h96") == {"settings": PRESETS["h96"], "search": {}}
    with pytest.raises(ConfigError, match="unknown preset 'quickstrat'; did you mean 'quickstart'"):
        search_preset("quickstrat")
