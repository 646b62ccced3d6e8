"""The published quick start with the import line changed, and the same training through the core."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dynonet import Config, ConfigError, DynoNet, StackTrainer, Trainer, get_ett_dataloaders
from dynonet.config import DataConfig
from dynonet.published.checkpoints import load_published
from dynonet.published.interface import EttLoader
from dynonet.reference.small import make_series
from lab.series import Series, window_starts
from lab.training.trainer import evaluate_weights

SMALL: dict[str, Any] = {"control_hidden": 5, "worker_hidden": 3, "pred_len": 4, "seq_len": 16, "worker_seq_len": 10}


def loaders(batch_size: int = 16, channels: int = 3, **data: Any) -> tuple[EttLoader, EttLoader, EttLoader]:
    config = Config.create(
        {
            "training.protocol": "published",
            "data.seq_len": 16,
            "data.pred_len": 4,
            **{f"data.{k}": v for k, v in data.items()},
        }
    )
    train, val, test = (
        EttLoader(make_series(channels), config.data, split, batch_size) for split in ("train", "validation", "test")
    )
    return train, val, test


def test_the_published_quick_start(ett: Callable[[str], Series], tmp_path: Path) -> None:
    """On real data, as its README has it, for one epoch of a few large batches."""
    ett("ETTh1")
    train_loader, val_loader, test_loader = get_ett_dataloaders(
        root_dir=tmp_path, seq_len=336, pred_len=96, batch_size=4000
    )
    assert (len(train_loader), len(val_loader), len(test_loader)) == (2, 1, 1)
    batch = next(iter(val_loader))
    assert batch["x"].shape == (2785, 336, 7)
    assert batch["y_full"].shape == (2785, 96, 7)
    model = DynoNet(input_dim=7, control_hidden=64, worker_hidden=8, pred_len=96, seq_len=336)
    assert model(batch["x"][:2]).shape == (2, 96, 7)
    info = model.get_controller_info()
    assert info == {
        "controller_params": 28_641, "base_params": 48_403, "total_params": 77_044,
        "controller_ratio": pytest.approx(28_641 / 77_044),
    }  # fmt: skip


def test_counts_at_the_paper_setting() -> None:
    info = DynoNet(seq_len=512).get_controller_info()
    assert info["total_params"] == 93_954 - 14  # as published, without RevIN's pair
    assert sum(p.numel() for p in DynoNet(seq_len=512).parameters()) == 93_954


def train_face(tmp_path: Path, **kwargs: Any) -> tuple[DynoNet, Trainer, dict[str, list[float]]]:
    torch.manual_seed(99)  # must not matter
    model = DynoNet(input_dim=3, **SMALL, seed=4)
    train, val, test = loaders()
    trainer = Trainer(
        model=model, train_loader=train, val_loader=val, test_loader=test, lr=0.02, max_epochs=3, patience=20,
        device="cpu", checkpoint_dir=tmp_path / "deep" / "folder", model_name="dynonet", **kwargs,
    )  # fmt: skip
    return model, trainer, trainer.train()


def test_a_face_trained_model_equals_the_core(tmp_path: Path) -> None:
    model, trainer, history = train_face(tmp_path)
    settings = {
        "training.protocol": "published", "training.seed": 4, "training.lr": 0.02, "training.max_epochs": 3,
        "training.batch_size": 16, "data.seq_len": 16, "data.pred_len": 4, "model.control_hidden": 5,
        "model.worker_hidden": 3, "model.worker_seq_len": 10,
    }  # fmt: skip
    config, series = Config.create(settings), make_series(3)
    assert trainer.config == config
    (run,) = StackTrainer([config], series).train()
    assert set(history) == {"train_loss", "val_loss", "val_mse", "val_mae", "lr"}
    assert history["train_loss"] == [row["controller_loss"] for row in run.history]
    for name in ("val_loss", "val_mse", "val_mae"):
        assert history[name] == [row[name] for row in run.history]
    assert history["lr"] == [0.02] * 3
    assert run.weights is not None
    for name, value in model.blocks().named(0).items():
        assert torch.equal(value, run.weights[name]), name
    test = evaluate_weights(config, run.weights, series, "test")
    assert trainer.test_metrics == {"mse": test.mse.item(), "mae": test.mae.item()}
    # What it wrote.
    folder = tmp_path / "deep" / "folder"
    saved = load_published(folder / "dynonet_best.pt", 10)
    for (_, ours), (_, theirs) in zip(saved.blocks(), model.blocks().blocks(), strict=True):
        assert torch.equal(ours, theirs)
    summary = json.loads((folder / "dynonet_history.json").read_text())
    assert summary["history"] == history
    assert summary["best_epoch"] == run.best_epoch


def test_the_module_forecasts_as_evaluated(tmp_path: Path) -> None:
    model, trainer, _ = train_face(tmp_path, controller_lr_ratio=0.2)
    assert trainer.config.training.controller_lr_ratio == 0.2
    model.eval()
    with torch.no_grad():
        errors = [(model(batch["x"]) - batch["y_full"]).flatten() for batch in trainer.test_loader]
    mse = torch.cat(errors).double().square().mean().item()
    assert mse == pytest.approx(trainer.test_metrics["mse"], rel=1e-5)


def test_forward_in_training_and_evaluation() -> None:
    model = DynoNet(input_dim=3, **SMALL, num_layers=2)
    with torch.no_grad():  # off their start, so that the masks reach the forecast
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    x = torch.randn(5, 16, 3)
    model.eval()
    assert torch.equal(model(x), model(x))
    model.train()
    first, second = model(x), model(x)
    assert not torch.equal(first, second)
    first.square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    prediction, info = model(x, return_info=True)
    assert prediction.shape == (5, 4, 3)
    named = {"lr_scale", "wd_scale", "dropout_rate", "grad_clip", "loss_weight", "freeze_prob"}
    assert {f"{name}_mean" for name in named} | {"noise_std", "gate_sparsity"} == set(info)
    for wrong in (torch.randn(5, 15, 3), torch.randn(5, 16, 2), torch.randn(16, 3)):
        with pytest.raises(ConfigError, match=r"windows must be \(B, 16, 3\)"):
            model(wrong)


def test_training_starts_from_the_weights_given() -> None:
    """A loaded checkpoint is trained on, whatever dropout the model has."""
    source = DynoNet(input_dim=3, **SMALL, seed=11, dropout=0.3)
    model = DynoNet(input_dim=3, **SMALL, seed=4, dropout=0.3)
    model.set_blocks(load_published(source.published_state_dict(), 10))
    train, val, test = loaders()
    history = Trainer(model, train, val, test, lr=1e-30, weight_decay=0, max_epochs=1, checkpoint_dir=None).train()
    for (_, ours), (_, theirs) in zip(model.blocks().blocks(), source.blocks().blocks(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-20)
    assert len(history["val_mse"]) == 1


def test_refusals() -> None:
    model = DynoNet(input_dim=3, **SMALL)
    with pytest.raises(ConfigError, match="unknown setting 'pateince'; did you mean 'patience'"):
        Trainer(model, *loaders(), pateince=3)
    with pytest.raises(ConfigError, match=r"seq_len 20, pred_len 4.*\(16, 4\)"):
        Trainer(model, *loaders(seq_len=20))
    with pytest.raises(ConfigError, match="shape"):
        Trainer(model, *loaders(channels=2), max_epochs=1).train()


def test_loaders() -> None:
    train, val, _ = loaders(batch_size=16)
    series = train.series
    starts = window_starts(series, DataConfig(**train.data.model_dump()), "train")
    assert len(train) == len(starts) // 16
    first, second = list(train), list(train)
    assert len(first) == len(train)
    assert all(batch["x"].shape == (16, 16, 3) for batch in first)
    assert not torch.equal(first[0]["x"], second[0]["x"])
    every = torch.cat([batch["x"] for batch in val])
    assert len(every) == len(window_starts(series, val.data, "validation"))
    batch: dict[str, Tensor] = next(iter(val))
    start = window_starts(series, val.data, "validation")[0]
    assert torch.equal(batch["x"][0], torch.as_tensor(series.scaled[start : start + 16].copy(), dtype=torch.float32))
    assert torch.equal(batch["y_full"][0, 0], torch.as_tensor(series.scaled[start + 16].copy(), dtype=torch.float32))
    assert torch.equal(batch["y"][..., 0], batch["y_full"][..., -1])
