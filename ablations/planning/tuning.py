"""The search that each arm of a study with re-tuning gets before its replicates: the same budget over the same ranges,
on seeds that no replicate has, through the same driver as `python -m tune.search`."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ablations.findings.runs import device_seconds
from ablations.study.checks import ranges
from ablations.study.study import Study
from lab.console.printing import say
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

SHARE = 0.7  # of what is left, that trials are asked for at once


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


def rounds(results: Results, study: Study, settings: SearchSettings) -> Iterator[int]:
    """How many trials the search is to come to, again and again until its budget is spent; what is asked next follows
    from what is on record then, so that a search that was killed goes on as it would have gone.

    In device seconds: most of what the seconds that are left should buy, by the mean of the trials so far; a trial more
    than the budget at most, but for trials that cost more than those before.
    """
    retune, most = study.retune, settings.budget.trials
    if retune is None or retune.device_seconds is None:
        yield most
        return
    asked = 0
    while True:
        trials, spent = _spent(results, settings.study)
        if trials and (trials >= most or spent >= retune.device_seconds):
            say(f"{trials} trials took {spent:.3g} of {retune.device_seconds:g} device seconds")
            if not asked:
                yield trials  # all is on record: what it came to
            return
        buys = SHARE * (retune.device_seconds - spent) * trials / spent if spent > 0 else 1
        asked = min(most, trials + max(1, int(buys)))
        yield asked


def _spent(results: Results, study: str) -> tuple[int, float]:
    """Trials with an outcome, and the device seconds of all runs of a search, each once."""
    ended = {row["trial"] for row in results.table("trials", study).to_pylist() if row["event"] == "outcome"}
    runs = {row["run"] for row in results.table("members", study).to_pylist() if row["role"] == "search"}
    return len(ended), sum(device_seconds(row) for row in results.runs(runs).values())


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
    settings = search_settings(study, arm, cell, name)
    with Lease(results.storage, name):
        Search(settings, call, session).check_settings(results, record=True)
        for trials in rounds(results, study, settings):
            budget = replace(settings.budget, trials=trials)
            proposals = Search(replace(settings, budget=budget), call, session).search(results, stop, scratch / name)
            if stop.reason is not None or len(proposals.outcomes) < trials:  # stopped, or the space is used up
                break
    best = proposals.best()
    if stop.reason is not None or best is None:
        return None
    chosen = params_text(best.params, type(best.config))
    say(f"best for {arm}: {best.trial}, validation MSE {best.values[0]:.4f}, {chosen}")
    return dict(best.params)
