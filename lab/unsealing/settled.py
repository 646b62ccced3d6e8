"""Whether all else of a study is settled, by its records alone, so that its sealed rows may be read."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lab.ledger.looks import TEST
from lab.store.outcomes import best_of, in_order_of_proposal, standing_outcomes
from lab.store.schema import DONE
from lab.store.tables import Results

SETTLED = "settled"  # event of an ablation whose every question was decided before the last look
ABLATION = "ablation"  # kind


def best_trial(results: Results, study: str) -> str | None:
    """The complete trial of a search with the lowest first objective."""
    rows = results.table("trials", study).to_pylist()
    proposed = [row["trial"] for row in in_order_of_proposal(rows)]
    best = best_of(standing_outcomes(rows, proposed, results).values())
    return None if best is None else best.trial


def told(results: Results, study: str) -> list[dict[str, Any]]:
    """The events of a study, in order of time."""
    rows = results.table("studies", study).sort_by("time").to_pylist()
    return [json.loads(row["settings"]) for row in rows]


def is_ablation(events: Sequence[Mapping[str, Any]]) -> bool:
    return any(event.get("kind") == ABLATION for event in events)


def unsettled(results: Results, study: str) -> str:
    """Why a study is not settled yet; "" where it is.

    An ablation is when it was judged with all seeds that were asked for, at its last look, or at an earlier one that
    decided all; a search when all its trials have ended and the best one's final replicates are read on test.
    """
    events = told(results, study)
    return _ablation(events) if is_ablation(events) else _search(results, study)


def _ablation(events: Sequence[Mapping[str, Any]]) -> str:
    looks = next(event["looks"] for event in events if event.get("kind") == ABLATION)
    added = [event["seeds"] for event in events if event.get("event") == "seeds"]
    asked = max([looks[-1], *(seeds if isinstance(seeds, int) else len(seeds) for seeds in added)])
    judged = {event["seeds"] for event in events if event.get("event") == "judged"}
    settled = {event["seeds"] for event in events if event.get("event") == SETTLED}
    if asked in judged or (settled and asked == looks[-1]):
        return ""
    if asked > looks[-1]:
        return f"seeds were added, and it is not judged with all {asked} yet"
    taken = sum(look in judged for look in looks)
    return f"looks taken: {taken} of {len(looks)}" if taken else "it is not judged yet"


def _search(results: Results, study: str) -> str:
    rows = results.table("trials", study).to_pylist()
    proposed = {row["trial"]: None for row in in_order_of_proposal(rows)}
    left = len(proposed) - len(standing_outcomes(rows, proposed, results))
    if left or not proposed:
        return f"{left} of its {len(proposed)} trials have no outcome yet" if left else "it has no trial yet"
    best = best_trial(results, study)
    if best is None:
        return "no trial of it is complete"
    members = results.table("members", study).to_pylist()
    finals = {row["run"] for row in members if row["role"] == "final" and row["trial"] == best}
    known = results.runs(finals)
    if not finals or any(known.get(run, {}).get("status") not in DONE for run in finals):
        return f"the final replicates of its best trial, {best}, are not trained"
    complete = [run for run, row in known.items() if row["status"] == "complete"]
    readings = results.of_runs("evaluations", complete, ["run", "split"]).to_pylist()
    lacking = set(complete) - {row["run"] for row in readings if row["split"] == TEST}
    return f"test is not read for {len(lacking)} final replicates of its best trial, {best}" if lacking else ""
