"""Settings by name: the published ones (section 5 of the published network's description), and what was found since;
and searches by name, files of `searches/`."""

from pathlib import Path
from typing import Any

from lab.settings.presets import SEARCHED, Presets

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
    # The best of 40 trials each, by the mean over origins (studies series-* in results/flagship).
    "tuned-series-etth1": {
        "data.dataset": "ETTh1", "data.seq_len": 336, "data.pred_len": 96, "data.joint_rows": "worker_and_meta",
        "model.control_hidden": 13, "model.worker_hidden": 10, "model.num_layers": 1,
        "model.dropout": 0.3668410937600387, "model.moving_average": 5,
        "model.trend_reads": "window", "model.trend_start": "smoothed",
        "training.mode": "joint", "training.batch_size": 256, "training.lr": 3.175883751919049e-05,
        "training.schedule": "constant", "training.weight_decay": 0.00027174290745239383,
        "training.controller_lr_ratio": 0.01148978735856004, "training.max_epochs": 8, "training.patience": 3,
    },
    "tuned-series-etth2": {
        "data.dataset": "ETTh2", "data.seq_len": 512, "data.pred_len": 96, "data.joint_rows": "worker_and_meta",
        "model.control_hidden": 17, "model.worker_hidden": 5, "model.num_layers": 1,
        "model.dropout": 0.2722676175460466, "model.trend_reads": "window", "model.trend_start": "closed_form",
        "training.mode": "joint", "training.batch_size": 128, "training.lr": 0.00011032259941187821,
        "training.weight_decay": 0.0017340659051899453, "training.controller_lr_ratio": 0.5279029189621688,
        "training.max_epochs": 8, "training.patience": 3,
    },
    "tuned-series-exchange": {
        "data.dataset": "exchange_rate", "data.seq_len": 192, "data.pred_len": 96, "data.joint_rows": "worker_and_meta",
        "model.control_hidden": 11, "model.worker_hidden": 2, "model.num_layers": 1, "model.dropout": 0.451612169540257,
        "model.moving_average": 5, "model.trend_reads": "window", "model.trend_start": "last",
        "training.mode": "joint", "training.batch_size": 64, "training.lr": 3.214741332607201e-05,
        "training.weight_decay": 0.00018138861295830991, "training.controller_lr_ratio": 0.6079007487938773,
        "training.max_epochs": 8, "training.patience": 3,
    },
    "tuned-series-illness": {
        "data.dataset": "national_illness", "data.seq_len": 104, "data.pred_len": 24,
        "data.joint_rows": "worker_and_meta",
        "model.control_hidden": 18, "model.worker_hidden": 4, "model.num_layers": 1,
        "model.dropout": 0.14064619445303467, "model.moving_average": 5,
        "model.trend_reads": "window", "model.trend_start": "smoothed",
        "training.mode": "joint", "training.batch_size": 16, "training.lr": 0.0005430449705167812,
        "training.weight_decay": 0.004363069577447468, "training.controller_lr_ratio": 0.6290554387521021,
        "training.max_epochs": 40, "training.patience": 10,
    },
}  # fmt: skip

SOURCES: dict[str | None, str] = {
    **dict.fromkeys(PUBLISHED, "its published description, section 5"),
    "tuned-etth1-h96": f"{SEARCHED} 150 trials on ETTh1 by validation, in every cell",
    **{
        name: f"{SEARCHED} 40 trials on {settings['data.dataset']} by validation over origins, in every cell"
        for name, settings in _FOUND.items()
        if name.startswith("tuned-series-")
    },
}

PRESETS = Presets(_FOUND, Path(__file__).parent / "searches", SOURCES)
