"""Models of neuralforecast as forecasters; with the library installed, they do what every forecaster must."""

import importlib.util

import pytest
import torch

from lab.contract import check_forecaster
from lab.errors import ConfigError
from lab.registry import forecaster

INSTALLED = importlib.util.find_spec("neuralforecast") is not None
needs_it = pytest.mark.skipif(not INSTALLED, reason="neuralforecast is an extra")


@pytest.mark.skipif(INSTALLED, reason="without the extra")
def test_without_the_library_it_says_how_to_get_it() -> None:
    with pytest.raises(ConfigError, match=r"'nf:NHITS' needs neuralforecast .*pip install '\.\[neuralforecast\]'"):
        forecaster("nf:NHITS")


@needs_it
@pytest.mark.parametrize("name", ["NLinear", "TSMixer", "MLP"])
def test_it_does_what_every_forecaster_must(name: str) -> None:
    small = {"model.hidden_size": 8} if name == "MLP" else None
    assert not check_forecaster(f"nf:{name}", small).broken


@needs_it
def test_its_weights_follow_the_seed_and_its_channels_are_what_it_says() -> None:
    with pytest.raises(ConfigError, match="did you mean 'NHITS'"):
        forecaster("nf:NHITZ")
    window = torch.randn(2, 24, 3)
    for name, reads_others in (("NLinear", False), ("TSMixer", True)):
        found = forecaster(f"nf:{name}")
        config = found.config.create({"data.seq_len": 24, "data.pred_len": 8})
        nets = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            nets.append(found.module(config, 3).eval())  # type: ignore[attr-defined]
        with torch.no_grad():
            one, same, other = (net(window) for net in nets)
            changed = nets[0](window + torch.tensor([0.0, 0.0, 1.0]) * torch.randn(2, 24, 1))
        assert one.shape == (2, 8, 3) and torch.equal(one, same) and not torch.allclose(one, other)
        assert torch.allclose(one[..., :2], changed[..., :2], atol=1e-6) is not reads_others
        assert ("each channel by itself" in found.title) is not reads_others
