"""What a search of DynoNet varies where nobody says otherwise, beside the defaults of dynonet.config."""

from typing import Any

SPACE: dict[str, dict[str, Any]] = {
    "model.control_hidden": {"int": [8, 128], "log": True},
    "model.worker_hidden": {"int": [4, 32], "log": True},
    "model.num_layers": {"int": [1, 3]},
    "model.dropout": {"float": [0.0, 0.4]},
    "model.trend_start": {"choice": ["uniform", "closed_form"]},
    "training.batch_size": {"choice": [64, 128, 256, 512]},
    # From the linear baseline on, small rates do; from random weights, large ones.
    "training.lr": {"float": [3e-5, 1e-2], "log": True},
    "training.weight_decay": {"float": [1e-6, 1e-1], "log": True},
    # The published 0.05 and 0.1 lie well inside; on the synthetic series smaller ratios do better, 0.2 and more worse.
    "training.controller_lr_ratio": {"float": [0.003, 0.3], "log": True},
    # Of mode unrolled alone: a space in which the mode is not searched and is another does without them.
    "training.steering_lr_ratio": {"float": [0.03, 3.0], "log": True, "when": {"training.mode": "unrolled"}},
    "training.unroll_every": {"int": [1, 8], "log": True, "when": {"training.mode": "unrolled"}},
}
