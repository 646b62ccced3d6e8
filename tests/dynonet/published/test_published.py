"""Published checkpoints in and out, and the number of parameters of every part."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dynonet.config import Config
from dynonet.network.parameters import Layout, Parameters
from dynonet.published.checkpoints import load_published, published_state_dict, save_published
from dynonet.reference.oracle import Oracle, randomise
from lab.errors import DataError


def test_parameters_at_the_paper_setting() -> None:
    layout = Layout.of(Config.create(preset="h96"), channels=7)
    expected = {"controller": 28_641, "trend": 49_248, "mixer": 427, "revin": 14, "workers": 15_624}
    assert layout.count() == expected
    assert sum(expected.values()) == 93_954
    shorter = Layout.of(Config.create(preset="default"), channels=7)
    assert shorter.count()["trend"] == 32_352
    assert sum(shorter.count().values()) == 77_058


@pytest.mark.parametrize("seed", range(6))
def test_counts_equal_the_oracle(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    channels, control, hidden, layers, seq_len, pred_len = torch.randint(1, 9, (6,), generator=generator).tolist()
    config = Config.create(
        {
            "model.control_hidden": control, "model.worker_hidden": hidden, "model.num_layers": layers,
            "data.seq_len": seq_len + 1, "data.pred_len": pred_len,
        }
    )  # fmt: skip
    counts = Layout.of(config, channels).count()
    net = Oracle(channels, control, hidden, layers, seq_len + 1, pred_len)
    parts = {
        "controller": net.control_net, "trend": net.worker_net.shared_trend_linear,
        "mixer": net.worker_net.channel_mixer, "revin": net.revin, "workers": net.worker_net.workers,
    }  # fmt: skip
    assert counts == {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}


def test_initial_weights_start_as_published() -> None:
    """Bounds and exact values of every tensor, against the modules' own start."""
    torch.manual_seed(0)
    sizes = {"model.control_hidden": 16, "model.worker_hidden": 9, "model.num_layers": 2}
    config = Config.create({**sizes, "data.seq_len": 64, "data.pred_len": 48})
    ours = published_state_dict(Parameters.initial(Layout.of(config, 5), [1]))
    theirs = Oracle(5, 16, 9, 2, 64, 48).state_dict()
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        other = theirs[key]
        assert value.shape == other.shape, key
        if len(other.unique()) <= 2:
            torch.testing.assert_close(value, other, msg=key)
        elif key.endswith("pos_embedding"):
            assert value.std().item() == pytest.approx(0.02, rel=0.1)
            assert abs(value.mean().item()) < 0.003
            assert value.abs().max() < 0.11
        else:
            # A uniform start: the same bound, to what the largest of so many draws leaves open.
            assert value.abs().max().item() == pytest.approx(other.abs().max().item(), rel=12 / (value.numel() + 12)), (
                key
            )
            if value.numel() > 200:
                assert value.std().item() == pytest.approx(other.std().item(), rel=0.15), key
    drawn = [key for key, value in ours.items() if len(value.unique()) > 2]
    firsts = {ours[key].flatten()[0].item() for key in drawn}
    assert len(firsts) == len(drawn)  # no two tensors, and no two channels, start alike


@pytest.mark.parametrize(("channels", "layers"), [(1, 1), (7, 2), (3, 3)])
def test_round_trip(channels: int, layers: int, tmp_path: Path) -> None:
    net = Oracle(channels, 6, 5, layers, 30, 8)
    randomise(net, layers)
    state = net.state_dict()
    params = load_published({"model_state_dict": state, "epoch": 3})
    save_published(params, tmp_path / "a.pt", epoch=3, metrics={"mse": 1.0})
    saved = torch.load(tmp_path / "a.pt", weights_only=True)
    assert saved["epoch"] == 3
    assert saved["model_state_dict"].keys() == state.keys()
    for key, value in state.items():
        assert torch.equal(saved["model_state_dict"][key], value), key
    net.load_state_dict(saved["model_state_dict"])  # as the published code would
    for source in (tmp_path / "a.pt", str(tmp_path / "a.pt"), saved, state):
        for (_, ours), (_, theirs) in zip(load_published(source).blocks(), params.blocks(), strict=True):
            assert torch.equal(ours, theirs)


def test_any_model_of_a_stack_is_written() -> None:
    layout = Layout.of(Config.create({"data.seq_len": 20, "data.pred_len": 4, "model.num_layers": 2}), 3)
    params = Parameters.initial(layout, [1, 2])
    loaded = load_published(published_state_dict(params, 1))
    for (_, ours), (_, theirs) in zip(loaded.blocks(), params.blocks(), strict=True):
        assert torch.equal(ours[0], theirs[1])


def good() -> dict[str, Tensor]:
    return dict(Oracle(3, 6, 5, 2, 30, 8).state_dict())


FILM, MIXER = "control_net.film_gens.1.weight", "worker_net.channel_mixer.0.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop(FILM), f"'{FILM}'"),
        (lambda s: [s.pop(k) for k in list(s) if "film_gens" in k], "no tensor 'control_net.film_gens.0.weight'"),
        (lambda s: s.pop("worker_net.workers.2.lns.1.bias"), "no tensor 'worker_net.workers.2.lns.1.bias'"),
        (lambda s: s.pop("worker_net.shared_trend_linear.weight"), "not a published DynoNet checkpoint: no tensor"),
        (
            lambda s: s.update({"worker_net.workers.3.input_proj.bias": torch.ones(5)}),
            "does not have: worker_net.workers.3",
        ),
        (lambda s: s.update({"head.weight": torch.ones(5)}), "does not have: head.weight"),
        (
            lambda s: s.update({MIXER: s[MIXER].T.clone()}),
            r"channel_mixer.0.weight: got shape \(3, 12\), expected \(12, 3\)",
        ),
        (lambda s: s.update({FILM: s[FILM][:-1]}), r"film_gens.1.weight: got shape \(29, 6\), expected \(30, 6\)"),
        (lambda s: s.update({"revin.affine_bias": torch.ones(4)}), r"affine_bias: got shape \(4,\), expected \(3,\)"),
        (
            lambda s: s.update({"worker_net.workers.1.pos_embedding": torch.ones(1, 95, 5)}),
            r"pos_embedding.*\(1, 96, 5\)",
        ),
        (lambda s: s.update({"control_net.brain.gru.weight_hh_l0": torch.ones(18)}), "sizes cannot be read"),
        (lambda s: s.update({"revin.affine_weight": torch.tensor(1.0)}), "sizes cannot be read"),
        (lambda s: s.update({"revin.affine_weight": [1.0]}), "expected a dict of tensors"),
        (lambda s: s.clear(), "not a published DynoNet checkpoint"),
    ],
)
def test_other_checkpoints_are_refused(change: Any, message: str) -> None:
    state = good()
    load_published(state)
    change(state)
    with pytest.raises(DataError, match=message):
        load_published(state)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read the checkpoint .*none\.pt"):
        load_published(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("no checkpoint")
    with pytest.raises(DataError, match=r"cannot read the checkpoint .*text\.pt"):
        load_published(tmp_path / "text.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(DataError, match="not a published DynoNet checkpoint"):
        load_published(tmp_path / "list.pt")
    torch.save({"model_state_dict": good(), "code": test_round_trip}, tmp_path / "code.pt")
    with pytest.raises(DataError, match="cannot read the checkpoint"):  # nothing in a file is ever run
        load_published(tmp_path / "code.pt")
