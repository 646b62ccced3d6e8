"""`training.precision`: whose it is, where it is refused, and what it rounds. (Of the GRU: test_gru_triton.py.)"""

from collections.abc import Iterator

import pytest
import torch

from dynonet.config import Config
from dynonet.learning.steps import mode_groups
from dynonet.network.layers import stacked_linear
from dynonet.network.parameters import Layout
from dynonet.network.products import precision, rounded
from dynonet.reference.small import CPU, make_series, small_config
from lab.errors import ConfigError
from lab.training.trainer import StackTrainer


def test_a_run_of_another_precision_is_another_run() -> None:
    ids = {Config.create(given).run_id("") for given in ({}, *({"training.precision": p} for p in ("tf32", "bf16")))}
    assert len(ids) == 3
    assert Config.create({"training.precision": "float32"}).run_id("") == Config().run_id("")  # as before there was one
    assert "training.precision" not in Config().canonical()


def test_a_cpu_refuses_it_before_a_step_and_probes_it() -> None:
    config = small_config(seed=1, precision="tf32")
    trainer = StackTrainer([config], make_series(2))  # whoever forecasts at the start trains nothing
    with pytest.raises(ConfigError, match=r"training\.precision=tf32 is how a GPU's tensor cores round, .* float32"):
        trainer.run_epoch()
    assert trainer.epoch == 0
    StackTrainer([config], make_series(2), dtype=torch.float64).train_epoch()


def test_each_precision_steps_by_itself_and_rounds_no_other() -> None:
    configs = [small_config(seed=seed, precision=name) for seed, name in enumerate(("float32", "float32", "bf16"))]
    groups = mode_groups(configs, Layout.of(configs[0], 2), CPU, torch.float32)
    assert [(place, group.precision) for place, group in groups] == [(slice(0, 2), "float32"), (slice(2, 3), "bf16")]


@pytest.fixture(params=[False, True])
def flag(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Torch's own setting, as somebody has left it."""
    matmul = torch.backends.cuda.matmul
    before, matmul.allow_tf32 = matmul.allow_tf32, request.param
    yield request.param
    matmul.allow_tf32 = before


def test_products_are_rounded_where_it_is_asked_for(flag: bool) -> None:
    draws = torch.Generator().manual_seed(0)
    weight, bias, x = (torch.randn(size, generator=draws) for size in ((2, 5, 64), (2, 5), (2, 64, 7)))
    plain = stacked_linear(x, weight, bias)
    with rounded("bf16"):
        coarse = stacked_linear(x, weight, bias)
        assert (precision(), torch.backends.cuda.matmul.allow_tf32) == ("bf16", True)
        with rounded("float32"):  # no product of float32 is rounded
            assert torch.equal(stacked_linear(x, weight, bias), plain)
        assert torch.equal(stacked_linear(x, weight, bias), coarse)
    assert (precision(), torch.backends.cuda.matmul.allow_tf32) == ("float32", flag)
    error = (coarse - plain).abs().max() / plain.abs().max()
    assert 1e-4 < error < 2e-2
    assert torch.equal(stacked_linear(x, weight, bias), plain)
