"""What an ablation study is: a question, a baseline, cells, arms, seeds and the rule that decides; a validated file.

    name: parts
    question: Which parts of the network earn their keep?
    preset: h96                            # the baseline starts from published settings ...
    baseline: {training.max_epochs: 40}    # ... and dotted settings
    cells: {h96: {}, h336: {preset: h336}} # the arms are compared in each; one cell `main` if there are none
    arms: [no_mixer, {name: wider, claim: ..., removes: ..., overrides: {model.hidden: 64}}]
    factorial: [no_mixer, no_dropout]      # every combination of these, instead of or beside arms
    scientific: [model.depth, model.*]     # what arms change; no arm may change anything else
    seeds: 9                               # or a list, or auto with max_seeds and looks

Of kind `models` its arms are other forecasters (see models.py).

Pure: nothing here reads data or trains.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from functools import cached_property
from itertools import combinations
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from ablations.judging.verdicts import look_schedule, seeds_needed
from ablations.study.models import MODELS, ModelArm
from ablations.study.pieces import (
    Comparison,
    InlineArm,
    PairSpec,
    Retune,
    Section,
    beside,
    combined,
    layered,
    no_repeats,
    retuned,
    widened,
)
from ablations.study.places import WANTED, Origins, Place, asks_several, origins_of, places
from lab.arms import BASELINE, FULL, Arm
from lab.errors import ConfigError, unknown
from lab.forecaster import Forecaster
from lab.registry import DEFAULT, forecaster
from lab.seeds import counted
from lab.settings.config import Config
from lab.settings.sources import GENERATED
from lab.store.schema import STUDY_NAME


class Study(Section):
    model_config = ConfigDict(ignored_types=(cached_property,))

    name: str = Field(pattern=f"^{STUDY_NAME}$")
    question: str = Field(min_length=10)
    kind: Literal["parts", "models"] = "parts"  # what its arms are
    model: str = DEFAULT  # whose arms and settings these are, or the baseline's: a name of lab.registry
    preset: str | None = None  # the baseline's, weaker than `baseline`
    baseline: dict[str, Any] = Field(default_factory=dict)  # dotted settings
    overrides: dict[str, Any] = Field(default_factory=dict)  # of the command line: strongest; no arm may change them
    # Dotted settings each, beside an optional `preset`, and `origins` where its series has others than the study.
    cells: dict[str, dict[str, Any]] = Field(default_factory=dict)
    # Where training ends: so many rolling origins of each series, the data's own the last, or the rows themselves.
    origins: Origins = 1
    # Whether what is decided is each effect over all cells, and the cells are descriptive. None: no, or, with more than
    # one origin, yes.
    pooled: bool | None = None
    models: dict[str, ModelArm] = Field(default_factory=dict)  # of kind `models`: the arms
    arms: tuple[str | InlineArm, ...] = ()
    pairs: tuple[PairSpec, ...] = ()
    factorial: tuple[str | InlineArm, ...] = ()  # factors, each by the arm that switches it off
    scientific: tuple[str, ...] = ()  # settings that arms change, as dotted keys or patterns such as model.*
    nuisance: tuple[str, ...] = ()  # settings whose best values may depend on the arm; `retuned` searches them
    fixed: tuple[str, ...] = ()  # settings that stay as they are, and whose choice the findings are conditional on
    seeds: int | tuple[int, ...] | Literal["auto"] = 9
    max_seeds: int = Field(16, ge=2, le=60)  # seeds: auto
    looks: int = Field(1, ge=1, le=10)  # seeds: auto; alpha is shared among them
    metric: Literal["test_mse"] = "test_mse"  # the primary one, which decides
    descriptive: tuple[Literal["test_mae", "val_mse", "val_mae"], ...] = ("test_mae", "val_mse")
    alpha: float = Field(0.05, gt=0, lt=1)
    # How p-values are adjusted for all comparisons: step by step (Holm), or jointly (judging/max_t.py), which asks more
    # of the noise and fewer seeds. Equivalence is Holm's either way.
    correction: Literal["holm", "max_t"] = "holm"
    margin_percent: float = Field(1.0, gt=0, lt=100)  # of the baseline's mean: smaller effects don't matter in practice
    retune: Retune | None = None
    # Arm -> cell -> width: beside each of these arms, one of that width (see capacity.match_arms).
    matched: dict[str, dict[str, int]] = Field(default_factory=dict)
    # Arm -> cell -> dotted nuisance settings, what the searches of `retune` came to; empty until all are through.
    tuned: dict[str, dict[str, dict[str, Any]]] = Field(default_factory=dict)

    @field_validator("origins", mode="before")
    @classmethod
    def _origins(cls, origins: Any) -> Any:
        try:
            return origins_of(origins)
        except ConfigError:
            raise ValueError(WANTED) from None  # what was got, `explain` says

    @model_validator(mode="before")
    @classmethod
    def _pools(cls, content: Any) -> Any:
        unsaid = isinstance(content, Mapping) and content.get("pooled") is None
        return {**content, "pooled": True} if unsaid and asks_several(content) else content

    @property
    def asked(self) -> str:
        """The question, with the data that it is asked of: settings may name other than its file was written for."""
        data = [self.baseline_of(cell).data for cell in self.cell_names]
        names, horizons = dict.fromkeys(each.name for each in data), sorted({each.pred_len for each in data})
        return f"{self.question} (on {', '.join(names)}; H={', '.join(map(str, horizons))})"

    # What it consists of --------------------------------------------------------------------------------------------

    @cached_property
    def forecaster(self) -> Forecaster:
        """Whose arms are compared. Raises ConfigError for one that there is not."""
        return forecaster(self.model)

    @property
    def forecasters(self) -> tuple[str, ...]:
        """Names of all that are trained, the baseline's first."""
        return tuple(dict.fromkeys((self.model, *(entry.model for entry in self.models.values()))))

    @cached_property
    def registered(self) -> Mapping[str, Arm]:
        """The forecaster's arms by name, and the baseline, which every forecaster has."""
        return {FULL: BASELINE, **self.forecaster.arms}

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The three kinds of settings that the study names."""
        return {"scientific": self.scientific, "nuisance": self.nuisance, "fixed": self.fixed}

    @cached_property
    def places(self) -> Mapping[str, Place]:
        """Every cell by its name, each listed one at each of its origins."""
        return {place.name: place for place in places(self.cells, self.origins)}

    @cached_property
    def cell_names(self) -> tuple[str, ...]:
        return tuple(self.places)

    @cached_property
    def series_of(self) -> Mapping[str, str]:
        """Cell -> the series that it is of, as it is called: what effects are pooled over.

        Another horizon, another origin or fewer channels make no other series; by the name of the data where that tells
        them apart, else by the cell's.
        """
        read = {cell: self.baseline_of(cell).data for cell in self.cell_names}
        which = {
            cell: (data.dataset, data.path, data.synthetic if data.dataset in GENERATED else None)
            for cell, data in read.items()
        }
        called: dict[str, set[Any]] = defaultdict(set)
        for cell, source in which.items():
            called[read[cell].name].add(source)
        first: dict[Any, str] = {}
        for cell, source in which.items():
            name = read[cell].name
            first.setdefault(source, name if len(called[name]) == 1 else self.places[cell].listed)
        return {cell: first[source] for cell, source in which.items()}

    @cached_property
    def listed(self) -> tuple[Arm, ...]:
        """The arms as listed, each with its baseline arm, then those of matched capacity, then the re-tuned ones.

        Raises ConfigError for unknown or repeated names.
        """
        arms = [self._arm_of(arm) for arm in self.arms]
        arms += [entry.arm(name, self.forecaster) for name, entry in self.models.items()]
        no_repeats("arm", [arm.name for arm in arms])
        against = {pair.arm: pair.against for pair in self.pairs}
        for name in against:
            if name not in {arm.name for arm in arms}:
                raise unknown("arm in pairs", name, [arm.name for arm in arms])
        arms = [beside(arm, against[arm.name]) if arm.name in against else arm for arm in arms]
        for name in self.matched:
            if name not in {arm.name for arm in arms}:
                raise unknown("arm in matched", name, [arm.name for arm in arms])
        arms += [widened(arm, self.forecaster) for arm in arms if arm.name in self.matched]
        known = {arm.name: arm for arm in arms}
        for name in self.tuned:
            if name not in known:
                known[name] = self._registered(name)
        return (*arms, *(retuned(known[name]) for name in self.tuned))

    @cached_property
    def factors(self) -> tuple[Arm, ...]:
        factors = [self._arm_of(arm) for arm in self.factorial]
        no_repeats("factor", [factor.name for factor in factors])
        return tuple(factors)

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """What is compared with what, in the order of the arms. Contrasts of a factorial are not among them."""
        paired = {pair.arm for pair in self.pairs} | self.models.keys()
        return tuple(
            Comparison(arm, arm.against, arm.name)
            if arm.adds
            else Comparison(arm, arm.name, arm.against, arm.untuned in paired)
            for arm in self.listed
            if arm.compared
        )

    def comparisons_in(self, cell: str) -> tuple[Comparison, ...]:
        """Those of a cell: an arm of matched width is none where no other width came closer."""
        return tuple(
            comparison
            for comparison in self.comparisons
            if not comparison.arm.variant.matched or cell in self.matched[comparison.arm.plain]
        )

    @cached_property
    def combinations(self) -> dict[tuple[str, ...], str]:
        """Every combination of factors that are off -> the arm that has them so; none off is `full`."""
        names = [factor.name for factor in self.factors]
        sets = [chosen for size in range(len(names) + 1) for chosen in combinations(names, size)] if names else []
        return {chosen: "+".join(chosen) or FULL for chosen in sets}

    @cached_property
    def contrasts(self) -> tuple[tuple[str, ...], ...]:
        """Main effects and interactions, by the factors in them."""
        return tuple(chosen for chosen in self.combinations if chosen)

    @cached_property
    def table(self) -> dict[str, Arm]:
        """Every arm that is trained, by name: those listed, their baseline arms, and combinations of factors."""
        own = {arm.name: arm for arm in self.listed}
        arms: dict[str, Arm] = {}

        def enter(name: str, on_the_way: tuple[str, ...] = ()) -> None:
            if name in on_the_way:
                raise ConfigError(f"arms are compared in a circle: {' against '.join((*on_the_way, name))}")
            if name not in arms:
                arm = own[name] if name in own else self._registered(name)
                if arm.compared:
                    enter(arm.against, (*on_the_way, name))
                arms[name] = arm

        for name in own:
            enter(name)
        by_name = {factor.name: factor for factor in self.factors}
        for chosen, name in self.combinations.items():
            factors = [by_name[factor] for factor in chosen]
            arms.setdefault(name, combined(factors, name) if chosen else self._registered(FULL))
        return arms

    def config(self, cell: str, arm: str = FULL, seed: int | None = None) -> Config:
        """The config of an arm in a cell. Raises ConfigError for unknown names, and as `Arm.apply` does."""
        if cell not in self.cell_names:
            raise unknown("cell", cell, self.cell_names)
        if arm not in self.table and arm != FULL:
            raise unknown("arm", arm, self.table)
        if (cell, arm) not in self._configs:
            self._configs[cell, arm] = self._config(cell, arm)
        config = self._configs[cell, arm]
        return config if seed is None else config.with_seed(seed)

    @cached_property
    def _configs(self) -> dict[tuple[str, str], Config]:
        """Those that were asked for, but for their seeds: thousands of runs share them."""
        return {}

    def _config(self, cell: str, name: str) -> Config:
        if name == FULL:
            return self.baseline_of(cell)
        arm = self.table[name]
        if arm.variant.tuned:
            settings = self.tuned[arm.untuned].get(cell)
            if settings is None:
                raise ConfigError(f"arm '{name}': no search has chosen its settings in cell '{cell}'")
            return self.config(cell, arm.untuned).override(settings)
        if (entry := self.models.get(name)) is not None:
            return entry.config(self.baseline_of(cell), self.places[cell].settings, self.overrides)
        config = arm.apply(self.baseline_of(cell))
        width = self.matched[arm.plain].get(cell) if arm.variant.matched else None
        return config if width is None else config.override({str(self.forecaster.width): width})

    def baseline_of(self, cell: str) -> Config:
        """What the arms of a cell are compared with, but for the seed."""
        return self._baselines[cell]

    @cached_property
    def _baselines(self) -> dict[str, Config]:
        config = self.forecaster.config
        preset = {} if self.preset is None else {"preset": self.preset}
        layers = {
            cell: layered(config, preset, self.baseline, place.settings, self.overrides)
            for cell, place in self.places.items()
        }
        return {cell: config.create(settings) for cell, settings in layers.items()}

    # Its size -------------------------------------------------------------------------------------------------------

    def family(self, inert: Collection[tuple[str, str]] = ()) -> int:
        """m, the number of hypotheses of the primary metric: live comparisons and contrasts, over all cells; of a
        pooled study those that are live in some cell.

        `inert` holds (comparison, cell) pairs that were found inert, so that nothing is asked of them.
        """
        dead = set(inert)
        found = [
            comparison.name
            for cell in self.cell_names
            for comparison in self.comparisons_in(cell)
            if not comparison.arm.variant.tuned and (comparison.name, cell) not in dead
        ]
        live = len(set(found) if self.pooled else found)
        live *= 1 if self.retune is None else 2  # with frozen settings, and with re-tuned ones
        return live + len(self.contrasts) * (1 if self.pooled else len(self.cell_names))

    def schedule(self, inert: Collection[tuple[str, str]] = ()) -> tuple[int, ...]:
        """The numbers of seeds at which the study is looked at: one unless seeds are `auto`.

        Raises:
            ConfigError: so few seeds that no arm could ever be decided; says how many could.
        """
        joint = self.correction == "max_t"
        if joint and self.seeds == "auto":
            raise ConfigError(
                "correction 'max_t' judges all arms at the same seeds, once; got seeds 'auto', which adds seeds to "
                "some of them: give a number of seeds, or take correction 'holm'"
            )
        family = 1 if joint else max(self.family(inert), 1)
        looks = self.looks if self.seeds == "auto" else 1
        most = self.max_seeds if self.seeds == "auto" else len(self.seed_list())
        try:
            needed = seeds_needed(self.alpha, family, looks)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        if most < needed and self.kind != MODELS:  # a league is a table first; what no pair can decide it says
            over = f" shared among {looks} looks" if looks > 1 else ""
            raise ConfigError(
                f"{most} seeds cannot reach significance: the smallest exact p of {most} pairs is {2 / 2**most:.2g}, "
                f"and one of {family} comparisons needs at most {self.alpha / looks / family:.2g} "
                f"(alpha {self.alpha:g}{over}, {'max-t' if joint else 'Holm'}); take at least {needed} seeds, or fewer "
                f"{'arms' if self.pooled else 'arms or cells'}"
            )
        try:
            return look_schedule(min(needed, most), most, looks)
        except ValueError as error:
            raise ConfigError(str(error)) from None

    def seed_list(self, count: int | None = None) -> tuple[int, ...]:
        """The first `count` replicate seeds (all by default): 1, 2, ..., or those listed."""
        if isinstance(self.seeds, tuple):
            every = self.seeds
        else:
            every = counted(self.max_seeds if self.seeds == "auto" else self.seeds)
        return every[:count]

    def _registered(self, name: str) -> Arm:
        if name not in self.registered:
            raise unknown("arm", name, self.registered)
        return self.registered[name]

    def _arm_of(self, arm: str | InlineArm) -> Arm:
        return self._registered(arm) if isinstance(arm, str) else arm.arm(self.registered)
