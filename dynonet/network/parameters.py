"""Where every parameter of a stack lies: three flat blocks with the model axis first.

    controller (N, P)        the GRU and the heads
    shared     (N, P)        trend layer, channel mixer, RevIN's affine pair
    workers    (N, C, P)     one row per channel, or one for all

Flat blocks make an optimiser step, a clip or a checkpoint a handful of operations for any number of models.
Inside a block the entries of one *group* are trained or skipped together.
"""

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from dynonet.config import Config, ModelConfig
from dynonet.network.purposes import Purpose
from dynonet.parts import SIGNALS, later_heads
from lab.compute.draws import seed_keys, stream, substream, uniform

BLOCKS = ("controller", "shared", "workers")
POSITIONS = 96  # rows of the published position table, whatever the workers read

# The heads of the controller in the order in which they share one matrix, and their rows.
HEADS = ("film", *SIGNALS, "context")


@dataclass(frozen=True)
class Entry:
    """One named tensor inside a flat block. `initial` says how it starts (see `_initial_values`)."""

    name: str
    shape: tuple[int, ...]
    group: str
    initial: str | float

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """The entries of the three blocks for one shape of model."""

    model: ModelConfig
    channels: int
    seq_len: int
    pred_len: int
    heads_later: tuple[str, ...] = ()  # signals beside the published ones that have a head (see dynonet.parts)
    entries: dict[str, list[Entry]] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(
            self,
            "entries",
            {"controller": self._controller(), "shared": self._shared(), "workers": self._worker()},
        )

    @classmethod
    def of(cls, config: Config, channels: int) -> "Layout":
        return cls(config.model, channels, config.data.seq_len, config.data.pred_len, later_heads(config))

    @cached_property
    def head_rows(self) -> dict[str, int]:
        """Rows of each head in the heads' matrix; FiLM's are ordered layer, channel, gamma then beta."""
        channels, hidden = self.channels, self.model.worker_hidden
        rows = {
            name: channels * (hidden if signal.per_unit else 1)
            for name, signal in SIGNALS.items()
            if not signal.later or name in self.heads_later
        }
        return {"film": self.model.num_layers * channels * 2 * hidden, **rows, "context": hidden}

    def _controller(self) -> list[Entry]:
        hidden = self.model.control_hidden
        entries = [
            Entry("gru.weight_ih", (3 * hidden, self.channels), "gru", f"uniform {hidden}"),
            Entry("gru.weight_hh", (3 * hidden, hidden), "gru", f"uniform {hidden}"),
            Entry("gru.bias_ih", (3 * hidden,), "gru", f"uniform {hidden}"),
            Entry("gru.bias_hh", (3 * hidden,), "gru", f"uniform {hidden}"),
        ]
        for part in ("weight", "bias"):
            for head, rows in self.head_rows.items():
                initial: str | float = 0.0
                signal = SIGNALS.get(head)
                if head == "context" or (signal is not None and not signal.starts_neutral):
                    initial = f"uniform {hidden}"
                elif part == "bias" and signal is not None and not signal.odd:
                    share = (signal.neutral - signal.low) / (signal.high - signal.low)
                    initial = math.log(share / (1 - share)) if share > 0 else -math.inf
                entries.append(Entry(f"{head}.{part}", (rows, hidden) if part == "weight" else (rows,), head, initial))
        return entries

    def _shared(self) -> list[Entry]:
        channels, wide = self.channels, 4 * self.channels
        return [
            Entry("trend.weight", (self.pred_len, self.seq_len), "trend", f"uniform {self.seq_len}"),
            Entry("trend.bias", (self.pred_len,), "trend", f"uniform {self.seq_len}"),
            Entry("mixer.0.weight", (wide, channels), "mixer", f"uniform {channels}"),
            Entry("mixer.0.bias", (wide,), "mixer", f"uniform {channels}"),
            Entry("mixer.3.weight", (channels, wide), "mixer", 0.0),
            Entry("mixer.3.bias", (channels,), "mixer", 0.0),
            Entry("revin.weight", (channels,), "revin", 1.0),
            Entry("revin.bias", (channels,), "revin", 0.0),
        ]

    def _worker(self) -> list[Entry]:
        """One worker; the block holds as many as there are."""
        hidden, bound = self.model.worker_hidden, f"uniform {self.model.worker_hidden}"
        positions = max(POSITIONS, self.model.worker_seq_len)
        entries = [
            Entry("position", (positions, hidden), "worker", "truncated normal 0.02"),
            Entry("input.weight", (hidden, 1), "worker", "uniform 1"),
            Entry("input.bias", (hidden,), "worker", "uniform 1"),
        ]
        cell, rows = self.model.worker_cell, {"gru": 3, "lstm": 4}[self.model.worker_cell] * hidden
        for layer in range(self.model.num_layers):
            entries += [
                Entry(f"{cell}.{layer}.weight_ih", (rows, hidden), "worker", bound),
                Entry(f"{cell}.{layer}.weight_hh", (rows, hidden), "worker", bound),
                Entry(f"{cell}.{layer}.bias_ih", (rows,), "worker", bound),
                Entry(f"{cell}.{layer}.bias_hh", (rows,), "worker", bound),
                Entry(f"norm.{layer}.weight", (hidden,), "worker", 1.0),
                Entry(f"norm.{layer}.bias", (hidden,), "worker", 0.0),
            ]
        return [
            *entries,
            Entry("output.0.weight", (hidden, 2 * hidden), "worker", f"uniform {2 * hidden}"),
            Entry("output.0.bias", (hidden,), "worker", f"uniform {2 * hidden}"),
            Entry("output.2.weight", (self.pred_len, hidden), "worker", bound),
            Entry("output.2.bias", (self.pred_len,), "worker", bound),
        ]

    def lead(self, block: str, models: int) -> tuple[int, ...]:
        """The leading axes of a block: (N,), or (N, workers) for the workers."""
        return (models, self.workers) if block == "workers" else (models,)

    @property
    def workers(self) -> int:
        """How many there are: one per channel, or one for all."""
        return 1 if self.model.worker_scope == "all" else self.channels

    def size(self, block: str) -> int:
        return sum(entry.size for entry in self.entries[block])

    def groups(self, block: str) -> list[str]:
        """Groups of the controller's and the shared block, in order. (The workers' groups are the workers.)"""
        return list(dict.fromkeys(entry.group for entry in self.entries[block]))

    def group_index(self, block: str) -> Tensor:
        """(P,) int64: the group of every element of a block."""
        groups = self.groups(block)
        index = [torch.full((entry.size,), groups.index(entry.group)) for entry in self.entries[block]]
        return torch.cat(index)

    def unpack(self, block: str, flat: Tensor) -> dict[str, Tensor]:
        """The entries of a block by name, as views of it, leading axes kept."""
        parts = flat.split([entry.size for entry in self.entries[block]], dim=-1)
        lead = flat.shape[:-1]
        return {e.name: p.view(*lead, *e.shape) for e, p in zip(self.entries[block], parts, strict=True)}

    def heads(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """All heads of the controller as one weight (N, rows, K) and one bias (N, rows): they lie side by side."""
        rows, hidden = sum(self.head_rows.values()), self.model.control_hidden
        start = sum(e.size for e in self.entries["controller"] if e.group == "gru")
        weight, bias = flat[:, start:].split([rows * hidden, rows], dim=1)
        return weight.view(-1, rows, hidden), bias

    def count(self) -> dict[str, int]:
        """Parameters of one model by part: controller, trend, mixer, revin, workers."""
        counts = {"controller": self.size("controller")}
        for entry in self.entries["shared"]:
            counts[entry.group] = counts.get(entry.group, 0) + entry.size
        return {**counts, "workers": self.workers * self.size("workers")}


def parameter_count(config: Config, channels: int) -> int:
    """How many parameters a model of these settings holds, switched off or not."""
    return sum(Layout.of(config, channels).count().values())


@dataclass
class Parameters:
    """The parameters of N models: three flat blocks."""

    layout: Layout
    controller: Tensor
    shared: Tensor
    workers: Tensor

    def blocks(self) -> Iterator[tuple[str, Tensor]]:
        for name in BLOCKS:
            yield name, getattr(self, name)

    def models(self, index: slice | Tensor) -> "Parameters":
        """Some models of the stack: views for a slice, copies for an index."""
        return Parameters(self.layout, *(block[index] for _, block in self.blocks()))

    def to(self, **kwargs: object) -> "Parameters":
        return Parameters(self.layout, *(block.to(**kwargs) for _, block in self.blocks()))  # type: ignore[call-overload]

    def cpu(self) -> "Parameters":
        return self.to(device="cpu")

    def named(self, model: int = 0) -> dict[str, Tensor]:
        """One model's tensors by name, `workers.gru.0.weight_ih` (C, 3D, D): copies on the CPU."""
        named = {}
        for block, flat in self.blocks():
            for name, tensor in self.layout.unpack(block, flat[model]).items():
                named[f"{block}.{name}"] = tensor.detach().cpu().clone()
        return named

    @classmethod
    def from_named(cls, layout: Layout, models: Sequence[Mapping[str, Tensor]]) -> "Parameters":
        """The inverse of `named` for N models. Raises KeyError or RuntimeError where a tensor does not fit."""
        blocks = []
        for block in BLOCKS:
            lead = layout.lead(block, 1)
            rows = [
                torch.cat([m[f"{block}.{e.name}"].reshape(*lead, e.size) for e in layout.entries[block]], dim=-1)
                for m in models
            ]
            blocks.append(torch.cat(rows))
        return cls(layout, *blocks)

    @classmethod
    def initial(cls, layout: Layout, seeds: Sequence[int], dtype: torch.dtype = torch.float32) -> "Parameters":
        """Initial weights of one model per seed, drawn on the CPU one model at a time, each entry from its name.

        So models of unlike shape or switches start alike wherever their entries agree.
        Linear and GRU layers start as torch's own: uniform within 1/sqrt(inputs), for a GRU 1/sqrt(hidden).
        """
        blocks = []
        for number, block in enumerate(BLOCKS):
            lead = layout.lead(block, 1)
            models = []
            for seed in seeds:
                keys = stream(seed_keys(torch.tensor([seed])), Purpose.INITIAL, number)
                values = []
                for entry in layout.entries[block]:
                    name = zlib.crc32(entry.name.encode()) & 0x7FFFFFFF
                    draws = uniform(substream(keys, name), (*lead[1:], entry.size)).double().view(*lead, -1)
                    values.append(_initial_values(entry, draws))
                models.append(torch.cat(values, dim=-1))
            blocks.append(torch.cat(models).to(dtype))
        return cls(layout, *blocks)


def _initial_values(entry: Entry, draws: Tensor) -> Tensor:
    if isinstance(entry.initial, float):
        return torch.full_like(draws, entry.initial)
    kind, _, number = str(entry.initial).rpartition(" ")
    if kind == "uniform":
        return (2 * draws - 1) / math.sqrt(int(number))
    # Normal, truncated at 2 (absolute, so never reached at this deviation), by the inverse of its distribution.
    tiny = 2.0**-25
    return float(number) * math.sqrt(2) * torch.erfinv((2 * draws - 1).clamp(-1 + tiny, 1 - tiny))
