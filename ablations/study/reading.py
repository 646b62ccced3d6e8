"""From a file, a packaged study's name or what is on record to a study that was checked."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ablations.study.checks import check, explain
from ablations.study.models import MODELS
from ablations.study.pieces import InlineArm, data_of_preset
from ablations.study.study import Study
from lab.errors import ConfigError, unknown
from lab.registry import DEFAULT, forecaster
from lab.settings.files import dotted
from lab.settings.yaml import read_mapping

LEAGUES = Path(__file__).parents[1] / "studies"  # of several models, which come with no single one
RENAMED = {"quickstart": "parts_quick"}  # names of before, which searches have too


def study_names(model: str = DEFAULT) -> list[str]:
    """The studies that come with a forecaster, and those of several."""
    folders = [folder for folder in (forecaster(model).studies, LEAGUES) if folder is not None]
    return sorted(path.stem for folder in folders for path in folder.glob("*.yaml"))


def load_study(name: str | Path, model: str | None = None) -> Study:
    """A packaged study by name, or the file at a path.

    Args:
        model: the forecaster that is asked for; by default the one that the file names, else the default
    Raises:
        ConfigError: as `create_study`, and for a file that names another model than the one asked for.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        there = study_names(model or DEFAULT)
        folder: Path | None = LEAGUES
        if not (LEAGUES / f"{name}.yaml").is_file():
            folder = forecaster(model or DEFAULT).studies
        if model not in (None, DEFAULT) and str(name) not in there and str(name) in study_names(DEFAULT):
            others = f"; it brings {', '.join(there)}" if there else ""
            raise ConfigError(
                f"study '{name}' is one of model {DEFAULT}, and '{model}' was asked for{others}; leave --model out, or "
                "give a YAML file of a study of its own"
            )
        if folder is None:
            raise ConfigError(f"study '{name}': model '{model}' brings no studies; give a YAML file of one")
        if str(name) not in there:
            if (now := RENAMED.get(str(name))) in there:
                raise ConfigError(
                    f"study '{name}' is called '{now}' now, for a search has that name: python -m ablations.run {now}; "
                    f"with --study {name} it goes on with what is on record under the old one"
                )
            raise unknown("study", str(name), there)
        path = folder / f"{name}.yaml"
    content = read_mapping(path)
    named = content.get("model")
    if model is not None and named not in (None, model):
        raise ConfigError(f"{path}: the study is one of model '{named}', and '{model}' was asked for; leave one out")
    whose = model or named or DEFAULT
    if not isinstance(whose, str):
        raise ConfigError(f"{path}: model: got {whose!r}; the name of a model is needed")
    return create_study({**forecaster(whose).config.understood(content, path), "model": whose})


def create_study(content: Mapping[str, Any]) -> Study:
    """Raises ConfigError, with the nearest name where there is one, for anything that cannot be run."""
    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        raise ConfigError(explain(error, content, Study.model_fields)) from None
    try:
        check(study)
    except ConfigError as error:
        raise ConfigError(f"study '{study.name}': {error}") from None
    return study


def changed(study: Study, changes: Mapping[str, Any]) -> Study:
    """The study with other fields, such as seeds, looks or alpha. Raises ConfigError as `create_study`."""
    return create_study({**study.model_dump(exclude_defaults=True), **changes})


def with_settings(
    study: Study,
    config: str | Path | None = None,
    overrides: Iterable[str] = (),
    arms: Sequence[str] | None = None,
    cells: Sequence[str] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Study:
    """The study over the baseline of another file, with `section.key=value` overrides, or other arms.

    Args:
        config: settings such as a search's best.yaml; they replace preset and baseline. Cells still apply, but of their
            presets only what says which data is read and how far ahead.
        arms: names of registered arms, or of the study's own.
        cells: names of the study's cells, as listed or with their origin.
        changes: other fields of the study, such as seeds, max_seeds, looks, alpha.
    Raises:
        ConfigError: as `create_study`.
    """
    settings = study.forecaster.config
    content = dict(changes or {})
    if config is not None:
        content |= {"baseline": dotted(settings.read_yaml(config)), "preset": None}
        content["cells"] = {cell: data_of_preset(settings, own) for cell, own in study.cells.items()}
    content["overrides"] = {**study.overrides, **settings.parse_overrides(overrides)}
    if cells is not None:
        content["cells"] = chosen_cells(study, cells)
    if arms is not None and study.kind == MODELS:
        for name in arms:
            if name not in study.models:
                raise unknown("model of the league", name, study.models)
        content["models"] = {name: study.models[name].model_dump(exclude_defaults=True) for name in arms}
    elif arms is not None:
        own = {arm.name: arm for arm in study.arms if isinstance(arm, InlineArm)}
        content["arms"] = tuple(own[name].model_dump() if name in own else name for name in arms)
        content["matched"] = {name: widths for name, widths in study.matched.items() if name in arms}
        content["pairs"] = tuple(pair.model_dump() for pair in study.pairs if pair.arm in arms)
        content["factorial"] = ()
    return changed(study, content)


def chosen_cells(study: Study, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """These cells of a study, as its file lists them. Raises ConfigError for one that it has not."""
    for name in names:
        if name not in study.cells:
            raise unknown("cell", name, study.cells or ["(this study lists none)"])
    return {name: dict(own) for name, own in study.cells.items() if name in names}
