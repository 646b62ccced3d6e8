"""Steps without launches: what a GPU does in one call is captured once and then replayed as a whole.

A step can be some 500 small kernels; launched one by one from Python they cost more than they compute.
"""

from collections import Counter
from collections.abc import Callable, Hashable

import torch

from lab.compute.kernels import say_once

WARM_UP = 2  # calls before the capture: libraries make their handles, kernels are compiled


class Replayed:
    """A function of the device's memory, called as itself at first and as a CUDA graph from then on.

    The function must read and write tensors that stay where they are, and never wait for the device: then a replay
    does to them what a call would. One graph is kept for each tuple of arguments.
    See https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.
    """

    def __init__(self, function: Callable[..., None], device: torch.device):
        self._function, self._device = function, device
        self._calls: Counter[Hashable] = Counter()
        self._graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}
        self._stream = torch.cuda.Stream(device)
        self._refused = False

    def __call__(self, *arguments: Hashable) -> None:
        with torch.cuda.device(self._device):
            if arguments not in self._graphs and not self._refused and self._calls[arguments] >= WARM_UP:
                self._capture(arguments)
            if graph := self._graphs.get(arguments):
                graph.replay()
            else:
                self._warm_up(arguments)

    def _warm_up(self, arguments: tuple[Hashable, ...]) -> None:
        """A call that is part of the work, on the stream that the capture will use."""
        self._calls[arguments] += 1
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            self._function(*arguments)
        current.wait_stream(self._stream)

    def _capture(self, arguments: tuple[Hashable, ...]) -> None:
        """Records one call, which computes nothing."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                self._function(*arguments)
        except RuntimeError as error:
            self._refused = True
            say_once(f"the step could not be captured as a CUDA graph ({error}); it is launched piece by piece, slower")
            return
        self._graphs[arguments] = graph
