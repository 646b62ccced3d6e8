"""What a captured step needs, as far as a CPU can show it: no wait for the device, memory that stays, no step lost."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import lab.compute.cuda_graphs
import lab.compute.kernels
from dynonet.reference.small import CPU, make_series, small_config
from lab.compute.cuda_graphs import Replayed
from lab.training.trainer import StackTrainer

SERIES = make_series(2)
# A value read by the host; a tensor made from host numbers (a copy to the device, which a capture refuses); sizes
# that depend on values.
WAITS = ("_local_scalar_dense", "item", "lift_fresh", "lift_fresh_copy", "nonzero", "masked_select", "is_nonzero")


class NoWaits(TorchDispatchMode):
    """Collects the operations that would make the host wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.seen = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        self.seen += 1
        if name in WAITS:
            self.found.append(name)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("mode", ["alternating", "joint", "unrolled"])
def test_no_step_waits_for_the_device(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNONET_KERNEL", "torch")
    configs = [
        small_config({"model.num_layers": 2}, seed=1, mode=mode),
        small_config({"model.num_layers": 2, "model.film": False, "signals.freeze_prob": 0.3}, seed=2, mode=mode),
        small_config({"model.num_layers": 2, "model.revin": False}, seed=3, mode=mode, train_revin=False),
    ]
    trainer = StackTrainer(configs, SERIES)
    trainer.begin_epoch()
    trainer.step(0)  # what is made once is made here
    with NoWaits() as watch:
        trainer.step(1)
    assert watch.seen > 200  # the watch was on
    assert watch.found == []


class FakeDevice:
    """The parts of torch.cuda that a replay uses. A capture records a call and undoes what it did; a replay calls."""

    def __init__(self, tensors: list[Tensor], refuse: bool = False):
        self.tensors, self.refuse = tensors, refuse
        self.captures = self.replays = 0

    def install(self, patch: pytest.MonkeyPatch) -> None:
        device = self

        class Graph:
            def replay(self) -> None:
                device.replays += 1
                device.recorded(*device.arguments)

        class Stream:
            def __init__(self, device: torch.device | None = None):
                pass

            def wait_stream(self, other: "Stream") -> None:
                pass

        @contextlib.contextmanager
        def graph(graph: Graph, stream: Stream) -> Iterator[None]:
            if device.refuse:
                raise RuntimeError("operation not permitted when stream is capturing")
            before = [tensor.clone() for tensor in device.tensors]
            yield
            for tensor, value in zip(device.tensors, before, strict=True):
                tensor.copy_(value)
            device.captures += 1

        fake = {"CUDAGraph": Graph, "Stream": Stream, "graph": graph, "current_stream": Stream}
        for name, value in (fake | dict.fromkeys(("stream", "device"), contextlib.nullcontext)).items():
            patch.setattr(torch.cuda, name, value)

    def function(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.recorded(*arguments)


@pytest.mark.parametrize("refuse", [False, True])
def test_replayed_calls_do_what_calls_do(refuse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Warm-up calls count, a capture does not, and no call is lost; a refused capture goes on piece by piece."""
    count = torch.zeros(2, dtype=torch.int64)
    device = FakeDevice([count], refuse)
    device.recorded = lambda place: count[place].add_(1)
    device.install(monkeypatch)
    lab.compute.kernels.say_once.cache_clear()
    replayed = Replayed(device.function, torch.device("cuda"))
    said = pytest.warns(RuntimeWarning, match="could not be captured") if refuse else contextlib.nullcontext()
    with said:
        for _ in range(6):
            replayed(0)
    for _ in range(4):
        replayed(1)
    assert count.tolist() == [6, 4]
    warm_up = lab.compute.cuda_graphs.WARM_UP
    assert (device.captures, device.replays) == ((0, 0) if refuse else (2, 10 - 2 * warm_up))


def test_validation_waits_for_nothing_and_is_captured_anew_where_memory_has_moved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DYNONET_KERNEL", "torch")
    trainer = StackTrainer([small_config(seed=seed) for seed in (1, 2, 3)], SERIES)
    trainer.validate()
    with NoWaits() as watch:
        trainer.validate()
    assert watch.seen > 100
    assert watch.found == []

    device = FakeDevice([])
    device.recorded, device.arguments = trainer._evaluate, ()
    device.install(monkeypatch)
    counts = []
    for step in range(12):
        if step == 5:
            trainer.stack.keep([0, 2])
        if step == 9:
            trainer.stack.restore(trainer.stack.state())
        trainer.device = CPU
        trainer.train_epoch()
        expected = trainer.validate()
        trainer.device = torch.device("cuda")
        assert torch.equal(trainer.validate().mse, expected.mse)
        counts.append((device.captures, device.replays))
    assert counts[4:] == [(1, 3), (1, 3), (1, 3), (2, 4), (2, 5), (2, 5), (2, 5), (3, 6)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: a real capture of the step")
def test_captured_training_is_training() -> None:
    configs = [small_config(seed=seed, max_epochs=3) for seed in (1, 2)]
    graphs = StackTrainer(configs, SERIES, "cuda").train()
    eager = StackTrainer(configs, SERIES, "cpu").train()
    for a, b in zip(graphs, eager, strict=True):
        assert [row["val_mse"] for row in a.history] == pytest.approx([row["val_mse"] for row in b.history], rel=1e-4)
