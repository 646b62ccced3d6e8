"""`training.precision`: what tf32 and bf16 gain, and what they do to the golden vectors and to a training's end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dynonet.config import Config
from dynonet.network.gru import _torch_gru
from dynonet.network.model import DynoNetStack
from dynonet.network.products import rounded
from dynonet.published.checkpoints import load_published
from dynonet.traits.stacking import PRECISIONS
from lab.errors import ConfigError
from lab.training.trainer import StackTrainer
from scripts.bench.card.grus import calls
from scripts.bench.card.machine import Machine, Sizes, columns, milliseconds
from scripts.bench.card.precision import error, exact, kernel_call
from scripts.bench.card.steps import step_ms
from scripts.bench.gru import tensors

GOLDEN = Path(__file__).parents[3] / "tests" / "golden"


def golden_error(precision: str, device: torch.device) -> float:
    """The largest of the forecasts' errors over the golden vectors, of each one's largest number."""
    errors = []
    for path in sorted(GOLDEN.glob("forward*.npz")):
        with np.load(path) as file:
            x, truth = (torch.as_tensor(file[key]) for key in ("x", "prediction"))
        settings = json.loads(path.with_suffix(".json").read_text())
        params = load_published(path.with_suffix(".pt"), settings.get("worker_seq_len", 96))
        layout = params.layout
        config = Config.create(
            {
                "data.seq_len": layout.seq_len, "data.pred_len": layout.pred_len,
                **{f"model.{name}": getattr(layout.model, name)
                   for name in ("control_hidden", "worker_hidden", "num_layers", "worker_seq_len")},
            }
        )  # fmt: skip
        net = DynoNetStack([config], layout.channels, device, torch.float32)
        with torch.no_grad(), rounded(precision):
            forecast, _ = net.forward(params.to(device=device), x.permute(1, 2, 0)[None].to(device))
        errors.append(error(forecast[0].permute(2, 1, 0).cpu(), truth.double()))
    return float(np.max(errors))


def ends(precision: str, models: int, epochs: int, device: torch.device) -> list[float]:
    """Validation MSE at the best epoch of models with seeds of their own on the synthetic series."""
    settings = {"training.max_epochs": epochs, "training.precision": precision}
    configs = [Config.create({**settings, "training.seed": seed}) for seed in range(models)]
    return [min(row["val_mse"] for row in run.history) for run in StackTrainer(configs, device=device).train()]


def show_precisions(sizes: Sizes, machine: Machine, found: dict[str, Any]) -> None:
    """On a CPU, where a training refuses it, the kernels alone."""
    device, gpu = machine.device, machine.device.type == "cuda"
    print("\ntraining.precision: largest error of the kernels and of the golden vectors, relative; ms there and back,")
    print("ms a step; best validation MSE of 16 trainings of 10 epochs (synthetic series), and less float32's, paired")
    head = columns(kernels=10, golden=10, workers=9, controller=12, ms_a_step=11, end=9, difference=20)
    print(f"{'':9s}{head}")
    largest = max(sizes.models) if gpu else 1
    base: list[float] = []
    for precision in PRECISIONS:
        errors: list[float] = []
        times = []
        for case in sizes.cases():
            inputs = [t.to(device) for t in tensors(replace(case, groups=2))]
            if gpu or precision != "bf16":  # Triton's interpreter multiplies the bits of bfloat16
                got, truth = kernel_call(inputs, True, True, precision), exact(_torch_gru, inputs, True)
                errors += [error(a, b) for a, b in zip(got, truth, strict=True)]
            stack = replace(case, groups=largest * case.groups)
            times.append(milliseconds(calls(stack, True, device, precision), device, sizes.repeats))
        row: dict[str, Any] = {
            "kernels": float(np.max(errors)) if errors else None,
            "golden": golden_error(precision, device),
            "gru_ms": times,
        }
        worst = f"{row['kernels']:.1e}" if errors else "-"
        line = f"{precision:9s}{worst:>10s}{row['golden']:>10.1e}{times[0]:>9.3f}{times[1]:>12.3f}"
        try:
            row["step_ms"] = step_ms(largest, sizes, device, precision)[0]
            values = ends(precision, 16 if gpu else 2, 10 if gpu else 1, device)
        except ConfigError:
            line += "   needs a GPU"
        else:
            base = base or values
            off = np.subtract(values, base)
            row |= {"val_mse": values, "difference": off.tolist()}
            line += f"{row['step_ms']:>11.2f}{np.mean(values):>9.4f}{off.mean():>+11.5f} ± {off.std(ddof=1):.5f}"
        print(line, flush=True)
        found[precision] = row
