"""A stack that does not fit into memory: halved, halved again, and every number as if it had fitted."""

from pathlib import Path

import pytest
import torch

from dynonet.config import Config
from lab.series import load_series
from lab.store.tables import Results
from lab.training.checkpoint import divide_state
from lab.training.stack_run import StackRun
from lab.training.trainer import StackTrainer


def seeds(config: Config, *numbers: int) -> list[Config]:
    return [config.override({"training.seed": n}) for n in numbers]


def train(results: Results, configs: list[Config]) -> None:
    stack = StackRun(results, configs)
    while stack.step().state == "running":
        pass


@pytest.mark.parametrize("at", [0, 2])
def test_a_stack_that_does_not_fit_is_halved_and_gives_the_same_numbers(
    store: Results, tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """`at`: the epoch before which memory has run short."""
    configs = [*seeds(tiny, 1, 2, 3), tiny.override({"training.seed": 4, "training.max_epochs": 2})]
    plain = Results(tmp_path / "plain")
    train(plain, configs)
    whole = StackTrainer.run_epoch

    def short(self: StackTrainer) -> None:
        if self.epoch >= at and len(self.running) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        whole(self)

    monkeypatch.setattr(StackTrainer, "run_epoch", short)
    stack = StackRun(store, configs)
    while stack.step().state == "running":
        # Another process goes on from any checkpoint.
        halvings, stack = stack.halvings, StackRun(store, configs, most=stack.most)
        stack.halvings = halvings
    assert stack.halvings[-1].endswith("it goes on in stacks of 1 at most") and stack.most == 1
    ours, theirs = store.runs(), plain.runs()
    assert ours.keys() == theirs.keys() and {row["status"] for row in ours.values()} == {"complete"}
    for run, row in theirs.items():
        assert ours[run]["val_mse"] == pytest.approx(row["val_mse"], rel=1e-5)
        assert (ours[run]["epochs"], ours[run]["best_epoch"]) == (row["epochs"], row["best_epoch"])
    assert store.storage.list("checkpoints") == []


def test_what_is_no_want_of_memory_or_no_stack_is_raised(
    store: Results, tiny: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    error: Exception = RuntimeError("another reason")
    monkeypatch.setattr(StackTrainer, "run_epoch", lambda self: (_ for _ in ()).throw(error))
    with pytest.raises(RuntimeError, match="another reason"):
        StackRun(store, seeds(tiny, 1, 2)).step()
    error = MemoryError("one model")
    with pytest.raises(MemoryError, match="one model"):
        StackRun(store, seeds(tiny, 1)).step()


def test_models_at_their_end_stay_with_a_part(tiny: Config) -> None:
    trainer = StackTrainer(seeds(tiny, 1, 2, 3, 4), load_series(tiny.data))
    trainer.run_epoch()
    state = trainer.state_dict()
    ended, kept = state["runs"][1], [0, 2, 3]
    state["active"] = kept
    state["stack"] = {name: tensor[kept] for name, tensor in state["stack"].items()}
    parts = divide_state(state, 2)
    assert [part["active"] for part in parts] == [[0, 1], [0]]
    assert [[run["run"] for run in part["runs"]] for part in parts] == [
        [state["runs"][0]["run"], state["runs"][2]["run"], ended["run"]], [state["runs"][3]["run"]]
    ]  # fmt: skip
    assert divide_state(state, 3) == [state]
    for part in parts:
        again = StackTrainer([Config.from_json(run["config"]) for run in part["runs"]], load_series(tiny.data))
        again.load_state_dict(part)
        again.run_epoch()
        assert again.epoch == 2
