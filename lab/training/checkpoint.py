"""Checkpoints of stacks taken apart into models and put together again: a model goes on in whatever stack."""

from collections.abc import Sequence
from typing import Any

import torch

from dynonet.network.parameters import BLOCKS

State = dict[str, Any]  # as StackTrainer.state_dict gives it


def split_state(state: State) -> dict[str, State]:
    """The state of each model that is still training, by its run id: each a checkpoint of a stack of one."""
    models = {}
    for place, index in enumerate(state["active"]):
        run = state["runs"][index]
        models[run["run"]] = {
            **state,
            "active": [0],
            "runs": [run],
            "params": {b: state["params"][b][place : place + 1].clone() for b in BLOCKS},
            "moments": {b: {k: t[place : place + 1].clone() for k, t in state["moments"][b].items()} for b in BLOCKS},
        }
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
        "params": {b: torch.cat([s["params"][b] for s in states]) for b in BLOCKS},
        "moments": {
            b: {k: torch.cat([s["moments"][b][k] for s in states]) for k in states[0]["moments"][b]} for b in BLOCKS
        },
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
