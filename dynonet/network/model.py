"""DynoNet with the model axis: N networks of one shape, each with its own switches, in one forward pass."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import gelu

from dynonet import kernels
from dynonet.config import Config
from dynonet.network.controller import Signals, Switch, controller
from dynonet.network.layers import dropout, moving_average_matrix, stacked_linear, window_statistics
from dynonet.network.parameters import Layout, Parameters
from dynonet.network.purposes import MASKS
from dynonet.network.workers import workers
from dynonet.parts import OFF, SIGNALS
from lab.compute.draws import AnyDraws, uniform

AFFINE_EPS = 1e-10  # eps**2, what the published RevIN adds to its weight before dividing by it


class DynoNetStack:
    """N networks of one shape. Holds settings, no weights: `forward` is a function of the parameters given."""

    def __init__(self, configs: Sequence[Config], channels: int, device: torch.device, dtype: torch.dtype):
        self.layout = Layout.of(configs[0], channels)
        self.parts = {name: Switch.of([getattr(c.model, name) for c in configs], device) for name in OFF}
        self.averaged_trend = Switch.of([not c.model.window_trend for c in configs], device)
        self.held: dict[str, Tensor] = {}
        for name in SIGNALS:
            values = [getattr(c.signals, name) for c in configs]
            self.parts[name] = Switch.of([value == "adaptive" for value in values], device)
            numbers = [0.0 if value == "adaptive" else value for value in values]
            self.held[name] = torch.tensor(numbers, dtype=dtype, device=device)
        self.mixer_dropout = torch.tensor([c.model.dropout for c in configs], dtype=dtype, device=device)
        self.trains_revin = any(c.model.revin and c.training.train_revin for c in configs)

    def forward(
        self,
        params: Parameters,
        window: Tensor,
        draws: AnyDraws | None = None,
        *,
        phase: str = "worker",
        controller_grad: bool = True,
        signals: Signals | None = None,
    ) -> tuple[Tensor, Signals]:
        """Forecast and signals.

        Args:
            window: (N, S, C, B), or (1, S, C, B) where all models read the same windows.
            draws: training mode, with its masks and input noise; None is evaluation.
            phase: `worker` or `controller`: each draws masks of its own.
            controller_grad: False cuts the gradient to the controller (the workers' phase of alternating).
            signals: taken in place of the controller's.
        Returns:
            the forecast (N, C, H, B) and the signals.
        """
        shared = self.layout.unpack("shared", params.shared)
        revin = self.parts["revin"]
        normalised, weight, bias, mean, deviation = self._normalise(shared, window, params.controller.shape[0])
        if signals is None:
            with torch.set_grad_enabled(controller_grad and torch.is_grad_enabled()):
                signals = controller(self.layout, params.controller, normalised, self.parts, self.held)
        noise = signals.input_noise if draws is not None else None

        forecast = self._trend(shared, normalised, noise)
        forecast = forecast + self._workers(params, normalised, noise, signals, draws, phase)
        forecast = forecast + self._mixer(shared, forecast, draws, phase)

        # Per window and channel: (N, 1, C, B) -> (N, C, 1, B).
        weight, bias, mean, deviation = (t.transpose(1, 2) for t in (weight, bias, mean, deviation))
        weight = revin.pick(weight + AFFINE_EPS, 1.0)
        return (forecast - bias) / weight * deviation + mean, signals

    def signals(self, params: Parameters, window: Tensor) -> Signals:
        """What the controller says of windows (N, S, C, B), with a graph to the controller's parameters alone."""
        shared = self.layout.unpack("shared", params.shared.detach())
        normalised = self._normalise(shared, window, params.controller.shape[0])[0]
        return controller(self.layout, params.controller, normalised, self.parts, self.held)

    def _normalise(self, shared: dict[str, Tensor], window: Tensor, models: int) -> tuple[Tensor, ...]:
        """RevIN: the normalised window (N, S, C, B); its pair, the windows' means and deviations, (N, 1, C, 1 or B)."""
        revin = self.parts["revin"]
        window = window.expand(models, -1, -1, -1)
        mean, deviation = window_statistics(window)
        mean, deviation = revin.pick(mean, 0.0), revin.pick(deviation, 1.0)
        pair = (shared["revin.weight"], shared["revin.bias"])
        weight, bias = (t[:, None, :, None] if self.trains_revin else t.detach()[:, None, :, None] for t in pair)
        weight, bias = revin.pick(weight, 1.0), revin.pick(bias, 0.0)
        return (window - mean) / deviation * weight + bias, weight, bias, mean, deviation

    def _trend(self, shared: dict[str, Tensor], normalised: Tensor, noise: Tensor | None) -> Tensor:
        """The trend layer on the trend of the window, or on the window, (N, C, H, B).

        The moving average is folded into the layer's weight. Noise is constant in time, so it passes the
        average unchanged and reaches the layer as itself.
        """
        models, steps, channels, batch = normalised.shape
        if not self.parts["trend"].any:
            return normalised.new_zeros(())
        plain = shared["trend.weight"]  # (N, H, S)
        weight = plain
        if self.averaged_trend.any:
            average = moving_average_matrix(steps, self.layout.model.moving_average, plain)
            weight = self.averaged_trend.pick(plain @ average, plain)
        out = stacked_linear(normalised.reshape(models, steps, channels * batch), weight, shared["trend.bias"])
        out = out.view(models, -1, channels, batch).transpose(1, 2)
        if noise is not None:
            out = out + plain.sum(dim=2)[:, None, :, None] * noise[:, :, None]
        return self.parts["trend"].pick(out, 0.0)

    def _workers(
        self,
        params: Parameters,
        normalised: Tensor,
        noise: Tensor | None,
        signals: Signals,
        draws: AnyDraws | None,
        phase: str,
    ) -> Tensor:
        """The workers on the last W steps of the residual, (N, C, H, B)."""
        models, steps, channels, batch = normalised.shape
        if not self.parts["workers"].any:
            return normalised.new_zeros(())
        last = min(self.layout.model.worker_seq_len, steps)
        split = self.parts["decomposition"]
        residual = plain = normalised[:, -last:]
        if noise is not None:
            plain = plain + noise[:, None]
        if split.any:
            # A step's residual reads half a kernel around it, so the last W steps need only the last rows. The
            # noise is constant in time: the moving average takes all of it, and none is left in the residual.
            reach = min(steps, last + self.layout.model.moving_average // 2)
            average = moving_average_matrix(steps, self.layout.model.moving_average, normalised)
            trend = average[-last:, -reach:] @ normalised[:, -reach:].reshape(models, reach, channels * batch)
            residual = split.pick(residual - trend.view_as(residual), plain)
        else:
            residual = plain
        weights, model = self.layout.unpack("workers", params.workers), self.layout.model
        keys = None
        if draws is not None:
            keys = [draws.stream(MASKS[phase][0], layer) for layer in range(model.num_layers)]
        return self.parts["workers"].pick(workers(weights, residual, signals, model, keys), 0.0)

    def _mixer(self, shared: dict[str, Tensor], forecast: Tensor, draws: AnyDraws | None, phase: str) -> Tensor:
        """Linear, GELU, dropout, linear over the channel axis, (N, C, H, B)."""
        if not self.parts["mixer"].any:
            return forecast.new_zeros(())
        models, channels, horizon, batch = forecast.shape
        flat = forecast.reshape(models, channels, horizon * batch)
        wide = stacked_linear(flat, shared["mixer.0.weight"], shared["mixer.0.bias"])
        if draws is None:
            wide = gelu(wide)
        else:
            drawn = uniform(draws.stream(MASKS[phase][1]), tuple(wide.shape[1:]))
            if (kernel := kernels.fused(wide)) is not None:
                wide = kernel.gelu_dropout(wide, self.mixer_dropout, drawn)
            else:
                wide = dropout(gelu(wide), self.mixer_dropout[:, None, None], drawn)
        out = stacked_linear(wide, shared["mixer.3.weight"], shared["mixer.3.bias"])
        return self.parts["mixer"].pick(out.view_as(forecast), 0.0)
