"""What tests of real searches share: their settings, and what a finished one has on record."""

import json
from collections import Counter
from collections.abc import Collection
from typing import Any

import pytest

from dynonet.config import Config
from lab.store.objects.checksums import plain
from lab.store.outcomes import over_origins
from lab.store.tables import Results
from tune.search import asked, parser
from tune.settings import SearchCall, SearchSettings


def settings_of(*arguments: str) -> tuple[SearchSettings, SearchCall]:
    call = asked(parser().parse_args(["--preset", "smoke", *arguments]))
    return call.settings(), call


def rows(results: Results, table: str, study: str | None = "smoke") -> list[dict[str, Any]]:
    return results.table(table, study).to_pylist()


def outcomes(results: Results) -> dict[str, dict[str, Any]]:
    return {row["trial"]: row for row in rows(results, "trials") if row["event"] == "outcome"}


def check_complete(
    results: Results, trials: int, replicates: int, epochs: int, finals: int, pruned: Collection[str] = (),
    origins: int = 1,
) -> None:  # fmt: skip
    """A finished study: every table whole, and all of them saying the same. `pruned`: what was since deleted of it."""
    events = rows(results, "trials")
    proposed = {row["trial"]: row for row in events if row["event"] == "proposed"}
    ended = outcomes(results)
    assert sorted(proposed) == sorted(ended) == [f"t{n:05d}" for n in range(trials)] and len(events) == 2 * trials
    assert len({row["params"] for row in proposed.values()}) == trials, "nothing is proposed twice"
    runs, members = rows(results, "runs"), rows(results, "members")
    attempts = Counter((row["run"], row["attempt"]) for row in runs)
    assert set(attempts.values()) == {1}
    done = Counter(row["run"] for row in runs if row["status"] in ("complete", "diverged"))
    assert set(done.values()) == {1}, "every run is done once"
    assert {row["run"] for row in runs} == {row["run"] for row in members}
    assert Counter(row["role"] for row in members if row["role"] == "search") == {
        "search": trials * replicates * origins
    }
    latest = results.runs()
    history = rows(results, "history")
    for trial, row in ended.items():
        its = [m for m in members if m["trial"] == trial and m["role"] == "search"]
        mine, cells = [latest[m["run"]] for m in its], {m["cell"] for m in its}
        assert len(mine) == replicates * origins == len(cells) * replicates and row["state"] in ("complete", "stopped")
        assert {r["status"] for r in mine} == ({"complete"} if row["state"] == "complete" else {"stopped"})
        errors = [
            sum(latest[m["run"]]["val_mse"] for m in its if m["cell"] == cell) / replicates
            for cell in sorted(cells, key=str)
        ]
        assert row["values"][0] == pytest.approx(over_origins(errors))
        assert [r["epoch"] for r in row["reports"]] == list(range(1, max(r["epochs"] for r in mine) + 1))
        assert row["reports"][-1]["value"] == row["values"][0]
        assert (
            json.loads(row["params"] or proposed[trial]["params"]).items()
            <= Config.from_json(mine[0]["config"]).flat().items()
        )
    for run, row in latest.items():
        if row["model"] == "dynonet":
            steps = [(h["step"], h["metric"]) for h in history if (h["run"], h["attempt"]) == (run, row["attempt"])]
            assert len(steps) == len(set(steps)) and {s for s, _ in steps} == set(range(1, row["epochs"] + 1))
            assert row["epochs"] <= epochs and row["host"] and row["device"] == "cpu" and row["git_commit"]
    tested = {row["run"] for row in rows(results, "evaluations")}
    read = Counter((r["run"], r["metric"], r["channel"]) for r in rows(results, "evaluations") if r["split"] == "test")
    assert set(read.values()) == {1}, "test is read once"
    best = min((r for r in ended.values() if r["state"] == "complete"), key=lambda r: r["values"][0])
    final = {m["run"] for m in members if m["role"] == "final" and m["trial"] == best["trial"]}
    assert len(final) == finals and final <= tested
    assert not tested & {m["run"] for m in members if m["role"] == "search"}, "no searched run sees test"
    stopped = {f"checkpoints/runs/{run}/state.pt" for run, row in latest.items() if row["status"] == "stopped"}
    assert set(map(plain, results.storage.list("checkpoints"))) == stopped - set(pruned)
