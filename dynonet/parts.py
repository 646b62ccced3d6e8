"""Every part and every signal of the network, and what each is when it is off. The one table of switches.

A new part of the network is one row here, one switch in the config and one branch in the forward pass.
"""

from dataclasses import dataclass

# Parts: a switch `model.<name>`. What the network does where it is off.
OFF: dict[str, str] = {
    "revin": "the window is used as it is: nothing is subtracted or divided, before or after",
    "film": "gamma 1, beta 0",
    "decomposition": "trend layer and workers both read the whole normalised window",
    "trend": "the trend layer adds 0",
    "workers": "the workers add 0",
    "mixer": "no channel sees another: the mixer adds 0",
    "context": "the controller's context vector is 0 where the workers' output layer reads it",
}


@dataclass(frozen=True)
class Signal:
    """One number per window and channel (gate_masks: per hidden unit too) that the controller can set."""

    neutral: float  # held at this number, the signal is off
    low: float  # adaptive range: low + (high - low) * sigmoid(linear)
    high: float
    held: tuple[float, float]  # numbers it may be held at
    starts_neutral: bool  # at its neutral number for every window, before it has learned anything
    acts_on: str  # "forward": enters the prediction; "loss" and "update": weigh the workers' training alone


# freeze_prob's neutral 0 is its bound, so its head's bias is minus infinity; input_noise is 0.5 * tanh(linear);
# gate_masks has no neutral start (a default linear layer under a sigmoid).
SIGNALS: dict[str, Signal] = {
    "lr_scale": Signal(1.0, 0.01, 5.0, (0.0, 100.0), True, "loss"),
    "wd_scale": Signal(1.0, 0.1, 10.0, (0.0, 1000.0), True, "update"),
    "dropout_rate": Signal(0.1, 0.0, 0.7, (0.0, 0.99), True, "forward"),
    "grad_clip": Signal(1.0, 0.1, 2.0, (1e-6, 1e6), True, "update"),
    "loss_weight": Signal(1.0, 0.5, 1.5, (0.0, 100.0), True, "loss"),
    "freeze_prob": Signal(0.0, 0.0, 1.0, (0.0, 1.0), True, "update"),
    "input_noise": Signal(0.0, -0.5, 0.5, (-10.0, 10.0), True, "forward"),
    "gate_masks": Signal(1.0, 0.0, 1.0, (0.0, 100.0), False, "forward"),
}
