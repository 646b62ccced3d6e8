"""What an ablation study is: a question, a baseline, cells, arms, seeds and the rule that decides; a validated file.

    name: parts
    question: Which parts of the network earn their keep?
    preset: h96                            # the baseline starts from published settings ...
    baseline: {training.max_epochs: 40}    # ... and dotted settings
    cells: {h96: {}, h336: {preset: h336}} # the arms are compared in each; one cell `main` if there are none
    arms: [no_film, {name: wide_clip, claim: ..., removes: ..., overrides: {signals.grad_clip: 2}}]
    factorial: [no_film, no_gate_masks]    # every combination of these, instead of or beside arms
    scientific: [model.film, signals.*]    # what arms change; no arm may change anything else
    seeds: 9                               # or a list, or auto with max_seeds and looks

Pure: nothing here reads data or trains.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from ablations.judging.verdicts import look_schedule, seeds_needed
from ablations.study.checks import check, explain
from ablations.study.pieces import (
    MATCHED,
    TUNED,
    Comparison,
    InlineArm,
    PairSpec,
    Retune,
    Section,
    beside,
    combined,
    data_of_preset,
    layered,
    no_repeats,
    retuned,
    widened,
)
from dynonet.arms import arm_named
from dynonet.config import Config
from lab.arms import FULL, Arm
from lab.errors import ConfigError, unknown
from lab.seeds import counted
from lab.settings.files import dotted
from lab.store.schema import STUDY_NAME

STUDIES = Path(__file__).parents[2] / "dynonet" / "studies"


class Study(Section):
    name: str = Field(pattern=f"^{STUDY_NAME}$")
    question: str = Field(min_length=10)
    preset: str | None = None  # the baseline's, weaker than `baseline`
    baseline: dict[str, Any] = Field(default_factory=dict)  # dotted settings
    overrides: dict[str, Any] = Field(default_factory=dict)  # of the command line: strongest; no arm may change them
    cells: dict[str, dict[str, Any]] = Field(default_factory=dict)  # dotted settings each, beside an optional `preset`
    arms: tuple[str | InlineArm, ...] = ()
    pairs: tuple[PairSpec, ...] = ()
    factorial: tuple[str | InlineArm, ...] = ()  # factors, each by the arm that switches it off
    scientific: tuple[str, ...] = ()  # settings that arms change, as dotted keys or patterns such as signals.*
    nuisance: tuple[str, ...] = ()  # settings whose best values may depend on the arm; `retuned` searches them
    fixed: tuple[str, ...] = ()  # settings that stay as they are, and whose choice the findings are conditional on
    seeds: int | tuple[int, ...] | Literal["auto"] = 9
    max_seeds: int = Field(16, ge=2, le=60)  # seeds: auto
    looks: int = Field(1, ge=1, le=10)  # seeds: auto; alpha is shared among them
    metric: Literal["test_mse"] = "test_mse"  # the primary one, which decides
    descriptive: tuple[Literal["test_mae", "val_mse", "val_mae"], ...] = ("test_mae", "val_mse")
    alpha: float = Field(0.05, gt=0, lt=1)
    margin_percent: float = Field(1.0, gt=0, lt=100)  # of the baseline's mean: smaller effects don't matter in practice
    retune: Retune | None = None
    # Arm -> cell -> worker_hidden: beside each of these arms, one of that width (see capacity.match_arms).
    matched: dict[str, dict[str, int]] = Field(default_factory=dict)
    # Arm -> cell -> dotted nuisance settings, what the searches of `retune` came to; empty until all are through.
    tuned: dict[str, dict[str, dict[str, Any]]] = Field(default_factory=dict)

    # Reading --------------------------------------------------------------------------------------------------------

    @classmethod
    def load(cls, name: str | Path) -> "Study":
        """A packaged study by name, or the file at a path. Raises ConfigError as `create` does."""
        path = Path(name)
        if path.suffix not in (".yaml", ".yml"):
            if str(name) not in study_names():
                raise unknown("study", str(name), study_names())
            path = STUDIES / f"{name}.yaml"
        return cls.create(Config.read_yaml(path))

    @classmethod
    def create(cls, content: Mapping[str, Any]) -> "Study":
        """Raises ConfigError, with the nearest name where there is one, for anything that cannot be run."""
        try:
            study = cls.model_validate(content)
        except ValidationError as error:
            raise ConfigError(explain(error, content, cls.model_fields)) from None
        try:
            check(study)
        except ConfigError as error:
            raise ConfigError(f"study '{study.name}': {error}") from None
        return study

    def with_settings(
        self,
        config: str | Path | None = None,
        overrides: Iterable[str] = (),
        arms: Sequence[str] | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> "Study":
        """The study over the baseline of another file, with `section.key=value` overrides, or other arms.

        Args:
            config: settings such as a search's best.yaml; they replace preset and baseline. Cells still apply, but of
                their presets only what says which data is read and how far ahead.
            arms: names of registered arms, or of the study's own.
            changes: other fields of the study, such as seeds, max_seeds, looks, alpha.
        Raises:
            ConfigError: as `create`.
        """
        content = {**self.model_dump(exclude_defaults=True), **(changes or {})}
        if config is not None:
            content |= {"baseline": dotted(Config.read_yaml(config)), "preset": None}
            content["cells"] = {cell: data_of_preset(settings) for cell, settings in self.cells.items()}
        content["overrides"] = {**self.overrides, **Config.parse_overrides(overrides)}
        if arms is not None:
            own = {arm.name: arm for arm in self.arms if isinstance(arm, InlineArm)}
            content["arms"] = tuple(own[name].model_dump() if name in own else name for name in arms)
            content["matched"] = {name: widths for name, widths in self.matched.items() if name in arms}
            content["pairs"] = tuple(pair.model_dump() for pair in self.pairs if pair.arm in arms)
            content["factorial"] = ()
        return Study.create(content)

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The three kinds of settings that the study names."""
        return {"scientific": self.scientific, "nuisance": self.nuisance, "fixed": self.fixed}

    # What it consists of --------------------------------------------------------------------------------------------

    @cached_property
    def cell_names(self) -> tuple[str, ...]:
        return tuple(self.cells) or ("main",)

    @cached_property
    def listed(self) -> tuple[Arm, ...]:
        """The arms as listed, each with its baseline arm, then those of matched capacity, then the re-tuned ones.

        Raises ConfigError for unknown or repeated names.
        """
        arms = [_arm_of(arm) for arm in self.arms]
        no_repeats("arm", [arm.name for arm in arms])
        against = {pair.arm: pair.against for pair in self.pairs}
        for name in against:
            if name not in {arm.name for arm in arms}:
                raise unknown("arm in pairs", name, [arm.name for arm in arms])
        arms = [beside(arm, against[arm.name]) if arm.name in against else arm for arm in arms]
        for name in self.matched:
            if name not in {arm.name for arm in arms}:
                raise unknown("arm in matched", name, [arm.name for arm in arms])
        arms += [widened(arm) for arm in arms if arm.name in self.matched]
        known = {arm.name: arm for arm in arms}
        for name in self.tuned:
            if name not in known:
                known[name] = arm_named(name)
        return (*arms, *(retuned(known[name]) for name in self.tuned))

    @cached_property
    def factors(self) -> tuple[Arm, ...]:
        factors = [_arm_of(arm) for arm in self.factorial]
        no_repeats("factor", [factor.name for factor in factors])
        return tuple(factors)

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """What is compared with what, in the order of the arms. Contrasts of a factorial are not among them."""
        compared = [arm for arm in self.listed if arm.compared]
        paired = {pair.arm for pair in self.pairs}
        return tuple(
            Comparison(arm, arm.against, arm.name)
            if arm.adds
            else Comparison(arm, arm.name, arm.against, arm.name.removesuffix(TUNED) in paired)
            for arm in compared
        )

    def comparisons_in(self, cell: str) -> tuple[Comparison, ...]:
        """Those of a cell: an arm of matched width is none where no other width came closer."""
        return tuple(
            comparison
            for comparison in self.comparisons
            if not (plain := comparison.name.removesuffix(TUNED)).endswith(MATCHED)
            or cell in self.matched[plain.removesuffix(MATCHED)]
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
                arm = own[name] if name in own else arm_named(name)
                if arm.compared:
                    enter(arm.against, (*on_the_way, name))
                arms[name] = arm

        for name in own:
            enter(name)
        by_name = {factor.name: factor for factor in self.factors}
        for chosen, name in self.combinations.items():
            arms.setdefault(name, combined([by_name[factor] for factor in chosen], name) if chosen else arm_named(FULL))
        return arms

    def config(self, cell: str, arm: str = FULL, seed: int | None = None) -> Config:
        """The config of an arm in a cell. Raises ConfigError for unknown names, and as `Arm.apply` does."""
        if cell not in self.cell_names:
            raise unknown("cell", cell, self.cell_names)
        if arm not in self.table and arm != FULL:
            raise unknown("arm", arm, self.table)
        base = self.baseline_of(cell)
        if arm.endswith(TUNED):
            plain = arm.removesuffix(TUNED)
            if cell not in self.tuned[plain]:
                raise ConfigError(f"arm '{arm}': no search has chosen its settings in cell '{cell}'")
            config = self.config(cell, plain).override(self.tuned[plain][cell])
            return config if seed is None else config.override({"training.seed": seed})
        config = base if arm == FULL else self.table[arm].apply(base)
        width = self.matched.get(arm.removesuffix(MATCHED), {}).get(cell) if arm.endswith(MATCHED) else None
        if width is not None:
            config = config.override({"model.worker_hidden": width})
        return config if seed is None else config.override({"training.seed": seed})

    def baseline_of(self, cell: str) -> Config:
        """What the arms of a cell are compared with, but for the seed."""
        preset = {} if self.preset is None else {"preset": self.preset}
        return Config.create(layered(preset, self.baseline, self.cells.get(cell, {}), self.overrides))

    # Its size -------------------------------------------------------------------------------------------------------

    def family(self, inert: Collection[tuple[str, str]] = ()) -> int:
        """m, the number of hypotheses of the primary metric: live comparisons and contrasts, over all cells.

        `inert` holds (comparison, cell) pairs that were found inert, so that nothing is asked of them.
        """
        live = sum(
            (comparison.name, cell) not in set(inert)
            for cell in self.cell_names
            for comparison in self.comparisons_in(cell)
            if not comparison.name.endswith(TUNED)
        )
        live *= 1 if self.retune is None else 2  # with frozen settings, and with re-tuned ones
        return live + len(self.contrasts) * len(self.cell_names)

    def schedule(self, inert: Collection[tuple[str, str]] = ()) -> tuple[int, ...]:
        """The numbers of seeds at which the study is looked at: one unless seeds are `auto`.

        Raises:
            ConfigError: so few seeds that no arm could ever be decided; says how many could.
        """
        family = max(self.family(inert), 1)
        looks = self.looks if self.seeds == "auto" else 1
        most = self.max_seeds if self.seeds == "auto" else len(self.seed_list())
        try:
            needed = seeds_needed(self.alpha, family, looks)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        if most < needed:
            over = f" shared among {looks} looks" if looks > 1 else ""
            raise ConfigError(
                f"{most} seeds cannot reach significance: the smallest exact p of {most} pairs is {2 / 2**most:.2g}, "
                f"and one of {family} comparisons needs at most {self.alpha / looks / family:.2g} "
                f"(alpha {self.alpha:g}{over}, Holm); take at least {needed} seeds, or fewer arms or cells"
            )
        try:
            return look_schedule(needed, most, looks)
        except ValueError as error:
            raise ConfigError(str(error)) from None

    def seed_list(self, count: int | None = None) -> tuple[int, ...]:
        """The first `count` replicate seeds (all by default): 1, 2, ..., or those listed."""
        if isinstance(self.seeds, tuple):
            every = self.seeds
        else:
            every = counted(self.max_seeds if self.seeds == "auto" else self.seeds)
        return every[:count]


def study_names() -> list[str]:
    return sorted(path.stem for path in STUDIES.glob("*.yaml"))


def _arm_of(arm: str | InlineArm) -> Arm:
    return arm_named(arm) if isinstance(arm, str) else arm.arm()
