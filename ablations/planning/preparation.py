"""Before an ablation's compute is spent: data, matched capacity, liveness, the plan and what it will cost."""

import math
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import Any

from ablations.planning.call import StudyCall
from ablations.planning.capacity import Match, match_arms
from ablations.planning.liveness import check_liveness, dead_factors
from ablations.planning.plan import STACK, Hypothesis, Plan, Room, Work, make_plan
from ablations.study.models import MODELS
from ablations.study.study import Study
from lab.console.printing import say
from lab.errors import ConfigError, DataError
from lab.machines.card.share import MEMORY_SHARE
from lab.machines.session import RaySession
from lab.registry import forecaster_of
from lab.series import Series, load_series, window_starts
from lab.settings.config import Config
from lab.settings.data import DataConfig
from lab.settings.sizes import check_device, too_large
from lab.store.tables import Results
from lab.training.cost import Cost, Memory
from lab.training.liveness import Liveness
from lab.training.readings import unread
from tune.costs import measure_shapes, need_of


class Preparation:
    """A study with its data, on the machine or cluster that will train it.

    Attributes:
        study: with arms of matched width, where they were asked for.
        series, data: of each cell, and its identity.
        matches: what capacity matching found, by (arm, cell).
    Raises:
        ConfigError, DataError: a study that cannot be run.
    """

    def __init__(self, study: Study, call: StudyCall):
        self.call = call
        self.series: dict[str, Series] = {cell: _series(study, cell) for cell in study.cell_names}
        self.matches: dict[Hypothesis, Match] = {}
        if call.match_capacity:
            channels = {cell: series.num_channels for cell, series in self.series.items()}
            study, self.matches = match_arms(study, channels)
        self.study = study
        self.data = {cell: series.identity for cell, series in self.series.items()}
        self._identities = {_source(study.baseline_of(cell).data): known for cell, known in self.data.items()}
        self._series = {series.identity: series for series in self.series.values()}
        self._check_cells()
        self._costs: dict[Hashable, tuple[Cost, Memory, int]] = {}
        self._measured: dict[Hashable, tuple[int, int]] = {}  # windows of what was
        self._session: RaySession | None = None
        for cell in study.cell_names:
            for arm in study.table:
                self._check_windows(study.config(cell, arm), cell, arm)

    def _check_cells(self) -> None:
        """Raises ConfigError where a study pools two cells that come to the same runs: one would count twice."""
        known: dict[str, str] = {}
        for cell, identity in self.data.items() if self.study.pooled else ():
            run = self.study.baseline_of(cell).run_id(identity)
            if (other := known.setdefault(run, cell)) != cell:
                raise ConfigError(
                    f"cells '{other}' and '{cell}' are the same, said in other words, and would count twice in what is "
                    "pooled; leave one of them out"
                )

    def _check_windows(self, config: Config, cell: str, arm: str) -> None:
        """Raises DataError for a split without windows, ConfigError for an arm that reads another series."""
        if _source(config.data) not in self._identities:
            raise ConfigError(f"arm '{arm}' (cell '{cell}') reads another series than its cell; make it a cell")
        if reason := too_large(config, self.series[cell].num_channels):
            raise ConfigError(f"arm '{arm}' (cell '{cell}'): {reason}")
        baseline = self.study.baseline_of(cell)
        for role in dict.fromkeys((*forecaster_of(config).learners(config).values(), "validation", "test")):
            try:
                windows = len(window_starts(self.series[cell], config.data, role))
            except DataError as error:
                raise DataError(f"arm '{arm}' (cell '{cell}'): {error}") from None
            if role in ("validation", "test"):
                wanted = len(window_starts(self.series[cell], baseline.data, role))
                if windows != wanted:
                    raise ConfigError(
                        f"arm '{arm}' (cell '{cell}') would be evaluated on {windows} {role} windows and the others on "
                        f"{wanted}: their errors do not compare; make it a cell"
                    )

    def identity_of(self, data: DataConfig) -> str:
        """The identity of the series that a config of the study reads."""
        return self._identities[_source(data)]

    def data_notes(self) -> list[str]:
        """What is to be known of the data, a line each."""
        return [f"note: data of cell {cell}: {note}" for cell, series in self.series.items() for note in series.notes]

    @property
    def session(self) -> RaySession:
        """Ray, started when it is first asked for."""
        if self._session is None:
            say(self.call.resources.beginning)
            self._session = RaySession(self.call.resources, self.series.values(), self.study.forecasters)
            if self._session.share:
                say(self._session.share)
        return self._session

    def liveness(self) -> dict[Hypothesis, str]:
        """Comparisons that a few steps show to change nothing, with the reason; each is printed."""
        if self.study.kind == MODELS:  # no model is another one without a part
            return {}
        say("checking that every arm changes what it should ...")
        for dead in dead_factors(self.study, self.series):
            raise ConfigError(
                f"factorial: {dead.arm} changes nothing against {dead.against} (cell '{dead.cell}'): "
                f"{dead.note or 'the reason is not known'}; leave that factor out"
            )
        found = check_liveness(self.study, self.series)
        inert = [liveness for liveness in found if liveness.inert]
        alike: dict[tuple[str, str, str], list[Liveness]] = defaultdict(list)
        for liveness in inert:
            alike[liveness.arm, liveness.against, liveness.note].append(liveness)
        for first, *rest in alike.values():
            say(f"  {first.text()}" + (f"; so it is in {', '.join(each.cell for each in rest)}" if rest else ""))
        if found:
            say(f"  {len(found) - len(inert)} of {len(found)} comparisons are alive")
        if self.study.factors:
            say(f"  all {len(self.study.factors)} factors are alive")
        return {(live.arm, live.cell): live.note or "the reason is not known" for live in inert}

    def work(
        self,
        study: Study,
        inert: Collection[Hypothesis],
        *,
        train_inert: bool = False,
        seeds: int | None = None,
        wanted: Collection[Hypothesis] | None = None,
    ) -> Work:
        """What the study asks for at this number of seeds (see `Work.of`), on the series of its cells."""
        return Work.of(
            study, self.identity_of, inert=inert, train_inert=train_inert, seeds=seeds, wanted=wanted
        )  # fmt: skip

    def plan(self, results: Results, work: Work, begun: Sequence[Sequence[str]] = ()) -> Plan:
        """What is left to train of it, each shape measured first."""
        ids = list(work.distinct)
        recorded = set(results.done(ids)) - set(unread(results, ids))
        draft = make_plan(work, recorded, begun, Room(self.call.stack_size))
        if not draft.stacks:
            return draft
        shapes = self._measure([run.config for stack in draft.stacks for run in stack.runs])
        costs = [self._costs[shape] for shape in shapes]

        def planned() -> Plan:
            room = Room(self.call.stack_size, self._fits(costs), self.session.concurrent, self._epoch_seconds)
            return make_plan(work, recorded, begun, room)

        if self.session.auto:  # by the stacks that a card of its own would give each
            whole = [(self._costs[self._shape(s.runs[0].config)], len(s.runs)) for s in planned().stacks]
            self.session.settle([need_of(*cost, models) for cost, models in whole])
            say(self.session.share)
        return planned()

    def _shape(self, config: Config) -> Hashable:
        """What a step costs hangs on: wherever its origin lies, a shape is measured once."""
        there = config.data.model_copy(update={"origin": None, "origins_back": 0})
        return config.forecaster, forecaster_of(config).stack_key(config.model_copy(update={"data": there}))

    def _windows(self, config: Config) -> tuple[int, int]:
        """That it is trained on in an epoch, whoever learns from them, and that it is validated on."""
        series = self._series[self.identity_of(config.data)]
        roles = forecaster_of(config).learners(config).values()
        trained = sum(len(window_starts(series, config.data, role)) for role in roles)
        return trained, len(window_starts(series, config.data, "validation"))

    def _measure(self, configs: Iterable[Config]) -> list[Hashable]:
        """The shapes of these configs, each measured once: on one of those whose steps cost most, where it has most
        windows."""
        shapes: dict[Hashable, tuple[Any, Config]] = {}
        for config in {_dearest(each): each for each in configs}.values():
            shape, cost = self._shape(config), (forecaster_of(config).dearness(config), self._windows(config))
            if shape not in shapes or cost > shapes[shape][0]:
                shapes[shape] = cost, config
        new = {shape: config for shape, (_, config) in shapes.items() if shape not in self._costs}
        if new:
            session = self.session
            check_device(new.values(), "cuda" if session.gpus else "cpu")
            self._costs |= measure_shapes(session, new, lambda config: self.identity_of(config.data))
            self._measured |= {shape: self._windows(config) for shape, config in new.items()}
        return list(shapes)

    def _epoch_seconds(self, config: Config) -> float:
        """Of one model, from the windows at its origin and at the one that was measured."""
        shape = self._shape(config)
        cost, (trained, validated) = self._costs[shape][0], self._measured[shape]
        here = self._windows(config)
        return (cost.epoch - cost.validation) * here[0] / trained + cost.validation * here[1] / validated

    def _fits(self, costs: Iterable[tuple[Cost, Memory, int]]) -> int:
        """Models of a stack that the memory of a trial holds. On a CPU larger stacks than STACK save no time."""
        most: list[int] = []
        for _, memory, of_device in costs:
            room = self.session.gpus * of_device if self.session.gpus else self.session.memory_per_trial
            if memory.model and room:
                most.append(math.floor((MEMORY_SHARE * room - memory.base) / memory.model))
        fits = max(1, min(most, default=STACK))
        return fits if self.session.gpus else min(fits, STACK)


def _dearest(config: Config) -> Hashable:
    """What may tell the time of a step of two configs apart."""
    forecaster = forecaster_of(config)
    return config.forecaster, forecaster.stack_key(config), forecaster.dearness(config)


def _series(study: Study, cell: str) -> Series:
    """Raises DataError, with the cell where there are several."""
    try:
        return load_series(study.baseline_of(cell).data)
    except DataError as error:
        asked = ", which `origins` asks for" if study.places[cell].listed != cell else ""
        raise DataError(f"cell '{cell}'{asked}: {error}" if len(study.cell_names) > 1 else str(error)) from None


def _source(data: DataConfig) -> tuple[Any, ...]:
    """What says which series is read, and not how."""
    return tuple(data.source().values())
