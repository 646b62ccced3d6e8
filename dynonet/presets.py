"""Settings by name: the published ones (section 5 of the published network's description), and what was found since;
and searches by name, files of `searches/`."""

from pathlib import Path
from typing import Any

from lab.settings.presets import Presets

PUBLISHED: dict[str, dict[str, Any]] = {
    "h96": {
        "data.dataset": "ETTh1", "data.seq_len": 512, "data.pred_len": 96, "training.batch_size": 512,
        "model.control_hidden": 64, "model.worker_hidden": 8, "model.num_layers": 1, "model.dropout": 0.1,
        "training.lr": 2e-3, "training.weight_decay": 1e-4,
        "training.max_epochs": 100, "training.patience": 20,
    },
    "h336": {
        "data.dataset": "ETTh1", "data.seq_len": 512, "data.pred_len": 336, "training.batch_size": 256,
        "model.control_hidden": 64, "model.worker_hidden": 16, "model.num_layers": 1, "model.dropout": 0.15,
        "training.lr": 1e-3, "training.weight_decay": 1e-4,
        "training.max_epochs": 100, "training.patience": 25,
    },
    "h720": {
        "data.dataset": "ETTh1", "data.seq_len": 720, "data.pred_len": 720, "training.batch_size": 128,
        "model.control_hidden": 128, "model.worker_hidden": 32, "model.num_layers": 2, "model.dropout": 0.2,
        "training.lr": 5e-4, "training.weight_decay": 1e-3,
        "training.controller_lr_ratio": 0.1, "training.controller_wd_ratio": 5.0,
        "training.max_epochs": 150, "training.patience": 30,
    },
    "default": {
        "data.dataset": "ETTh1", "data.seq_len": 336, "data.pred_len": 96, "training.batch_size": 512,
        "model.control_hidden": 64, "model.worker_hidden": 8, "model.num_layers": 1, "model.dropout": 0.1,
        "training.lr": 2e-3, "training.weight_decay": 1e-4,
        "training.max_epochs": 100, "training.patience": 20,
    },
}  # fmt: skip

_FOUND: dict[str, dict[str, Any]] = {
    **PUBLISHED,
    # The best of 150 trials on ETTh1 (study tuned-etth1-h96 in results/flagship).
    "tuned-etth1-h96": {
        "data.dataset": "ETTh1", "data.seq_len": 512, "data.pred_len": 96, "data.joint_rows": "worker_and_meta",
        "model.control_hidden": 5, "model.worker_hidden": 3, "model.num_layers": 1, "model.dropout": 0.1913507875394998,
        "model.moving_average": 49, "model.trend_start": "closed_form",
        "training.protocol": "clean", "training.mode": "joint", "training.batch_size": 128,
        "training.lr": 0.00018331296734027817, "training.schedule": "cosine",
        "training.weight_decay": 2.3487503322922756e-05, "training.controller_lr_ratio": 0.02920469994964094,
        "training.max_epochs": 8, "training.patience": 3,
    },
}  # fmt: skip

PRESETS = Presets(_FOUND, Path(__file__).parent / "searches")
