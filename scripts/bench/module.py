"""CPU time of any module as a forecaster, beside the loop that one would write for it by hand.

    python -m scripts.bench.module [--repeats 15] [--models 1,4] [--quick]

A small transformer over patches (PatchTST's smaller settings) trains at batch 32, S=96, H=96, C=7; seconds of process
CPU time of a step, one thread, in turns that all subjects take, each in a process of its own.

by hand    the same module with torch's own dropout and AdamW, on windows cut from the same tensor
in turn    stacks of the lab: at most 1.10 of the time by hand, a model, is the aim
as one     the same by vmap, which is meant for GPUs
"""

import argparse
import math
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lab.compute.device import prepare_process
from lab.series import Series, load_series, window_starts
from lab.training.module_stack import Field, ModuleForecaster, Section
from scripts.bench.turns import NO_MEASUREMENT, Subjects, one_turn, take_turns

STEPS = 5  # of a turn
SETTINGS = {"data.seq_len": 96, "data.pred_len": 96, "data.synthetic.rows": 4000, "training.batch_size": 32}


class Settings(Section):
    width: int = Field(16, ge=4, multiple_of=4)
    inner: int = Field(128, ge=1)
    layers: int = Field(3, ge=1)
    dropout: float = Field(0.3, ge=0, lt=1)


class Layer(nn.Module):
    """Attention with four heads, then a perceptron."""

    def __init__(self, settings: Settings):
        super().__init__()
        width, self.heads = settings.width, 4
        self.asked, self.given = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, settings.inner), nn.Linear(settings.inner, width)
        self.one, self.two = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.asked(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])).softmax(-1)
        read = (self.dropout(weights) @ value).transpose(1, 2).flatten(2)
        x = self.one(x + self.dropout(self.given(read)))
        return self.two(x + self.dropout(self.down(self.dropout(functional.gelu(self.up(x))))))


class Transformer(nn.Module):
    """(B, S, C) -> (B, H, C): every channel by itself, in patches of 16 steps that begin 8 apart."""

    def __init__(self, config: Any, channels: int):
        super().__init__()
        settings, patches = config.model, (config.data.seq_len - 16) // 8 + 2
        self.embed = nn.Linear(16, settings.width)
        self.places = nn.Parameter(0.02 * torch.randn(patches, settings.width))
        self.layers = nn.ModuleList(Layer(settings) for _ in range(settings.layers))
        self.head = nn.Linear(patches * settings.width, config.data.pred_len)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, window: Tensor) -> Tensor:
        mean, deviation = window.mean(1, keepdim=True), window.std(1, keepdim=True, correction=0) + 1e-5
        x = functional.pad(((window - mean) / deviation).transpose(1, 2), (0, 8), "replicate").unfold(-1, 16, 8)
        x = self.dropout(self.embed(x.flatten(0, 1)) + self.places)
        for layer in self.layers:
            x = layer(x)
        forecast = self.head(x.flatten(1)).view(len(window), window.shape[2], -1).transpose(1, 2)
        return forecast * deviation + mean


TRANSFORMER = ModuleForecaster("transformer", Transformer, Settings)


def _prepared() -> Series:
    torch.set_num_threads(1)
    prepare_process()
    return load_series(TRANSFORMER.config.create(SETTINGS).data)


def by_hand() -> Callable[[], None]:
    """Step after step of a loop of one's own."""
    series, config = _prepared(), TRANSFORMER.config.create(SETTINGS)
    torch.manual_seed(0)
    net = Transformer(config, series.num_channels)
    adamw = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=0.01)
    values = torch.as_tensor(series.scaled.copy(), dtype=torch.float32)
    windows = values.unfold(0, 192, 1).transpose(1, 2)  # (rows, S + H, C), a view
    starts = torch.as_tensor(window_starts(series, config.data, "train").copy())
    order, total = starts[torch.randperm(len(starts))], torch.zeros(())
    at = 0

    def run() -> None:
        nonlocal at, order
        for _ in range(STEPS):
            if at + 32 > len(order):
                at, order = 0, starts[torch.randperm(len(starts))]
            block = windows[order[at : at + 32]]
            at += 32
            adamw.zero_grad()
            loss = functional.mse_loss(net(block[:, :96]), block[:, 96:])
            loss.backward()
            adamw.step()
            total.add_(loss.detach())

    return run


def by_the_lab(models: int, fused: bool) -> Callable[[], None]:
    """Step after step of a stack."""
    series = _prepared()
    config = TRANSFORMER.config.create({**SETTINGS, "training.lr": 1e-3, "training.weight_decay": 0.01})
    TRANSFORMER.fused = fused
    configs = [config.override({"training.seed": seed}) for seed in range(models)]
    stack = TRANSFORMER.stack(configs, series, torch.device("cpu"), torch.float32)
    epoch, at = 0, stack.steps

    def run() -> None:
        nonlocal epoch, at
        for _ in range(STEPS):
            if at == stack.steps:
                epoch, at = epoch + 1, 0
                stack.begin_epoch(epoch)
            stack.step(at)
            at += 1

    return run


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--repeats", type=int, default=15)
    options.add_argument("--models", default="1,4", help="sizes of the stacks (default: 1,4)")
    options.add_argument("--quick", action="store_true", help="a single turn each: a check of this script")
    args = options.parse_args()
    counts = [1, 2] if args.quick else [int(count) for count in args.models.split(",")]
    subjects: Subjects = {"by hand": (by_hand, [])}
    of = {"by hand": 1}
    for how, fused in (("in turn", False), ("as one", True)):
        for count in counts:
            subjects[f"{how}, stack of {count}"] = (by_the_lab, [count, fused])
            of[f"{how}, stack of {count}"] = count
    if args.quick:
        print(NO_MEASUREMENT)
    taken = one_turn(subjects) if args.quick else take_turns(subjects, args.repeats)
    size = TRANSFORMER.size(TRANSFORMER.config.create(SETTINGS), 7).parameters
    print(f"one step of a transformer of {size:,} parameters, B=32 S=96 H=96 C=7, one thread\n")
    print(f"{'':22s}{'CPU ms a model':>16s}{'/ by hand':>11s}{'quartiles':>16s}{'peak MiB':>10s}")
    for name, turns in taken.items():
        ratios = [mine / of[name] / hand for mine, hand in zip(turns.cpu, taken["by hand"].cpu, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        each, ratio = 1e3 * statistics.median(turns.cpu) / of[name] / STEPS, statistics.median(ratios)
        print(f"{name:22s}{each:>16.2f}{ratio:>11.2f}{f'{low:.2f} .. {high:.2f}':>16s}{turns.peak_mib:>10.0f}")
    print("\naim: in turn, at most 1.10 of the time by hand")


if __name__ == "__main__":
    main()
