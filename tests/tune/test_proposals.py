"""Proposals: on record before anybody trains them, and rebuilt from the records at any moment."""

import json
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from dynonet.config import Config
from dynonet.network.parameters import parameter_count
from lab.store.objects.storage import Storage
from lab.store.outcomes import standing_outcomes
from lab.store.tables import Results, ResultsError
from tune.methods.table import SAMPLERS, STARTUP_TRIALS
from tune.proposals import Proposal, Proposals
from tune.space import Space

SPACE = {
    "model.worker_hidden": {"int": [2, 64], "log": True},
    "training.lr": {"float": [1e-4, 1e-1], "log": True},
    "training.mode": {"choice": ["alternating", "joint"]},
    "training.controller_lr_ratio": {"float": [0.01, 1.0], "when": {"training.mode": "alternating"}},
}
TWO = {"objectives": ("val_mse", "parameters")}
Begin = Callable[..., Proposals]


@pytest.fixture
def begin(store: Results, tiny: Config, sha: str) -> Begin:
    """Starts a driver's proposals on the records there are."""

    def start(specs: dict[str, Any] | None = None, **more: Any) -> Proposals:
        space = Space(SPACE if specs is None else specs, tiny)
        settings = {"seed": 3, "replicates": 2, "data_sha256": sha, **more}
        return Proposals(store, "study", space, **settings)

    return start


def some(proposals: Proposals) -> Proposal:
    proposal = proposals.propose()
    assert proposal is not None
    return proposal


def loss(params: dict[str, Any]) -> float:
    return abs(params["training.lr"] - 0.01) + params["model.worker_hidden"] / 100


def complete(proposals: Proposals, proposal: Proposal) -> None:
    values = [loss(proposal.params), float(proposal.params["model.worker_hidden"])][: len(proposals.objectives)]
    proposals.finish(proposal.trial, "complete", values, [(1, values[0] + 1), (2, values[0])])


def points(proposals: Proposals) -> list[str]:
    return [json.dumps(p.params, sort_keys=True) for p in proposals.all.values()]


def test_a_proposal_is_on_record_before_it_is_returned(begin: Begin, store: Results, sha: str) -> None:
    proposals = begin()
    events: list[str] = []
    add = Results.add
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Results, "add", lambda self, table, *a, **k: (add(self, table, *a, **k), events.append(table))[0])
        proposal = some(proposals)
    assert events == ["trials", "members"]
    row = store.table("trials", "study").to_pylist()[0]
    assert row["event"] == "proposed" and json.loads(row["params"]) == proposal.params
    assert (
        Config.from_json(row["config"]) == proposal.config and proposal.config.flat().items() >= proposal.params.items()
    )
    configs = proposal.configs(2)
    assert [c.training.seed - configs[0].training.seed for c in configs] == [0, 1]
    members = {(m["trial"], m["role"], m["run"]) for m in store.table("members", "study").to_pylist()}
    assert members == {(proposal.trial, "search", c.run_id(sha)) for c in configs}


def test_a_kill_between_the_two_records_of_a_proposal(begin: Begin, store: Results) -> None:
    proposals = begin()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Proposals, "_add_members", lambda *a: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            proposals.propose()
    again = begin()
    assert [p.trial for p in again.pending] == ["t00000"] and store.table("members", "study").num_rows == 0
    some(again)
    assert store.table("members", "study").num_rows == 2
    some(begin())
    assert store.table("members", "study").num_rows == 2, "resumed twice, a member once"


def test_records_of_before_say_pruned_and_mean_stopped(store: Results) -> None:
    told = {"trial": "t", "event": "outcome", "values": [2.5], "reports": None, "error": None, "study": "s"}
    rows = [{**told, "state": "failed", "time": 1}, {**told, "state": "pruned", "time": 2}]
    assert standing_outcomes(rows, {"t"}, store)["t"].state == "stopped", "and it stands before a failure"
    with pytest.raises(ResultsError, match="allowed: complete, stopped, failed"):
        store.add("trials", [{"study": "s", "trial": "t", "event": "outcome", "state": "pruned"}])


def test_a_new_driver_knows_every_outcome_as_it_was(begin: Begin, tmp_path: Path) -> None:
    proposals = begin(journal=tmp_path / "journal")
    done, stopped, nameless, failed = (some(proposals) for _ in range(4))
    complete(proposals, done)
    proposals.finish(stopped.trial, "stopped", [2.5], [(1, 3.0), (2, 2.5)])
    proposals.finish(nameless.trial, "stopped", [], [])  # diverged in its first epoch
    proposals.finish(failed.trial, "failed", (), [(1, 4.0)], "boom\nlast line")
    proposals.finish(done.trial, "failed", (), (), "a second outcome does not count")
    pending = [some(proposals) for _ in range(3)]
    lived = {t.user_attrs["trial"]: t for t in proposals.optuna.trials}
    again = begin(journal=tmp_path / "journal")
    rebuilt = {t.user_attrs["trial"]: t for t in again.optuna.trials}
    assert rebuilt.keys() == lived.keys() and len(rebuilt) == 7
    expected = {
        done.trial: (TrialState.COMPLETE, loss(done.params), 2), stopped.trial: (TrialState.PRUNED, 2.5, 2),
        nameless.trial: (TrialState.PRUNED, None, 0), failed.trial: (TrialState.FAIL, None, 1),
    }  # fmt: skip
    for trial, (state, value, reports) in expected.items():
        for found in (lived[trial], rebuilt[trial]):
            assert (found.state, len(found.intermediate_values)) == (state, reports)
            assert found.value == value or state != TrialState.COMPLETE
            assert found.params == lived[trial].params and found.distributions == lived[trial].distributions
        assert rebuilt[trial].intermediate_values == lived[trial].intermediate_values
    for before, after in zip(proposals.all.values(), again.all.values(), strict=True):
        assert before == after
    assert again.all[failed.trial].error == "boom\nlast line"
    assert [t.state for t in again.optuna.trials][4:] == [TrialState.WAITING] * 3
    assert [p.trial for p in again.pending] == [p.trial for p in pending]
    assert again.best() == again.all[done.trial]
    # Optuna's own tools open the journal.
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal")))
    assert len(optuna.load_study(study_name="study", storage=storage).trials) == 7


@pytest.mark.parametrize(
    "settings",
    [{}, TWO, {**TWO, "sampler": "nsga2"}, *({"sampler": name} for name in SAMPLERS if name != "tpe")],
    ids=["tpe", "two", "two-nsga2", *list(SAMPLERS)[1:]],
)
def test_restarts_at_random_moments_repeat_nothing_and_lose_nothing(begin: Begin, settings: dict[str, Any]) -> None:
    chance = random.Random(7)
    proposals = begin(**settings)
    going: list[Proposal] = []
    while len(proposals.outcomes) < 25:
        if chance.random() < 0.2:
            known = {p.trial: p for p in proposals.all.values()}
            proposals = begin(**settings)
            assert proposals.all == known
            waiting, going = going, []
            # What was under way comes first, each as it was.
            for old in sorted(waiting, key=lambda p: p.number):
                new = some(proposals)
                assert (new.trial, new.params, new.config) == (old.trial, old.params, old.config)
                going.append(new)
        elif going and chance.random() < 0.5:
            one = going.pop(chance.randrange(len(going)))
            if chance.random() < 0.3:
                proposals.finish(one.trial, "stopped", [9.0] * len(proposals.objectives), [(1, 9.0)])
            else:
                complete(proposals, one)
        else:
            going.append(some(proposals))
    assert len(set(points(proposals))) == len(proposals.all)
    assert [p.number for p in proposals.all.values()] == list(range(len(proposals.all)))
    states = [t.state for t in proposals.optuna.trials if "trial" in t.user_attrs]
    assert states.count(TrialState.COMPLETE) == sum(p.state == "complete" for p in proposals.outcomes)


def test_two_rebuilds_of_one_history_propose_alike_and_not_what_came_early(begin: Begin, store: Results) -> None:
    early = begin()
    for _ in range(STARTUP_TRIALS + 5):
        complete(early, some(early))
    copies = [begin(), begin()]
    first, second = (copy.space.suggest(copy.optuna.ask()) for copy in copies)
    assert first == second
    fresh = begin()
    assert json.dumps(some(fresh).params, sort_keys=True) not in points(early)
    # The model of a rebuilt study is that of its history: it proposes near the best, as one who lived through it.
    guided = begin()
    drawn = [guided.space.suggest(guided.optuna.ask()) for _ in range(20)]
    assert sum(1e-3 < p["training.lr"] < 1e-1 for p in drawn) >= 12, drawn


def test_nsga2_breeds_from_the_records_after_a_restart(begin: Begin) -> None:
    settings: dict[str, Any] = {**TWO, "sampler": "nsga2"}
    proposals = begin(**settings)
    for _ in range(52):
        complete(proposals, some(proposals))
    again = begin(**settings)
    assert isinstance(again.optuna.sampler, optuna.samplers.NSGAIISampler)
    assert [len(again.optuna.sampler.get_population(again.optuna, g)) for g in (0, 1)] == [50, 2]
    parents = again.optuna.sampler.get_parent_population(again.optuna, 1)
    hidden = {t.params["model.worker_hidden"] for t in parents}
    children = [again.space.suggest(again.optuna.ask()) for _ in range(8)]
    assert sum(child["model.worker_hidden"] in hidden for child in children) >= 6, "genes come from the parents"


def test_the_front_of_two_objectives(begin: Begin) -> None:
    proposals = begin(**TWO)
    values = [(1.0, 30.0), (2.0, 20.0), (2.0, 25.0), (3.0, 10.0), (1.0, 30.0), (4.0, 40.0)]
    for pair in values:
        proposals.finish(some(proposals).trial, "complete", pair, [(1, pair[0])])
    stopped = some(proposals)
    proposals.finish(stopped.trial, "stopped", (0.1, 1.0), [(1, 0.1)])
    for one in (proposals, begin(**TWO)):
        assert [tuple(p.values) for p in one.front()] == [(1.0, 30.0), (1.0, 30.0), (2.0, 20.0), (3.0, 10.0)]
        assert len(one.optuna.best_trials) == 4 and one.best().values == [1.0, 30.0]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_space_that_is_used_up_ends_the_proposals(begin: Begin, sampler: str) -> None:
    specs = {"model.num_layers": {"int": [1, 2]}, "training.mode": {"choice": ["alternating", "joint"]}}
    proposals = begin(specs, sampler=sampler)
    found = []
    while (proposal := proposals.propose()) is not None:
        found.append(proposal)
        proposals.finish(proposal.trial, "complete", [float(len(found))], [])
    assert len(found) == len(set(points(proposals))) == 4
    assert begin(specs, sampler=sampler).propose() is None


def test_values_that_are_not_allowed_together_are_drawn_again(begin: Begin) -> None:
    specs = {"model.trend": {"choice": [True, False]}, "model.workers": {"choice": [True, False]}}
    proposals = begin(specs)
    found = []
    while (proposal := proposals.propose()) is not None:
        found.append((proposal.config.model.trend, proposal.config.model.workers))
    assert sorted(found) == [(False, True), (True, False), (True, True)]


def test_a_damaged_proposal_is_passed_over_and_its_number_not_given_again(begin: Begin, store: Results) -> None:
    proposals = begin()
    for _ in range(2):
        complete(proposals, some(proposals))
    folder = Path(store.storage.root) / "trials" / "study=study"
    damaged = next(path for path in folder.glob("t00001-*") if b"proposed" in path.read_bytes())
    damaged.write_bytes(b"PAR1 no more")
    with pytest.warns(UserWarning, match="passed over"):
        again = begin()
    assert list(again.all) == ["t00000"]
    assert set(again.results.skipped) == {
        f"trials/study=study/{damaged.name}", "trials/study=study, its outcome of t00001",
    }  # fmt: skip
    assert some(again).trial == "t00002" and list(begin().all) == ["t00000", "t00002"]


def test_only_what_is_allowed_is_proposed(begin: Begin, tiny: Config, store: Results) -> None:
    def allowed(config: Config) -> bool:
        return parameter_count(config, 7) <= 4000

    proposals = begin(allowed=allowed)
    found = [some(proposals) for _ in range(STARTUP_TRIALS)]
    assert all(allowed(proposal.config) for proposal in found)
    assert len(store.table("trials", "study")) == len(found), "what was drawn again is on no record"
    free = begin()
    drawn = [free.space.config(free.space.suggest(free.optuna.ask())) for _ in range(len(found) + 50)][len(found) :]
    assert sum(map(allowed, drawn)) < 25, "most of the space is not allowed"
    assert begin(allowed=lambda config: False).draw() is None


def test_the_smallest_model_of_a_space(tiny: Config) -> None:
    def count(config: Config) -> int:
        return parameter_count(config, 7)

    specs = {
        "data.seq_len": {"choice": [24, 12, 18]}, "model.worker_hidden": {"int": [2, 9]},
        "training.mode": {"choice": ["joint", "unrolled"]},
        "model.num_layers": {"int": [2, 3], "when": {"training.mode": "unrolled"}},
    }  # fmt: skip
    space = Space(specs, tiny)
    assert space.smallest(count) == count(tiny.override({"data.seq_len": 12, "model.worker_hidden": 2}))


def test_on_an_object_store_records_are_written_beside_the_loop_in_the_order_of_events(
    begin: Begin, store: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(store.storage, "local", False)
        proposals = begin()
    put_all, free = Storage.put_all, threading.Event()
    written: list[tuple[str, str]] = []

    def slow(self: Storage, files: dict[str, bytes]) -> None:
        if threading.current_thread() is not threading.main_thread():
            assert free.wait(30)
        put_all(self, files)
        written.extend((path.split("/")[0], path.split("/")[-1].split("-")[0]) for path in files)

    monkeypatch.setattr(Storage, "put_all", slow)
    first, second = some(proposals), some(proposals)
    complete(proposals, second)
    assert written == [] and [p.state for p in (first, second)] == [None, "complete"], "nobody waits"
    assert begin().all == {}, "a driver that takes over now finds nothing, and nothing has been trained"
    free.set()
    complete(proposals, first)
    proposals.writer.wait()
    for trial in ("t00000", "t00001"):
        assert [table for table, key in written if key == trial] == ["trials", "members", "trials"]
    again = begin()
    assert again.all == proposals.all and store.table("members", "study").num_rows == 4


def test_the_outcome_of_a_failed_trial_is_recorded_when_it_is_said(begin: Begin) -> None:
    proposals = begin()
    proposal = some(proposals)
    record = proposals.failed(proposal.trial, [(1, 4.0)], "boom")
    assert proposals.optuna.trials[0].state == TrialState.FAIL and proposal.state == "failed"
    assert [p.trial for p in begin().pending] == [proposal.trial], "a kill before its runs are on record"
    record()
    assert begin().all[proposal.trial] == proposal
    proposals.failed(proposal.trial, [], "again")()
    assert begin().all[proposal.trial].error == "boom"
