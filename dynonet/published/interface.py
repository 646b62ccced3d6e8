"""The published Python face over the same network and trainer: `DynoNet`, `Trainer`, `get_ett_dataloaders`.

Protocol `published`; windows are (B, S, C) in, forecasts (B, H, C) out.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from dynonet.config import Config, DataConfig
from dynonet.learning.stack import TrainingStack
from dynonet.network.model import DynoNetStack
from dynonet.network.parameters import BLOCKS, Layout, Parameters
from dynonet.parts import SIGNALS
from dynonet.published.checkpoints import published_state_dict, save_published
from lab.compute.device import pick_device
from lab.compute.draws import Draws, seed_keys
from lab.errors import ConfigError, check_kind, check_number, unknown
from lab.ledger.looks import look_at, looking
from lab.series import Series, load_series, window_starts
from lab.training.trainer import StackTrainer, evaluate_weights


class DynoNet(nn.Module):
    """One network (N=1) as a torch module.

    Its parameters are three flat blocks; `published_state_dict` gives them under the published names.
    """

    def __init__(
        self,
        input_dim: int = 7,
        control_hidden: int = 64,
        worker_hidden: int = 8,
        num_layers: int = 1,
        dropout: float = 0.1,
        pred_len: int = 96,
        seq_len: int = 336,
        worker_seq_len: int = 96,
        seed: int = 12345,
    ):
        super().__init__()
        check_kind("input_dim", input_dim, int, "the number of channels")
        check_number("input_dim", input_dim, 1)
        self.config = Config.create(
            {
                "training.protocol": "published", "training.seed": seed,
                "data.seq_len": seq_len, "data.pred_len": pred_len,
                "model.control_hidden": control_hidden, "model.worker_hidden": worker_hidden,
                "model.num_layers": num_layers, "model.dropout": dropout, "model.worker_seq_len": worker_seq_len,
            }
        )  # fmt: skip
        self.layout = Layout.of(self.config, input_dim)
        for name, flat in Parameters.initial(self.layout, [seed]).blocks():
            self.register_parameter(name, nn.Parameter(flat))
        self._forwards = 0  # training-mode passes so far: where the next one draws its masks

    def blocks(self) -> Parameters:
        """The module's parameters as the core takes them (N=1)."""
        return Parameters(self.layout, *(self.get_parameter(name) for name in BLOCKS))

    def set_blocks(self, params: Parameters) -> None:
        with torch.no_grad():
            for name, flat in params.blocks():
                self.get_parameter(name).copy_(flat)

    def forward(self, x: Tensor, return_info: bool = False) -> Any:
        """Forecast (B, H, C) of windows (B, S, C); with `return_info` also a dict of the signals' means."""
        check_kind("windows", x, Tensor, "a torch tensor (torch.as_tensor makes one of an array)")
        expected = (self.layout.seq_len, self.layout.channels)
        if x.dim() != 3 or tuple(x.shape[1:]) != expected:
            raise ConfigError(f"windows must be (B, {expected[0]}, {expected[1]}), got {tuple(x.shape)}")
        net = DynoNetStack([self.config], self.layout.channels, x.device, x.dtype)
        draws = None
        if self.training:
            seed = torch.tensor([self.config.training.seed], device=x.device)
            draws = Draws(seed_keys(seed), 0, self._forwards)
            self._forwards += 1
        forecast, signals = net.forward(self.blocks(), x.permute(1, 2, 0)[None], draws)
        prediction = forecast[0].permute(2, 1, 0)
        if not return_info:
            return prediction
        means = {name: mean.item() for name, mean in signals.means().items()}
        apart = ("gate_masks", "input_noise")
        info = {f"{name}_mean": means[name] for name in means if name not in apart and not SIGNALS[name].later}
        info["noise_std"] = signals.input_noise.std().item()
        info["gate_sparsity"] = (signals.gate_masks < 0.5).float().mean().item()
        return prediction, info

    def get_controller_info(self) -> dict[str, float]:
        """Parameter counts under the published keys. As published, RevIN's pair is in none of them."""
        counts = self.layout.count()
        base = counts["trend"] + counts["mixer"] + counts["workers"]
        total = counts["controller"] + base
        return {
            "controller_params": counts["controller"],
            "base_params": base,
            "total_params": total,
            "controller_ratio": counts["controller"] / total,
        }

    def published_state_dict(self) -> dict[str, Tensor]:
        return published_state_dict(self.blocks())


class EttLoader:
    """Batches of one split, each a dict: `x` (B, S, C), `y_full` (B, H, C), `y` (B, H, 1) of the last channel (OT).

    Training batches come shuffled anew in each pass with the last partial one dropped; others in order.
    """

    def __init__(self, series: Series, data: DataConfig, split: str, batch_size: int, seed: int = 12345):
        self.series, self.data, self.split, self.batch_size = series, data, split, batch_size
        self._starts = torch.as_tensor(window_starts(series, data, split).copy())
        self._generator = torch.Generator().manual_seed(seed)
        self._series = torch.as_tensor(series.scaled.copy(), dtype=torch.float32)

    def __len__(self) -> int:
        whole, rest = divmod(len(self._starts), self.batch_size)
        return whole if self.split == "train" else whole + bool(rest)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        look_at(self.series, self.split, "batches of the published interface")
        starts = self._starts
        if self.split == "train":
            starts = starts[torch.randperm(len(starts), generator=self._generator)]
        every = self._series.unfold(0, self.data.seq_len + self.data.pred_len, 1)
        for part in starts.split(self.batch_size)[: len(self)]:
            block = every[part].transpose(1, 2)
            ahead = block[:, self.data.seq_len :]
            yield {"x": block[:, : self.data.seq_len], "y_full": ahead, "y": ahead[..., -1:]}


def get_ett_dataloaders(
    root_dir: str | Path | None = None,
    seq_len: int = 96,
    pred_len: int = 96,
    batch_size: int = 32,
    dataset: str = "ETTh1",
) -> tuple[EttLoader, EttLoader, EttLoader]:
    """Training, validation and test batches of an ETT series (see dynonet.data for where its file is looked for).

    Args:
        root_dir: a folder that may hold the file; it is looked for there first.
    """
    if root_dir is not None:
        check_kind("root_dir", root_dir, (str, Path), "a folder's path")
    check_kind("batch_size", batch_size, int, "a whole number of windows")
    check_number("batch_size", batch_size, 1)
    config = Config.create(
        {"training.protocol": "published", "data.dataset": dataset, "data.seq_len": seq_len, "data.pred_len": pred_len}
    )
    series = load_series(config.data, folder=root_dir)
    train, val, test = (EttLoader(series, config.data, split, batch_size) for split in ("train", "validation", "test"))
    return train, val, test


class Trainer:
    """The published trainer's face: protocol `published`, one model, best weights kept, test read once.

    Args:
        model: a DynoNet; it is trained from its current weights and ends with the best ones.
        train_loader, val_loader, test_loader: from `get_ett_dataloaders`.
        checkpoint_dir: where `<model_name>_best.pt` and `<model_name>_history.json` are written; None: nowhere.
        settings: further settings of `training` by name, such as `controller_lr_ratio=0.1`.
    Raises:
        ConfigError: an unknown setting, or loaders whose windows do not fit the model.
    """

    def __init__(
        self,
        model: DynoNet,
        train_loader: EttLoader,
        val_loader: EttLoader,
        test_loader: EttLoader,
        lr: float = 1e-3,
        weight_decay: float = 1e-4,
        max_epochs: int = 100,
        patience: int = 10,
        device: str = "cpu",
        checkpoint_dir: str | Path | None = "./checkpoints",
        model_name: str = "model",
        **settings: Any,
    ):
        check_kind("model", model, DynoNet, "a DynoNet")
        for loader in (train_loader, val_loader, test_loader):
            check_kind("loader", loader, EttLoader, "one that get_ett_dataloaders gave")
        allowed = type(model.config.training).model_fields
        for name in settings:
            if name not in allowed:
                raise unknown("setting", name, allowed)
        self.model, self.device = model, pick_device(device)
        self.train_loader, self.val_loader, self.test_loader = train_loader, val_loader, test_loader
        self.model_name = model_name
        self.checkpoint_dir = Path(checkpoint_dir) if checkpoint_dir is not None else None
        data = train_loader.data
        if (data.seq_len, data.pred_len) != (model.layout.seq_len, model.layout.pred_len):
            raise ConfigError(
                f"the loaders' windows (seq_len {data.seq_len}, pred_len {data.pred_len}) are not the model's "
                f"({model.layout.seq_len}, {model.layout.pred_len})"
            )
        training = {
            "lr": lr, "weight_decay": weight_decay, "max_epochs": max_epochs, "patience": patience,
            "batch_size": train_loader.batch_size, **settings,
        }  # fmt: skip
        self.config = model.config.model_copy(update={"data": data}).override(
            {f"training.{name}": value for name, value in training.items()}
        )
        self.test_metrics: dict[str, float] = {}

    def train(self) -> dict[str, list[float]]:
        """Trains and returns the history by epoch: train_loss, val_loss, val_mse, val_mae, lr.

        As published, train_loss is the controller's and val_loss the mean over validation batches.
        """
        trainer = StackTrainer([self.config], self.train_loader.series, self.device)
        cast(TrainingStack, trainer.stack).start_from(self.model.blocks())
        (run,) = trainer.train()
        if run.weights is None:
            raise ArithmeticError("training diverged in its first epoch: the loss is not finite")
        self.model.set_blocks(Parameters.from_named(self.model.layout, [run.weights]))
        with looking(trainer.series, "published interface", ids=[run.run]):
            test = evaluate_weights(self.config, run.weights, trainer.series, "test", self.device)
        self.test_metrics = {"mse": test.mse.item(), "mae": test.mae.item()}
        columns = {
            "train_loss": "controller_loss", "val_loss": "val_loss", "val_mse": "val_mse", "val_mae": "val_mae",
            "lr": "lr",
        }  # fmt: skip
        history = {ours: [row.get(theirs, float("nan")) for row in run.history] for ours, theirs in columns.items()}
        if self.checkpoint_dir is not None:
            self.checkpoint_dir.mkdir(parents=True, exist_ok=True)
            params = Parameters.from_named(self.model.layout, [run.weights])
            path = self.checkpoint_dir / f"{self.model_name}_best.pt"
            save_published(params, path, epoch=run.best_epoch, metrics=run.best)
            summary = {"best_epoch": run.best_epoch, "test": self.test_metrics, "history": history}
            (self.checkpoint_dir / f"{self.model_name}_history.json").write_text(json.dumps(summary, indent=1))
        return history
