"""What makes a study one that can be run, checked before anything is computed. Every refusal says the way out."""

import re
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from itertools import combinations
from typing import Any

from pydantic import ValidationError

from ablations.study.models import MODELS
from ablations.study.pieces import Retune
from ablations.study.places import BACK, ORIGINS, ROW, several
from ablations.study.study import Study
from lab.arms import FULL, Arm, difference
from lab.errors import ConfigError, check_number, nearest
from lab.registry import forecaster_of
from lab.seeds import meeting
from lab.settings.config import Config
from lab.settings.files import dotted

_CELL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
MOST_SEEDS = 60  # that the sign-flip test takes


def check(study: Study) -> None:
    """Raises ConfigError unless every arm of every cell is a valid config that changes what it says, and only that.

    Seeds are not counted here: how many are needed depends on which arms are inert (see `Study.schedule`).
    """
    _check_kind(study)
    if not study.comparisons and not study.contrasts:
        raise ConfigError("there is nothing to compare; name arms, or factors of a factorial")
    if len(study.factors) == 1:
        raise ConfigError("a factorial needs at least two factors; list a single one among arms")
    for name in (*study.cells, *study.places):  # places: raises for origins that cannot be
        if not _CELL.fullmatch(name):
            raise ConfigError(f"cell name {name!r}: letters, digits, '.', '_' or '-' are allowed")
    if study.kind == MODELS:
        _check_models(study)
    _check_groups(study)
    _check_seeds(study)
    _check_origins(study)
    bases = {cell: study.baseline_of(cell) for cell in study.cell_names}
    for one, other in combinations(bases, 2):
        if not difference(bases[one], bases[other]) and bases[one].data == bases[other].data:
            pair = [study.places[cell].listed for cell in (one, other)]
            raise ConfigError(f"cells '{pair[0]}' and '{pair[1]}' are the same")
    for cell, base in bases.items():
        try:
            _check_cell(study, cell, base)
        except ConfigError as error:
            raise ConfigError(f"cell '{cell}': {error}" if study.cells or len(bases) > 1 else str(error)) from None
    if study.retune is not None:
        _check_retune(study)


def matching(study: Study, patterns: Iterable[str]) -> list[str]:
    """The settings that any of these dotted keys or patterns names."""
    return [key for key in study.forecaster.config.names() if any(fnmatchcase(key, pattern) for pattern in patterns)]


def explain(error: ValidationError, content: Mapping[str, Any], fields: Collection[str]) -> str:
    """One line for all that pydantic found wrong with the content of a study."""
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(f"unknown key '{where}'{nearest(str(item['loc'][-1]), fields)}")
            continue
        got = "" if isinstance(item["input"], dict) else f"got {item['input']!r}; "
        lines.append(f"{where}: {got}{item['msg'].removeprefix('Value error, ')}")
    return f"study '{content.get('name', '')}': " + "; ".join(lines)


def _check_kind(study: Study) -> None:
    """Raises ConfigError unless the study is one of parts, or one of models and nothing else."""
    if (study.kind == MODELS) != bool(study.models):
        got = "kind is models, and `models` names none" if study.kind == MODELS else "`models` are named"
        raise ConfigError(f"{got}: a league has both (kind: models, and models: NAME: {{model: ...}})")
    if study.kind != MODELS:
        return
    for name in ("arms", "pairs", "factorial", "matched", "scientific", "nuisance", "fixed"):
        if getattr(study, name):
            raise ConfigError(f"{name}: arms of a league are whole models, and nothing else; leave {name} out")
    if study.retune is not None and study.retune.space:
        raise ConfigError("retune: each model of a league is searched in its own space; leave retune.space out")


def _check_models(study: Study) -> None:
    said = [("an override", study.overrides), *((f"cell '{n}'", p.settings) for n, p in study.places.items())]
    for where, settings in said:
        for key in dotted(settings):
            for name, entry in study.models.items():
                if key != "preset" and key not in entry.forecaster.config.names():
                    raise ConfigError(
                        f"{where} sets {key}, which model '{name}' has not; what all have can be said for all, and the "
                        "rest under models"
                    )
    for cell in study.cell_names:
        seen: dict[str, Config] = {}
        for name in (FULL, *study.models):
            try:
                config = study.config(cell, name)
            except ConfigError as error:
                raise ConfigError(f"model '{name}' (cell '{cell}'): {error}") from None
            for other, there in seen.items():
                if there.forecaster == config.forecaster and not difference(there, config):
                    raise ConfigError(f"models '{other}' and '{name}' are the same (cell '{cell}'); leave one out")
            seen[name] = config


def _check_groups(study: Study) -> None:
    named: dict[str, str] = {}
    for group, patterns in study.groups.items():
        for pattern in patterns:
            keys = matching(study, [pattern])
            if not keys:
                study.forecaster.config.check_key(pattern)  # raises, with the nearest key
            for key in keys:
                if named.setdefault(key, group) != group:
                    raise ConfigError(f"'{key}' is named both {named[key]} and {group}")


def _check_seeds(study: Study) -> None:
    seeds = study.seeds
    if isinstance(seeds, tuple):
        if not 2 <= len(seeds) <= MOST_SEEDS or len(set(seeds)) != len(seeds):
            raise ConfigError(f"seeds: 2 to {MOST_SEEDS} different ones, none negative, are needed; got {list(seeds)}")
        for seed in seeds:
            check_number("seeds", seed, 0)
    elif seeds != "auto" and not 2 <= seeds <= MOST_SEEDS:
        raise ConfigError(f"seeds: got {seeds}; 2 to {MOST_SEEDS} are allowed, a list of them, or auto")
    # A baseline from a search's best.yaml names the seed it was searched with, so there it says nothing.
    if "training.seed" in study.overrides or any("training.seed" in cell for cell in study.cells.values()):
        raise ConfigError("training.seed cannot be set: replicates have seeds of their own; use seeds")


def _check_origins(study: Study) -> None:
    asked = (study.origins, *(own[ORIGINS] for own in study.cells.values() if ORIGINS in own))
    if any(map(several, asked)):
        preset = {} if study.preset is None else study.forecaster.config.presets.get(study.preset, {})
        layers = {"the preset": preset, "the baseline": study.baseline, "an override": study.overrides}
        for where, layer in layers.items():
            for key in (ROW, BACK):
                if dotted(layer).get(key):
                    raise ConfigError(f"{where} sets {key}, which origins give; leave one of them out")
    if study.pooled and len(study.places) == 1:
        raise ConfigError("pooled: there is one cell, so nothing to pool; name cells or origins, or leave pooled out")


def _check_cell(study: Study, cell: str, base: Config) -> None:
    pinned = dict.fromkeys(matching(study, study.fixed), "the list of fixed settings")
    pinned |= dict.fromkeys(matching(study, study.nuisance), "the list of nuisance settings")
    pinned |= dict.fromkeys(study.places[cell].settings, f"cell '{cell}'")
    pinned |= dict.fromkeys(study.overrides, "an override")
    scientific = {*matching(study, study.scientific), "training.protocol"}  # a protocol stands for other settings
    refused: dict[str, str] = {}
    for arm in () if study.kind == MODELS else study.table.values():
        touched = _touched(arm, base)
        for key in sorted(touched & pinned.keys()):
            raise ConfigError(f"arm '{arm.name}' changes {key}, which {pinned[key]} fixes; leave one of them out")
        for key in sorted(touched - scientific if study.scientific else ()):
            raise ConfigError(f"arm '{arm.name}' changes {key}, which is not among the scientific settings")
        try:
            arm.apply(base)
        except ConfigError as error:
            refused[arm.name] = str(error)
    if refused:
        rest = [c.name for c in study.comparisons if refused.keys().isdisjoint((c.without, c.with_part))]
        way_out = f". The others can be run: --arms {','.join(rest)}" if rest and not study.factors else ""
        raise ConfigError("; ".join(refused.values()) + way_out)
    for comparison in study.comparisons:
        pair = study.config(cell, comparison.without), study.config(cell, comparison.with_part)
        if study.kind != MODELS and not difference(*pair):
            raise ConfigError(f"arm '{comparison.name}' is the same as its baseline arm '{comparison.arm.against}'")


def _touched(arm: Arm, base: Config) -> frozenset[str]:
    try:
        return arm.touches(base)
    except ConfigError as error:
        raise ConfigError(f"arm '{arm.name}': {error}") from None


def _check_retune(study: Study) -> None:
    from tune.space import Space  # here, since Optuna takes a second to import

    retune = study.retune
    assert retune is not None
    both = meeting(retune.seeds, study.seed_list())
    if both:
        raise ConfigError(
            f"retune: tuning seeds {both} are replicate seeds too, so that a search would see what its result "
            "is judged by; take another seed_offset"
        )
    if not study.comparisons:
        raise ConfigError("retune: the combinations of a factorial are not re-tuned, and no arms are listed")
    if study.kind != MODELS:
        _check_ranges(study, retune)
    for cell in study.cell_names:
        for arm in study.table:
            config = study.config(cell, arm)
            Space(ranges(study, config), config, dict(study.overrides))


def _check_ranges(study: Study, retune: Retune) -> None:
    searched = matching(study, study.nuisance)
    if not searched:
        raise ConfigError("retune: no nuisance settings are named, so there is nothing to search")
    for key in retune.space:
        if key not in searched:
            raise ConfigError(f"retune: '{key}' has a range but is not among the nuisance settings")
    if missing := [key for key in searched if key not in {**study.forecaster.space, **retune.space}]:
        raise ConfigError(f"retune: no range for {', '.join(missing)}; give one under retune.space")


def ranges(study: Study, base: Config) -> dict[str, Any]:
    """What the search for an arm of these settings varies: the nuisance settings; in a league, the model's space."""
    if study.kind == MODELS:
        return dict(forecaster_of(base).space)
    assert study.retune is not None
    specs = {**study.forecaster.space, **study.retune.space}
    return {key: specs[key] for key in matching(study, study.nuisance)}
