"""The search that each arm of a study with re-tuning gets before its replicates: the same budget over the same ranges,
on seeds that no replicate has, through the same driver as `python -m tune.search`."""

import re
from pathlib import Path
from typing import Any

from ablations.study.checks import ranges
from ablations.study.study import Study
from lab.console.printing import print
from lab.errors import DataError
from lab.machines.options import Call
from lab.machines.session import RaySession, Stop
from lab.series import Series
from lab.store.objects.lease import Lease
from lab.store.schema import check_study
from lab.store.tables import Results
from tune.driver import Search
from tune.progress import params_text
from tune.settings import Budget, SearchSettings
from tune.space import Space
from tune.space.windows import check_windows


def search_name(study: str, arm: str, cell: str) -> str:
    """Under which the search for an arm goes on record. Raises ResultsError where that is no name of a study."""
    return check_study(f"{study}.retune.{re.sub(r'[^A-Za-z0-9._-]', '-', arm)}.{cell}")


def search_settings(study: Study, arm: str, cell: str, name: str) -> SearchSettings:
    """The search for one arm. Test is never read in it.

    Raises ConfigError for a range that does not fit the arm.
    """
    retune = study.retune
    assert retune is not None, "a study without re-tuning has no searches"
    base = study.config(cell, arm, retune.seed_offset)
    space = Space(ranges(study, base), base, dict(study.overrides))
    grace = min(Budget.grace_epochs, base.training.max_epochs)
    budget = Budget(replicates=retune.replicates, trials=retune.trials, final_replicates=0, grace_epochs=grace)
    return SearchSettings(name, base, space, budget)


def check_search(study: Study, arm: str, cell: str, name: str, series: Series) -> None:
    """Raises DataError, with the arm and its cell, where its search would find a split without a window."""
    settings = search_settings(study, arm, cell, search_name(name, arm, cell))
    try:
        check_windows(settings.space, series)
    except DataError as error:
        raise DataError(f"retune: arm '{arm}' (cell '{cell}'): {error}") from None


def tune_arm(
    study: Study,
    arm: str,
    cell: str,
    name: str,
    results: Results,
    session: RaySession,
    call: Call,
    stop: Stop,
    scratch: Path,
) -> dict[str, Any] | None:
    """Searches, or goes on with it, and returns the best trial's nuisance settings by dotted key.

    None if it was stopped (see `stop`), or no trial was complete.
    """
    search = Search(search_settings(study, arm, cell, name), call, session)
    with Lease(results.storage, name):
        search.check_settings(results, record=True)
        proposals = search.search(results, stop, scratch / name)
    best = proposals.best()
    if stop.reason is not None or best is None:
        return None
    chosen = params_text(best.params, type(best.config))
    print(
        f"best for {arm}: {best.trial}, validation MSE {best.values[0]:.4f}, {chosen}",
        flush=True,
    )
    return dict(best.params)
