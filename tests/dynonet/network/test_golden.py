"""Golden vectors: every case in the folder, and cases of other shapes that the oracle writes."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dynonet.config import Config
from dynonet.learning.steps import ModeGroup, TrainState, alternating_step
from dynonet.network.layers import decompose, window_statistics
from dynonet.network.model import DynoNetStack
from dynonet.network.parameters import Parameters
from dynonet.parts import SIGNALS
from dynonet.published.checkpoints import load_published, published_state_dict
from dynonet.reference.oracle import Oracle, OracleTrainer, randomise
from lab.compute.draws import Draws, seed_keys

FOLDER = Path(os.environ.get("DYNONET_GOLDEN_DIR") or Path(__file__).parents[2] / "golden")
CPU = torch.device("cpu")


def cases(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.npz"))


def read_case(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, Tensor], Parameters, Config]:
    """Settings, arrays, weights and a config of their shape. The tensors decide sizes, the settings the rest."""
    settings = json.loads((folder / f"{name}.json").read_text())
    with np.load(folder / f"{name}.npz") as file:
        arrays = {key: torch.as_tensor(file[key]) for key in file}
    params = load_published(folder / f"{name}.pt", settings.get("worker_seq_len", 96))
    model = params.layout.model
    config = Config.create(
        {
            "training.protocol": "published",
            "training.lr": settings.get("lr", 2e-3),
            "training.weight_decay": settings.get("weight_decay", 1e-4),
            "data.seq_len": params.layout.seq_len,
            "data.pred_len": params.layout.pred_len,
            "model.control_hidden": model.control_hidden,
            "model.worker_hidden": model.worker_hidden,
            "model.num_layers": model.num_layers,
            "model.worker_seq_len": model.worker_seq_len,
            "model.dropout": settings.get("dropout", 0.0),
        }
    )
    return settings, arrays, params, config


def stacked(windows: Tensor) -> Tensor:
    """(B, S, C) or (B, H, C) as the core takes one model's: (1, S, C, B)."""
    return windows.permute(1, 2, 0)[None]


def close(name: str, ours: Tensor, theirs: Tensor, tolerance: float, least: float = 0.0) -> None:
    """Within `tolerance` of the array's scale (its largest number, at least `least`)."""
    assert ours.shape == theirs.shape, f"{name}: shape {tuple(ours.shape)}, expected {tuple(theirs.shape)}"
    assert torch.equal(torch.isfinite(ours), torch.isfinite(theirs)), f"{name}: not finite in other places"
    theirs, ours = (torch.where(torch.isfinite(theirs), t, 0.0).double() for t in (theirs, ours))
    allowed = tolerance * max(theirs.abs().max().item(), least)
    assert (ours - theirs).abs().max().item() <= allowed, f"{name}: off by {(ours - theirs).abs().max():.3g}"


def check_forward(folder: Path, name: str) -> None:
    settings, arrays, params, config = read_case(folder, name)
    net = DynoNetStack([config], params.layout.channels, CPU, torch.float32)
    window = stacked(arrays["x"])
    with torch.no_grad():
        forecast, signals = net.forward(params, window)
    ours = {"prediction": forecast[0].permute(2, 1, 0)}
    mean, deviation = window_statistics(window)
    weights = params.layout.unpack("shared", params.shared)
    normalised = (window - mean) / deviation * weights["revin.weight"][..., None] + weights["revin.bias"][..., None]
    for part, value in zip(("trend", "residual"), decompose(normalised, config.model.moving_average), strict=True):
        ours[part] = value[0].permute(2, 0, 1)
    for signal in (*SIGNALS, "context"):
        ours[f"signal_{signal}"] = getattr(signals, signal)[0].movedim(-1, 0)
    for layer in range(params.layout.model.num_layers):
        for part in ("gamma", "beta"):
            ours[f"film_{part}_layer{layer}"] = getattr(signals, f"film_{part}")[layer, 0].movedim(-1, 0)
    assert set(arrays) - {"x"} <= set(ours), "the case holds arrays that are not compared"
    assert {"prediction", "residual", "trend"} <= set(arrays)
    for key in set(arrays) - {"x"}:
        close(f"{name} {key}", ours[key], arrays[key], 1e-5)
    if "parameters" in settings:
        assert sum(params.layout.count().values()) == settings["parameters"]


def check_train(folder: Path, name: str) -> None:
    _, arrays, params, config = read_case(folder, name)
    group = ModeGroup([config], params.layout.channels, CPU, torch.float32)
    state = TrainState.initial(params)
    batches = [tuple(stacked(arrays[f"{split}_{k}"][step]) for k in "xy")
               for split in ("train", "val") for step in range(len(arrays["train_x"]))]  # fmt: skip
    batches = [(x, y.transpose(1, 2)) for x, y in batches]
    train, val = batches[: len(batches) // 2], batches[len(batches) // 2 :]
    losses = []
    for step, (batch, held_out) in enumerate(zip(train, val, strict=True)):
        draws = Draws(seed_keys(torch.tensor([1])), 1, step)
        _, loss = alternating_step(group, state, batch, lambda b=held_out: b, draws, torch.ones(1))
        losses.append(loss.item())
    metrics = {"mean_val_loss": float(np.mean(losses))}
    with torch.no_grad():
        errors = torch.stack([group.net.forward(state.params, x)[0] - y for x, y in val]).double()
    metrics |= {"eval_mse": errors.square().mean().item(), "eval_mae": errors.abs().mean().item()}
    after = torch.load(folder / f"{name}_after.pt", weights_only=True)
    after = after.get("model_state_dict", after)
    ours = published_state_dict(state.params)
    assert set(ours) == set(after)
    for key in after:
        close(f"{name} {key}", ours[key], after[key], 1e-4, least=1.0)
    expected = {key: value.item() for key, value in arrays.items() if value.dim() == 0}
    assert expected
    assert {k: metrics[k] for k in expected} == pytest.approx(expected, rel=1e-4)


def check(folder: Path, name: str) -> None:
    {"forward": check_forward, "train": check_train}[json.loads((folder / f"{name}.json").read_text())["kind"]](
        folder, name
    )


@pytest.mark.parametrize("name", cases(FOLDER) or ["no case found"])
def test_every_case_of_the_golden_folder(name: str, golden_dir: Path) -> None:
    assert cases(golden_dir), f"{golden_dir} holds no golden case (NAME.json with NAME.pt and NAME.npz)"
    check(golden_dir, name)


def write_case(folder: Path, kind: str, channels: int, layers: int, batch: int, steps: int) -> str:
    """A case by the oracle, with every head moved off its start."""
    name = f"{kind}_{channels}_{layers}"
    shape = {"seq_len": 40, "pred_len": 9, "worker_seq_len": 21}
    settings = {"kind": kind, "channels": channels, "dropout": 0.0, "lr": 3e-3, "weight_decay": 2e-3, **shape}
    torch.manual_seed(5)
    net = Oracle(channels, 6, 5, layers, **shape)
    randomise(net, 5, 0.2)
    control = net.control_net
    if kind == "train":  # dropout off and nothing frozen, by their biases
        for head in (control.dropout_ctrl.gen, control.freeze_ctrl.gen):
            torch.nn.init.constant_(head.bias, -60.0)
    torch.save({"model_state_dict": net.state_dict()}, folder / f"{name}.pt")
    arrays: dict[str, Tensor] = {}
    if kind == "forward":
        arrays["x"] = torch.randn(batch, 40, channels) * 3 + 1
        with torch.no_grad():
            arrays["prediction"], signals = net(arrays["x"])
        arrays |= {k if k in ("trend", "residual") or "film" in k else f"signal_{k}": v for k, v in signals.items()}
    else:
        trainer = OracleTrainer(net, settings["lr"], settings["weight_decay"])  # type: ignore[arg-type]
        for split in ("train", "val"):
            arrays[f"{split}_x"] = torch.randn(steps, batch, 40, channels)
            arrays[f"{split}_y"] = torch.randn(steps, batch, 9, channels)
        losses = []
        for k in range(steps):
            trainer.worker_step(arrays["train_x"][k], arrays["train_y"][k], torch.ones(channels))
            losses.append(trainer.controller_step(arrays["val_x"][k], arrays["val_y"][k]))
        with torch.no_grad():
            errors = torch.stack([net(x)[0] - y for x, y in zip(arrays["val_x"], arrays["val_y"], strict=True)])
        arrays["mean_val_loss"] = torch.tensor(np.mean(losses))
        arrays |= {"eval_mse": errors.square().mean(), "eval_mae": errors.abs().mean()}
        torch.save({"model_state_dict": net.state_dict()}, folder / f"{name}_after.pt")
    np.savez(folder / f"{name}.npz", **{k: v.numpy() for k, v in arrays.items()})
    (folder / f"{name}.json").write_text(json.dumps(settings))
    return name


@pytest.mark.parametrize(("channels", "layers"), [(3, 3), (1, 1), (9, 2)])
def test_cases_of_other_shapes(channels: int, layers: int, tmp_path: Path) -> None:
    for kind, steps in (("forward", 0), ("train", 4)):
        check(tmp_path, write_case(tmp_path, kind, channels, layers, batch=6, steps=steps))


def test_the_check_sees_a_difference(tmp_path: Path) -> None:
    for kind in ("forward", "train"):
        name = write_case(tmp_path, kind, 3, 1, batch=4, steps=2)
        checkpoint = torch.load(tmp_path / f"{name}.pt", weights_only=True)
        checkpoint["model_state_dict"]["worker_net.workers.2.lns.0.bias"] += 1e-2
        torch.save(checkpoint, tmp_path / f"{name}.pt")
        with pytest.raises(AssertionError, match="off by"):
            check(tmp_path, name)
