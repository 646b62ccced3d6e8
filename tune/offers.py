"""What to type once a search has ended: its page, a forecast by what turned out best, a study of its parts.

Where a bar is best on validation, the forecast that is offered is the bar's.
"""

import shlex
from collections.abc import Iterator

from lab.console.commands import activation
from lab.errors import ConfigError
from lab.references.standing import BarErrors, Standing
from lab.registry import forecaster_of, model_option
from lab.settings.config import Config
from lab.store.place import OPTION, Place

PARTS = "parts"  # the study of a forecaster's parts, where it brings one


def offers(study: str, place: Place, best: Config, standing: Standing, loss: float) -> list[str]:
    """Commands with what each is for; they hold for the shell and the folder in which the search was typed.

    Args:
        best: the config of the best trial.
        loss: its validation MSE, at the data's own origin.
    """
    pairs = list(_pairs(study, place, best, better_bar(standing, loss)))
    activate = activation()
    if activate:
        pairs.insert(0, (activate, "once in a shell"))
    width = max((len(command) for command, _ in pairs if len(command) < 80), default=0)
    return ["", "what to type next:", *(f"  {command:<{width}s}  # {what}" for command, what in pairs)]


def better_bar(standing: Standing, loss: float) -> BarErrors | None:
    """The best bar on validation, where it is better than the best trial."""
    bar = standing.best
    return bar if bar is not None and bar.errors["val_mse"] < loss else None


def _pairs(study: str, place: Place, best: Config, bar: BarErrors | None) -> Iterator[tuple[str, str]]:
    results = f" {OPTION} {shlex.quote(place.url)}" if place.given else ""
    yield f"python -m tune.report {study}{results}", "the search as a page"
    if bar is None:
        yield f"python -m lab.predict --study {study}{results} --plots", "the rows that come next, with a band"
    else:
        yield (
            f"python -m lab.predict --study {study}{results} --bar {bar.name} --plots",
            f"the rows that come next by the {bar.title}, which is the answer here: on validation no trial is better",
        )
    if place.remote:  # settings are read from files
        return
    config = f"--config {shlex.quote(f'{place.url}/artifacts/{study}/best.yaml')}"
    model = model_option(best)
    yield f"python -m lab.train{model} {config} --seeds 1,2,3 --plots", "the best settings with other seeds"
    if arms := parts_of(best):
        words = f"{PARTS}{model} {config} --study {study}-{PARTS}{results} --arms {','.join(arms)}"
        yield f"python -m ablations.run {words}", "which of its parts earn their keep"


def parts_of(best: Config) -> list[str]:
    """The arms that take a part out of such a network; none where its forecaster brings no study of parts."""
    model = forecaster_of(best)
    if model.studies is None or not (model.studies / f"{PARTS}.yaml").is_file():
        return []
    found = []
    for name in (f"no_{part}" for part in model.parts):
        try:
            model.arms[name].apply(best)
        except (KeyError, ConfigError):  # what the best network does without
            continue
        found.append(name)
    return found
