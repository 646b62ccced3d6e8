"""The published network and its training step once more, in plain torch modules: what the stack is checked against.

Written from the description of the published structure alone; one model, (B, S, C) windows, `nn.GRU` and `nn.Linear`,
`torch.optim.AdamW`, `clip_grad_norm_`. Its `state_dict` has the keys of a published checkpoint. Random masks are not
drawn here: they are given, as uniform numbers.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# name: (low, high, neutral) of the bounded signals, and the published module of each.
BOUNDED = {
    "lr_scale": (0.01, 5.0, 1.0, "lr_ctrl"),
    "wd_scale": (0.1, 10.0, 1.0, "wd_ctrl"),
    "dropout_rate": (0.0, 0.7, 0.1, "dropout_ctrl"),
    "grad_clip": (0.1, 2.0, 1.0, "grad_clip_ctrl"),
    "loss_weight": (0.5, 1.5, 1.0, "loss_weight_ctrl"),
    "freeze_prob": (0.0, 1.0, 0.0, "freeze_ctrl"),
}
WEIGHING = ("lr_scale", "wd_scale", "grad_clip", "loss_weight", "freeze_prob")


class RevIN(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.affine_weight = nn.Parameter(torch.ones(channels))
        self.affine_bias = nn.Parameter(torch.zeros(channels))


class Bounded(nn.Module):
    def __init__(self, hidden: int, channels: int, low: float, high: float, neutral: float):
        super().__init__()
        self.low, self.high = low, high
        self.gen = nn.Linear(hidden, channels)
        share = (neutral - low) / (high - low)
        nn.init.zeros_(self.gen.weight)
        nn.init.constant_(self.gen.bias, math.log(share / (1 - share)) if share > 0 else -math.inf)

    def forward(self, ctx: Tensor) -> Tensor:
        return self.low + (self.high - self.low) * torch.sigmoid(self.gen(ctx))


class Brain(nn.Module):
    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.gru = nn.GRU(channels, hidden, batch_first=True)


class ControlNet(nn.Module):
    def __init__(self, channels: int, control: int, hidden: int, layers: int):
        super().__init__()
        self.channels, self.hidden = channels, hidden
        self.brain = Brain(channels, control)
        self.film_gens = nn.ModuleList(nn.Linear(control, channels * 2 * hidden) for _ in range(layers))
        for low, high, neutral, module in BOUNDED.values():
            setattr(self, module, Bounded(control, channels, low, high, neutral))
        self.noise_ctrl = nn.Linear(control, channels)
        self.gate_ctrl = nn.Sequential(nn.Linear(control, channels * hidden), nn.Sigmoid())
        self.context_proj = nn.Linear(control, hidden)
        for head in (*self.film_gens, self.noise_ctrl):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(self, window: Tensor) -> dict[str, Tensor]:
        _, last = self.brain.gru(window)
        ctx = last[0]
        signals = {name: getattr(self, module)(ctx) for name, (*_, module) in BOUNDED.items()}
        signals["input_noise"] = 0.5 * torch.tanh(self.noise_ctrl(ctx))
        signals["gate_masks"] = self.gate_ctrl(ctx).view(-1, self.channels, self.hidden)
        signals["context"] = self.context_proj(ctx)
        for layer, head in enumerate(self.film_gens):
            raw = head(ctx).view(-1, self.channels, 2 * self.hidden)
            signals[f"film_gamma_layer{layer}"] = 1 + 0.1 * torch.tanh(raw[..., : self.hidden])
            signals[f"film_beta_layer{layer}"] = 0.1 * torch.tanh(raw[..., self.hidden :])
        return signals


class Worker(nn.Module):
    def __init__(self, hidden: int, horizon: int, layers: int):
        super().__init__()
        self.input_proj = nn.Linear(1, hidden)
        self.pos_embedding = nn.Parameter(torch.randn(1, 96, hidden) * 0.02)
        self.grus = nn.ModuleList(nn.GRU(hidden, hidden, batch_first=True) for _ in range(layers))
        self.lns = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers))
        self.output_proj = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.GELU(), nn.Linear(hidden, horizon))

    def forward(
        self, residual: Tensor, signals: Mapping[str, Tensor], channel: int, uniforms: Sequence[Tensor] | None
    ) -> Tensor:
        """residual (B, W); uniforms, one (B, W or 1, D) per layer, decide what dropout keeps."""
        x = self.input_proj(residual[..., None]) + self.pos_embedding[:, : residual.shape[1]]
        x = x * signals["gate_masks"][:, channel, None]
        for layer, (gru, norm) in enumerate(zip(self.grus, self.lns, strict=True)):
            out, _ = gru(x)
            gamma, beta = (signals[f"film_{n}_layer{layer}"][:, channel, None] for n in ("gamma", "beta"))
            out = norm(gamma * out + beta)
            if uniforms is not None:
                keep = 1 - signals["dropout_rate"][:, channel, None, None]
                # The last layer's uniforms may be given for its last step alone: no other is read.
                mask = (uniforms[layer] >= 1 - keep).to(out.dtype)
                out = out * mask / (keep + 1e-8)
            x = out + x if layer else out
        joined = torch.cat([x[:, -1], signals["context"]], dim=1)
        return self.output_proj(joined)


class WorkerNet(nn.Module):
    def __init__(self, channels: int, hidden: int, layers: int, seq_len: int, pred_len: int):
        super().__init__()
        self.shared_trend_linear = nn.Linear(seq_len, pred_len)
        self.workers = nn.ModuleList(Worker(hidden, pred_len, layers) for _ in range(channels))
        last = nn.Linear(4 * channels, channels)
        self.channel_mixer = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Identity(), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)


def decompose(x: Tensor, kernel: int) -> tuple[Tensor, Tensor]:
    """Trend and residual of (B, S, C)."""
    half = kernel // 2
    padded = torch.cat([x[:, :1].expand(-1, half, -1), x, x[:, -1:].expand(-1, half, -1)], dim=1)
    trend = F.avg_pool1d(padded.transpose(1, 2), kernel, stride=1).transpose(1, 2)
    return trend, x - trend


class Oracle(nn.Module):
    """The published network. `off` names parts that are switched off, as a second opinion on each switch."""

    def __init__(
        self, channels: int, control: int, hidden: int, layers: int, seq_len: int, pred_len: int,
        worker_seq_len: int = 96, off: Sequence[str] = (), held: Mapping[str, float] | None = None, kernel: int = 25,
    ):  # fmt: skip
        super().__init__()
        self.worker_seq_len, self.off, self.held, self.kernel = worker_seq_len, set(off), dict(held or {}), kernel
        self.revin = RevIN(channels)
        self.control_net = ControlNet(channels, control, hidden, layers)
        self.worker_net = WorkerNet(channels, hidden, layers, seq_len, pred_len)

    def signals(self, window: Tensor) -> dict[str, Tensor]:
        signals = self.control_net(window)
        for name, number in self.held.items():
            signals[name] = torch.full_like(signals[name], number)
        for name in signals:
            if "film" in self.off and name.startswith("film_"):
                signals[name] = torch.full_like(signals[name], 1.0 if "gamma" in name else 0.0)
        if "context" in self.off:
            signals["context"] = torch.zeros_like(signals["context"])
        return signals

    def forward(
        self,
        x: Tensor,
        *,
        training: bool = False,
        worker_uniforms: Sequence[Sequence[Tensor]] | None = None,
        mixer_uniforms: Tensor | None = None,
        mixer_rate: float = 0.0,
        detach_signals: bool = False,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """x (B, S, C) to (B, H, C) and the signals, with the normalised window's `trend` and `residual` among them."""
        if "revin" in self.off:
            normal = x
        else:
            mean = x.mean(1, keepdim=True).detach()
            deviation = (x.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt().detach()
            normal = (x - mean) / deviation * self.revin.affine_weight + self.revin.affine_bias
        signals = self.signals(normal)
        if detach_signals:
            signals = {name: value.detach() for name, value in signals.items()}
        noise = signals["input_noise"]
        if "trend" in self.off and "decomposition" not in self.off:
            # Constant in time, so the moving average takes all of it: its gradient is rounding, which AdamW would
            # turn into a full step. Here and in the stack it gets none.
            noise = noise.detach()
        noisy = normal + noise[:, None] if training else normal
        trend, residual = (noisy, noisy) if "decomposition" in self.off else decompose(noisy, self.kernel)
        total: Tensor | float = 0.0
        if "trend" not in self.off:
            total = total + self.worker_net.shared_trend_linear(trend.transpose(1, 2)).transpose(1, 2)
        if "workers" not in self.off:
            last = residual[:, -self.worker_seq_len :]
            each = [
                worker(last[..., i], signals, i, worker_uniforms[i] if worker_uniforms is not None else None)
                for i, worker in enumerate(self.worker_net.workers)
            ]
            total = total + torch.stack(each, dim=2)
        assert isinstance(total, Tensor)
        z = total
        if "mixer" not in self.off:
            first, gelu, _, second = self.worker_net.channel_mixer
            wide = gelu(first(z))
            if mixer_uniforms is not None:
                wide = wide * (mixer_uniforms >= mixer_rate) / (1 - mixer_rate)
            z = z + second(wide)
        signals = {**signals, "trend": trend, "residual": residual}
        if "revin" in self.off:
            return z, signals
        z = (z - self.revin.affine_bias) / (self.revin.affine_weight + 1e-10)
        return z * deviation + mean, signals


class OracleTrainer:
    """The published optimisers. RevIN's pair moves, undecayed, only with `train_revin`."""

    def __init__(self, net: Oracle, lr: float, weight_decay: float, train_revin: bool = False):
        self.net, self.weight_decay = net, weight_decay
        groups: list[dict[str, Any]] = [{"params": list(net.worker_net.parameters())}]
        if train_revin:
            groups.append({"params": list(net.revin.parameters()), "weight_decay": 0.0})
        self.workers = torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)
        self.controller = torch.optim.AdamW(net.control_net.parameters(), lr=lr * 0.05, weight_decay=weight_decay * 10)

    def worker_step(
        self, x: Tensor, y: Tensor, freeze: Tensor, joint: bool = False, **forward: object
    ) -> tuple[float, list[bool]]:
        """`freeze` (C,): the uniform numbers that decide who is frozen. Returns the loss and who was.

        With `joint` the controller learns from the same loss, the signals that only weigh it being constants.
        """
        self.net.zero_grad(set_to_none=True)
        prediction, signals = self.net(x, training=True, detach_signals=not joint, **forward)
        signals = {name: value.detach() if name in WEIGHING else value for name, value in signals.items()}
        weight = (signals["lr_scale"] * signals["loss_weight"])[:, None]
        loss = ((prediction - y) ** 2 * weight).mean()
        penalty = torch.zeros((), dtype=x.dtype)
        for i, worker in enumerate(self.net.worker_net.workers):
            squares = sum((p**2).sum() for p in worker.parameters())
            penalty = penalty + signals["wd_scale"][:, i].mean() * squares
        total = loss + 0.5 * self.weight_decay * penalty
        if total.requires_grad:
            total.backward()
        frozen = []
        for i, worker in enumerate(self.net.worker_net.workers):
            if "workers" in self.net.off:
                worker.zero_grad(set_to_none=True)
                continue
            torch.nn.utils.clip_grad_norm_(worker.parameters(), signals["grad_clip"][:, i].mean().item())
            frozen.append(bool(freeze[i] < signals["freeze_prob"][:, i].mean()))
            if frozen[-1]:
                worker.zero_grad(set_to_none=True)
        self.workers.step()
        if joint:
            self.controller.step()
        return loss.item(), frozen

    def controller_step(self, x: Tensor, y: Tensor, **forward: object) -> float:
        self.net.zero_grad(set_to_none=True)
        prediction, _ = self.net(x, training=True, **forward)
        loss = ((prediction - y) ** 2).mean()
        if loss.requires_grad:
            loss.backward()
        self.controller.step()
        return loss.item()


def randomise(net: nn.Module, seed: int, scale: float = 0.3) -> None:
    """Moves every parameter off its start, so that every signal matters; a bias of minus infinity becomes -1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            start = torch.where(torch.isinf(parameter), torch.full_like(parameter, -1.0), parameter)
            parameter.copy_(start + scale * noise)
