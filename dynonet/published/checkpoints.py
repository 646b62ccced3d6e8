"""Published checkpoints in and out: a dict saved by torch with `model_state_dict`, shapes read off the tensors."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dynonet.config import ModelConfig
from dynonet.network.parameters import Layout, Parameters
from lab.errors import DataError, nearest

# Our head names to the published module names.
_HEADS = {
    "lr_scale": "lr_ctrl.gen", "wd_scale": "wd_ctrl.gen", "dropout_rate": "dropout_ctrl.gen",
    "grad_clip": "grad_clip_ctrl.gen", "loss_weight": "loss_weight_ctrl.gen", "freeze_prob": "freeze_ctrl.gen",
    "input_noise": "noise_ctrl", "gate_masks": "gate_ctrl.0", "context": "context_proj",
}  # fmt: skip
_GRU = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _names(layout: Layout) -> dict[str, str | list[str]]:
    """Our tensor names to the published key, or to one key per channel (workers) or layer (FiLM)."""
    names: dict[str, str | list[str]] = {
        "shared.revin.weight": "revin.affine_weight",
        "shared.revin.bias": "revin.affine_bias",
    }
    names |= {f"controller.gru.{n}": f"control_net.brain.gru.{n}_l0" for n in _GRU}
    layers, channels = range(layout.model.num_layers), range(layout.channels)
    for part in ("weight", "bias"):
        names[f"controller.film.{part}"] = [f"control_net.film_gens.{layer}.{part}" for layer in layers]
        names |= {f"controller.{ours}.{part}": f"control_net.{theirs}.{part}" for ours, theirs in _HEADS.items()}
        names[f"shared.trend.{part}"] = f"worker_net.shared_trend_linear.{part}"
        names |= {f"shared.mixer.{n}.{part}": f"worker_net.channel_mixer.{n}.{part}" for n in (0, 3)}
    for entry in layout.entries["workers"]:
        theirs = entry.name.replace("position", "pos_embedding").replace("input.", "input_proj.")
        theirs = theirs.replace("output.", "output_proj.").replace("norm.", "lns.")
        theirs = re.sub(r"^gru\.(\d+)\.(.*)$", r"grus.\1.\2_l0", theirs)
        names[f"workers.{entry.name}"] = [f"worker_net.workers.{channel}.{theirs}" for channel in channels]
    return names


def _published_shape(layout: Layout, ours: str) -> tuple[int, ...]:
    """The shape of each published tensor behind one of ours."""
    block, name = ours.split(".", 1)
    shape = next(entry.shape for entry in layout.entries[block] if entry.name == name)
    if name.startswith("film."):
        return (shape[0] // layout.model.num_layers, *shape[1:])
    return (1, *shape) if name == "position" else shape


def load_published(source: str | Path | Mapping[str, Any], worker_seq_len: int = 96) -> Parameters:
    """Parameters of one model (N=1) from a published checkpoint.

    Args:
        source: a path (read with `weights_only=True`), the saved dict, or its `model_state_dict`.
        worker_seq_len: steps that the workers read; the tensors do not say.
    Raises:
        DataError: no such file, no checkpoint, or a tensor missing, unknown or of another shape.
    """
    if isinstance(source, (str, Path)):
        try:
            source = torch.load(source, map_location="cpu", weights_only=True)
        except Exception as error:
            raise DataError(f"cannot read the checkpoint {source}: {error}") from None
    state = source.get("model_state_dict", source) if isinstance(source, Mapping) else {}
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise DataError(
            "not a published DynoNet checkpoint: expected a dict of tensors, or one under 'model_state_dict'"
        )
    try:
        trend = state["worker_net.shared_trend_linear.weight"]
        layers = len({m[1] for key in state if (m := re.match(r"control_net\.film_gens\.(\d+)\.", key))})
        model = ModelConfig(
            control_hidden=state["control_net.brain.gru.weight_hh_l0"].shape[1],
            worker_hidden=state["worker_net.workers.0.input_proj.bias"].shape[0],
            num_layers=max(layers, 1),  # none at all is found missing below
            worker_seq_len=worker_seq_len,
        )
        layout = Layout(model, len(state["revin.affine_weight"]), trend.shape[1], trend.shape[0])
    except KeyError as error:
        raise DataError(f"not a published DynoNet checkpoint: no tensor {error}") from None
    except (IndexError, TypeError, ValueError) as error:
        raise DataError(
            f"not a published DynoNet checkpoint: the sizes cannot be read off its tensors ({error})"
        ) from None

    entries = {f"{b}.{e.name}": layout.lead(b, 1)[1:] + e.shape for b, es in layout.entries.items() for e in es}
    named: dict[str, Tensor] = {}
    used: set[str] = set()
    for ours, theirs in _names(layout).items():
        keys = [theirs] if isinstance(theirs, str) else theirs
        missing = [key for key in keys if key not in state]
        if missing:
            raise DataError(f"the checkpoint has no tensor '{missing[0]}'{nearest(missing[0], state)}")
        used |= set(keys)
        tensors = [state[key] for key in keys]
        for key, tensor in zip(keys, tensors, strict=True):
            shape = _published_shape(layout, ours)
            if tuple(tensor.shape) != shape:
                raise DataError(f"{key}: got shape {tuple(tensor.shape)}, expected {shape} beside the other tensors")
        named[ours] = torch.stack(tensors).reshape(entries[ours])
    if unknown := sorted(set(state) - used):
        raise DataError(f"the checkpoint holds tensors that DynoNet does not have: {', '.join(unknown[:3])}")
    return Parameters.from_named(layout, [named])


def published_state_dict(params: Parameters, model: int = 0) -> dict[str, Tensor]:
    """One model's tensors under the published keys and shapes: the inverse of `load_published`.

    Raises DataError for a network that the published code cannot hold: LSTM workers, or one worker for all channels.
    """
    settings = params.layout.model
    if settings.worker_cell != "gru" or settings.worker_scope != "channel":
        raise DataError("the published code has a GRU worker per channel: this network has no checkpoint of its kind")
    state: dict[str, Tensor] = {}
    named = params.named(model)
    for ours, theirs in _names(params.layout).items():
        tensor = named[ours]
        if isinstance(theirs, str):
            state[theirs] = tensor
            continue
        pieces = tensor.reshape(len(theirs), -1, *tensor.shape[1:]) if ours.startswith("controller.film") else tensor
        for key, piece in zip(theirs, pieces, strict=True):
            state[key] = piece[None].clone() if key.endswith("pos_embedding") else piece.clone()
    return state


def save_published(params: Parameters, path: str | Path, model: int = 0, **extra: Any) -> None:
    """Writes a checkpoint that the published code reads. `extra` goes beside the weights (epoch, metrics)."""
    torch.save({"model_state_dict": published_state_dict(params, model), **extra}, path)
