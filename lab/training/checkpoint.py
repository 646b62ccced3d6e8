"""Checkpoints of stacks taken apart into models and put together again: a model goes on in whatever stack.

A checkpoint is a dict of tensors and plain values (so it loads with `weights_only=True`):

    version       VERSION
    data_sha256   identity of the series
    epoch         epochs trained
    active        which of `runs` stands at each place of the stack; those that have ended stand at none
    runs          a dict of the fields of each lab.training.run.Run, its config as JSON
    stack         name -> tensor with the model axis first, in the order of `active` (see lab.forecaster.Stack.state)
"""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lab.errors import DataError

VERSION = 2
State = dict[str, Any]  # as StackTrainer.state_dict gives it


def read_file(path: Path) -> Any:
    """What a file of `torch.save` holds: data alone, nothing in it is executed, and no damaged bit passes for a number:
    torch writes a checksum of each part, and reads them without a look at it.

    Raises DataError: a damaged file; FileNotFoundError; and what zip files and torch raise of a foreign one.
    """
    with zipfile.ZipFile(path) as parts:
        if damaged := parts.testzip():
            raise DataError(f"damaged: the checksum of its part {damaged} does not hold")
    return torch.load(path, map_location="cpu", weights_only=True)


def current(state: State) -> State:
    """A checkpoint of this version or of one before it, as this version has it.

    Version 1 held `params` and `moments` of a stack in nested dicts, and ranges of diagnostics by group.
    Raises DataError: a checkpoint of another version.
    """
    if state.get("version") == VERSION:
        return state
    if state.get("version") != 1:
        raise DataError(f"checkpoint version {state.get('version')}; this code reads {VERSION}")
    rest = {key: value for key, value in state.items() if key not in ("params", "moments")}
    runs = [_run_of_version_1(run) for run in state["runs"]]
    stack = _flat({key: state[key] for key in ("params", "moments")}) if state["active"] else {}
    return {**rest, "version": VERSION, "runs": runs, "stack": stack}


def _run_of_version_1(run: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, value in run.items():
        group = key.removesuffix("_bounds")
        fields |= {key: value} if group == key else {"bounds": {f"{group}.{name}": v for name, v in value.items()}}
    return fields


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, torch.Tensor]:
    flat: dict[str, torch.Tensor] = {}
    for key, value in nested.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def split_state(state: State) -> dict[str, State]:
    """The state of each model that is still training, by its run id: each a checkpoint of a stack of one."""
    models = {}
    for place, index in enumerate(state["active"]):
        run = state["runs"][index]
        stack = {name: tensor[place : place + 1].clone() for name, tensor in state["stack"].items()}
        models[run["run"]] = {**state, "active": [0], "runs": [run], "stack": stack}
    return models


def join_states(states: Sequence[State]) -> State:
    """One checkpoint of a stack from those of its models, all at the same epoch and in the stack's order.

    Raises:
        ValueError: the checkpoints stand at different epochs.
    """
    if len({state["epoch"] for state in states}) != 1:
        raise ValueError(f"checkpoints at different epochs cannot share a stack: {[s['epoch'] for s in states]}")
    return {
        **states[0],
        "active": list(range(len(states))),
        "runs": [state["runs"][0] for state in states],
        "stack": {name: torch.cat([state["stack"][name] for state in states]) for name in states[0]["stack"]},
    }


def divide_state(state: State, most: int) -> list[State]:
    """The checkpoint of a stack as those of smaller ones, each of `most` models at most that still train.

    The models that have come to their end go with the first.
    """
    active = state["active"]
    if len(active) <= most:
        return [state]
    models = list(split_state(state).values())
    parts = [join_states(models[at : at + most]) for at in range(0, len(models), most)]
    parts[0]["runs"] += [run for place, run in enumerate(state["runs"]) if place not in active]
    return parts
