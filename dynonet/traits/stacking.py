"""Which DynoNets train side by side, in which order, and who of them learns from which rows. Needs no torch."""

from typing import Any

from dynonet.config import Config
from dynonet.parts import later_heads

MODES = ("alternating", "joint", "unrolled")  # in the order in which they stand in a stack
PRECISIONS = ("float32", "tf32", "bf16")


def stack_key(config: Config) -> tuple[tuple[str, Any], ...]:
    """What the models of one stack must share: data, shapes, batches."""
    shared = ["model.control_hidden", "model.worker_hidden", "model.num_layers", "model.worker_seq_len"]
    shared += ["model.moving_average", "model.worker_cell", "model.worker_scope"]
    shared += ["training.batch_size", "training.controller_order"]
    flat = config.flat()
    data = [key for key in flat if key.startswith("data.") and key != "data.joint_rows"]
    told = (*((key, flat[key]) for key in (*data, *shared)), ("windows of the workers", worker_role(config)))
    return (*told, ("heads", later)) if (later := later_heads(config)) else told


def group_key(config: Config) -> tuple[int, int, int]:
    """Models of equal keys take their steps together; also the order of the groups in a stack."""
    training = config.training
    every = training.unroll_every if training.mode == "unrolled" else 0
    return MODES.index(training.mode), every, PRECISIONS.index(training.precision)


def worker_role(config: Config) -> str:
    """Which windows the workers learn from (see lab.series.window_starts)."""
    joint = config.training.mode == "joint" and config.data.joint_rows == "worker_and_meta"
    return "joint" if joint else "worker"


def learners(config: Config) -> dict[str, str]:
    """Who learns -> the role of the rows that it learns from. Jointly, all learn from the workers':
    no rows need be long enough to hold some out."""
    role = worker_role(config)
    return {"workers": role, "controller": role if config.training.mode == "joint" else "controller"}
