"""Models that cannot be held are refused before anything of them is built."""

import pytest

from dynonet.config import Config
from dynonet.network.parameters import parameter_count
from dynonet.train import main
from lab.errors import ConfigError
from lab.settings.sizes import COPIES, check_size, too_large


@pytest.mark.parametrize(("setting", "said"), [
    ("model.control_hidden=1000000000", "3,000,"), ("model.num_layers=1000000000", "at most 64 are allowed"),
    ("model.moving_average=10000000000001", "one window takes"),
    ("model.worker_seq_len=1000000000000", "one window takes"),
    ("data.synthetic.rows=1000000000000", "at most 10,000,000 are made"),
])  # fmt: skip
def test_absurd_sizes(setting: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([setting]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ") and said in line and line.count("\n") == 1


def test_what_just_fits_is_not_refused() -> None:
    config = Config.create({"model.control_hidden": 300})
    needed = 4 * COPIES * parameter_count(config, 7)
    assert not too_large(config, 7, needed) and "take a smaller one" in too_large(config, 7, needed - 1)
    check_size(config, 7)
    with pytest.raises(ConfigError, match="control_hidden 10000000"):
        check_size(config.override({"model.control_hidden": 10_000_000}), 7)
