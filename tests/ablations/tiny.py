"""A study that trains in seconds."""

from typing import Any

TINY: dict[str, Any] = {
    "name": "tiny",
    "question": "Does the command run from the beginning to its end?",
    "baseline": {
        "data.seq_len": 24, "data.pred_len": 6, "data.synthetic.rows": 600, "model.control_hidden": 5,
        "model.worker_hidden": 3, "model.worker_seq_len": 12, "model.moving_average": 5, "training.batch_size": 64,
        "training.max_epochs": 3, "training.lr": 0.01,
    },
    "arms": ["no_film", "no_trend", "no_lr_scale"],
    "seeds": 7,
}  # fmt: skip
