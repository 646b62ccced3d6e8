"""Presets of settings and of searches: one namespace, which every command takes."""

from dynonet.config import Config
from dynonet.presets import PRESETS
from dynonet.train import configs_of, parser


def test_a_search_s_preset_gives_one_run_its_settings() -> None:
    assert {"h96", "quickstart", "smoke", "etth1-h96", "tuned-etth1-h96"} <= {*PRESETS}
    for name in ("quickstart", "smoke", "etth1-h96"):
        assert Config.create(preset=name) == Config.create(PRESETS.search(name)["settings"])
        assert f"'{name}'" in PRESETS.note(name)
    assert not PRESETS.note("h96")
    (config,) = configs_of(parser().parse_args(["--preset", "smoke", "--seed", "3"]))
    assert (config.data.pred_len, config.training.seed) == (8, 3)
