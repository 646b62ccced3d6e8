"""From a study to the runs that it takes and the stacks that they train in. Pure: what is on record, the checksum of
the data and the time of an epoch are arguments."""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from ablations.judging.signed_ranks import smallest_p
from ablations.judging.verdicts import seeds_needed
from ablations.study.models import MODELS
from ablations.study.study import Study
from lab.arms import FULL, difference
from lab.console.printing import one_line
from lab.errors import ConfigError
from lab.pages.formats import duration
from lab.registry import forecaster_of
from lab.settings.config import Config
from lab.settings.data import DataConfig

STACK = 16  # models of a stack where nothing says how many fit
Hypothesis = tuple[str, str]  # (comparison, cell)
POOLED = ""  # in the place of a cell: over all cells


@dataclass(frozen=True)
class PlannedRun:
    """One arm with one seed in one cell. Arms that come to the same config have the same run."""

    arm: str
    cell: str
    seed: int
    config: Config
    run: str  # content id


@dataclass(frozen=True)
class PlannedStack:
    runs: tuple[PlannedRun, ...]  # of one shape, each content once; of a stack that was begun, those that are done too
    seconds: float | None  # device time if every run that is left goes to its last epoch


@dataclass(frozen=True)
class Plan:
    study: Study
    seeds: tuple[int, ...]
    looks: tuple[int, ...]  # numbers of seeds at which the study is looked at
    family: int  # m, fixed for the whole study
    inert: tuple[Hypothesis, ...]
    runs: tuple[PlannedRun, ...]  # every member of the study at this number of seeds
    recorded: frozenset[str]  # those of its runs that are on record
    stacks: tuple[PlannedStack, ...]  # what is left to train

    @property
    def distinct(self) -> int:
        """Trained models that the study is made of: arms that coincide share theirs."""
        return len({run.run for run in self.runs})

    @property
    def to_train(self) -> int:
        return sum(run.run not in self.recorded for stack in self.stacks for run in stack.runs)

    @property
    def seconds(self) -> float | None:
        """Expected device time in all, at most: early stopping saves some of it. None if no step was measured."""
        times = [stack.seconds for stack in self.stacks]
        return None if None in times else math.fsum(time for time in times if time is not None)

    def text(self, devices: int = 1, name: str | None = None) -> str:
        """What `--dry-run` prints; `name`: what the study is called on record, where that is not its file's word."""
        study, arms, cells = self.study, len({r.arm for r in self.runs}), len({r.cell for r in self.runs})
        joint = study.correction == "max_t"
        level = study.alpha / (len(self.looks) * (1 if joint else max(self.family, 1)))
        looks = "" if len(self.looks) == 1 else f", looks at {', '.join(map(str, self.looks))} seeds"
        reach = smallest_p(self.looks[-1])
        pooled = ", each pooled over its cells," if study.pooled else ""
        lines = [
            f"study {name or study.name}: {study.asked}",
            f"{arms} arms x {cells} {'cell' if cells == 1 else 'cells'} x {len(self.seeds)} seeds: "
            f"{len(self.runs)} runs, {self.distinct} different ones, {len(self.recorded)} on record, "
            f"{self.to_train} to train",
            f"{self.family} {'comparison' if self.family == 1 else 'comparisons'} of {study.metric}{pooled} at alpha "
            f"{study.alpha:g} ({'max-t' if joint else 'Holm'}{looks}): "
            f"{self.looks[-1]} seeds reach p {reach:.2g}, {level:.2g} is needed",
        ]
        groups: dict[str, list[PlannedStack]] = defaultdict(list)
        for stack in self.stacks:
            groups[self._shape(stack.runs[0].config)].append(stack)
        for shape, stacks in groups.items():
            sizes = [len(stack.runs) for stack in stacks]
            most, least = max(sizes), min(sizes)
            models = f"{most}" if most == least else f"{least} to {most}"
            lines.append(f"  {len(stacks)} {'stack' if len(stacks) == 1 else 'stacks'} of {models} models: {shape}")
        lines += self._series_lines() if cells > 1 else []
        lines += self._model_lines() if study.kind == MODELS else []
        trained = {(run.arm, run.cell) for run in self.runs}
        inert: dict[tuple[str, bool], list[str]] = defaultdict(list)
        for name, cell in self.inert:
            inert[name, (name, cell) in trained].append(cell)
        for (name, but), those in inert.items():
            where = f"cell {those[0]}" if len(those) == 1 else f"cells {', '.join(those)}"
            lines.append(f"  inert, {'but' if but else 'not'} trained: {name} ({where})")
        if not self.stacks:
            lines.append("nothing is left to train")
        elif self.seconds is None:
            lines.append("expected device time: unknown, no step was measured")
        else:
            share = f", {duration(self.seconds / devices)} on {devices} devices" if devices > 1 else ""
            lines.append(f"expected device time: at most {duration(self.seconds)}{share} (early stopping saves some)")
        return "\n".join(lines)

    def _series_lines(self) -> Iterator[str]:
        """What is left to train of each series."""
        series: dict[str, list[PlannedStack]] = {name: [] for name in self.study.series_of.values()}
        for stack in self.stacks:
            series[self.study.series_of[stack.runs[0].cell]].append(stack)
        for name, stacks in series.items():
            cells = sum(each == name for each in self.study.series_of.values())
            runs = sum(run.run not in self.recorded for stack in stacks for run in stack.runs)
            times = [stack.seconds for stack in stacks]
            known = [time for time in times if time is not None]
            time = f", at most {duration(math.fsum(known))}" if known and len(known) == len(times) else ""
            counts = f"{cells} {'cell' if cells == 1 else 'cells'}, {runs} runs to train"
            yield f"  series {name}: {counts} in {len(stacks)} {'stack' if len(stacks) == 1 else 'stacks'}{time}"

    def _model_lines(self) -> Iterator[str]:
        """What is left to train of each arm of a league, and what no number of its seeds can say."""
        for arm in dict.fromkeys(run.arm for run in self.runs):
            seconds, runs = [], 0
            for stack in self.stacks:
                epochs = [(r.arm, r.config.training.max_epochs) for r in stack.runs if r.run not in self.recorded]
                own = [count for name, count in epochs if name == arm]
                runs += len(own)
                if own and stack.seconds is not None:
                    seconds.append(stack.seconds * sum(own) / sum(count for _, count in epochs))
            time = f", at most {duration(math.fsum(seconds))}" if seconds else ""
            yield f"  arm {arm}: {runs} {'run' if runs == 1 else 'runs'} to train{time}"
        needed = seeds_needed(self.study.alpha, max(self.family, 1), len(self.looks))
        if self.looks[-1] < needed:
            yield (
                f"  {self.looks[-1]} seeds can decide no pair of models ({needed} could): the table, its intervals and "
                "the ranking are what they show"
            )

    def _shape(self, config: Config) -> str:
        data = config.data
        forecaster = forecaster_of(config)
        title = forecaster.title if self.study.kind == MODELS else ""
        text = (title, f"{data.name} S={data.seq_len} H={data.pred_len}", forecaster.describe(config))
        return ", ".join(filter(None, (*text, f"batches of {config.training.batch_size}")))


@dataclass(frozen=True)
class Work:
    """What a study asks for at a number of seeds, whatever of it is on record."""

    study: Study
    seeds: tuple[int, ...]
    looks: tuple[int, ...]  # numbers of seeds at which the study is looked at
    inert: tuple[Hypothesis, ...]
    runs: tuple[PlannedRun, ...]

    @classmethod
    def of(
        cls,
        study: Study,
        data_sha256: Callable[[DataConfig], str],
        *,
        inert: Collection[Hypothesis] = (),
        train_inert: bool = False,
        wanted: Collection[Hypothesis] | None = None,
        seeds: int | None = None,
    ) -> "Work":
        """
        Args:
            data_sha256: the identity of the series that a config reads; part of every content id.
            inert: comparisons that change nothing (see `liveness`). They are no members of the family, and their arms
                are not trained, unless another comparison needs them or `train_inert` asks for it.
            wanted: only what these comparisons need, such as those that an earlier look left undecided. The contrasts
                of a factorial share all their runs, and are trained if any of them is wanted.
            seeds: how many; by default those of the first look.
        Raises:
            ConfigError: too few seeds to reach significance; says how many would do.
        """
        looks = study.schedule(inert)
        chosen = study.seed_list(looks[0] if seeds is None else seeds)
        members = _members(study, live_hypotheses(study, () if train_inert else inert), wanted)
        runs = []
        for cell, arm in members:
            sha256 = data_sha256(study.config(cell, arm).data)  # seeds read the same series
            for seed in chosen:
                config = study.config(cell, arm, seed)
                runs.append(PlannedRun(arm, cell, seed, config, config.run_id(sha256)))
        known = [(c.name, cell) for cell in study.cell_names for c in study.comparisons_in(cell)]
        return cls(study, chosen, looks, tuple(h for h in known if h in set(inert)), tuple(runs))

    @cached_property
    def distinct(self) -> dict[str, PlannedRun]:
        """By content; the first of those that coincide stands for them."""
        distinct: dict[str, PlannedRun] = {}
        for run in self.runs:
            distinct.setdefault(run.run, run)
        return distinct


@dataclass(frozen=True)
class Room:
    """What the machines that train a plan hold, and how fast they are.

    Raises ConfigError: a number below 1.
    """

    stack_size: int | None = None  # models of a stack; by default the smaller of `fits` and the runs over the devices
    fits: int = STACK  # models of a stack that memory allows
    devices: int = 1
    epoch_seconds: Callable[[Config], float] | None = None  # device seconds of one epoch of one model

    def __post_init__(self) -> None:
        if (self.stack_size is not None and self.stack_size < 1) or self.fits < 1 or self.devices < 1:
            got = f"{self.stack_size}, {self.fits}, {self.devices}"
            raise ConfigError(f"stack size, fits and devices must be at least 1: got {got}")

    def seconds(self, stack: Sequence[PlannedRun], done: Collection[str]) -> float | None:
        """Device time of what is left of a stack, if every run goes to its last epoch."""
        if self.epoch_seconds is None:
            return None
        left = [run.config for run in stack if run.run not in done]
        return math.fsum(self.epoch_seconds(config) * config.training.max_epochs for config in left)


def make_plan(
    work: Work, recorded: Collection[str] = (), begun: Sequence[Sequence[str]] = (), room: Room | None = None
) -> Plan:
    """What is left to train, in stacks.

    Args:
        recorded: runs that are done, whichever study asked for them.
        begun: the runs of stacks that have a checkpoint. They stay together, for a checkpoint is one of its stack.
    """
    study, distinct, done, room = work.study, work.distinct, frozenset(recorded), room or Room()
    stacks = [
        tuple(distinct[run] for run in stack)
        for stack in begun
        if distinct.keys() >= set(stack) and not done >= set(stack)
    ]
    going_on = {run.run for stack in stacks for run in stack}
    left = [run for run in distinct.values() if run.run not in done | going_on]
    cells = {cell: number for number, cell in enumerate(study.cell_names)}
    seeds = {seed: number for number, seed in enumerate(work.seeds)}
    left.sort(key=lambda run: (cells[run.cell], seeds[run.seed]))  # pairs are done together
    size = room.stack_size or min(room.fits, math.ceil(max(len(left), 1) / room.devices))
    stacks += _stacks(study, left, size, room.devices if room.stack_size is None else 1)
    return Plan(
        study=study, seeds=work.seeds, looks=work.looks, family=study.family(work.inert), inert=work.inert,
        runs=work.runs, recorded=frozenset(distinct) & done,
        stacks=tuple(PlannedStack(stack, room.seconds(stack, done)) for stack in stacks),
    )  # fmt: skip


def _members(
    study: Study, hypotheses: Sequence[Hypothesis], wanted: Collection[Hypothesis] | None
) -> list[tuple[str, str]]:
    """(cell, arm) of all that these hypotheses compare."""
    known = {(c.name, cell): c for cell in study.cell_names for c in study.comparisons_in(cell)}
    members: dict[tuple[str, str], None] = {}
    for name, cell in hypotheses:
        if wanted is not None and (name, cell) not in wanted:
            continue
        if (name, cell) in known:
            comparison = known[name, cell]
            members |= dict.fromkeys([(cell, comparison.with_part), (cell, comparison.without)])
        else:
            members |= dict.fromkeys((cell, arm) for arm in study.combinations.values())
    return list(members)


def live_hypotheses(study: Study, inert: Collection[Hypothesis] = ()) -> list[Hypothesis]:
    """What is asked in each cell: comparisons that are not inert, then contrasts ("a x b"), cell by cell.

    A study with re-tuning asks each of them twice (see `Study.family`).
    """
    dead = set(inert)
    live = [
        (comparison.name, cell)
        for cell in study.cell_names
        for comparison in study.comparisons_in(cell)
        if (comparison.arm.untuned, cell) not in dead
    ]
    return live + [(contrast_name(c), cell) for cell in study.cell_names for c in study.contrasts]


def family_of(study: Study, inert: Collection[Hypothesis] = ()) -> list[Hypothesis]:
    """What is decided, of the primary metric: what is live in each cell, or, pooled, what is live in any."""
    live = live_hypotheses(study, inert)
    return list(dict.fromkeys((name, POOLED) for name, _ in live)) if study.pooled else live


def contrast_name(factors: Sequence[str]) -> str:
    """A main effect of a factorial, told from the arm, or an interaction: `a (main effect)`, `a x b`."""
    return " x ".join(factors) if len(factors) > 1 else f"{factors[0]} (main effect)"


def _stacks(study: Study, runs: list[PlannedRun], size: int, devices: int) -> list[tuple[PlannedRun, ...]]:
    """Runs of one shape in stacks of nearly equal size, none larger than `size`; the order is kept.

    More stacks than devices are made a multiple of them: three stacks would leave one of two devices idle while the
    last is trained.
    """
    shapes: dict[Hashable, list[PlannedRun]] = defaultdict(list)
    for run in runs:
        shapes[run.config.forecaster, forecaster_of(run.config).stack_key(run.config)].append(run)
    stacks: list[tuple[PlannedRun, ...]] = []
    for members in shapes.values():
        count = math.ceil(len(members) / size)
        if count > devices:
            count = min(len(members), math.ceil(count / devices) * devices)
        bounds = [len(members) * part // count for part in range(count + 1)]
        stacks += [tuple(members[start:stop]) for start, stop in pairwise(bounds)]
    return stacks


def write_configs(study: Study, folder: str | Path) -> list[Path]:
    """The resolved config of every arm of every cell as CELL/ARM.yaml, with what differs from `full` in its head.

    Each can be trained by itself: `python -m lab.train --config FILE --seeds ...`.
    """
    seeds = study.seed_list()
    paths = []
    for cell in study.cell_names:
        base = study.baseline_of(cell)
        for name, arm in study.table.items():
            config = study.config(cell, name, seeds[0])
            changes = [f"#   {key}: {a!r} -> {b!r}" for key, (a, b) in difference(base, config).items()]
            about = one_line(" ".join(arm.about.split()), 2000)  # a further line would be read as a setting
            head = [f"# Study {study.name}, cell {cell}, arm {name}: {about}", f"# Seeds: {', '.join(map(str, seeds))}"]
            head += [f"# Against {FULL}:", *changes] if changes else []
            path = Path(folder) / cell / f"{name}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join([*head, config.to_yaml()]), encoding="utf-8")
            paths.append(path)
    return paths
