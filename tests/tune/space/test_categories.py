"""Choices keep their type and value wherever they go, and records from before there were labels are read alike."""

import json
import random
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution

from dynonet.config import Config
from lab.errors import ConfigError
from lab.store.tables import Results
from tune.proposals import Proposal, Proposals, read_proposals
from tune.space import Space
from tune.space.categories import distributions_of_json, distributions_to_json, label, plain, shown, value_of

MIXED = (True, 1, 1.0, "1", "1.0", "true", 0, False, 0.0, "0", "off", "", "joint", '"joint"', -0.0, 1e-4, "1e-4")
PATH = "data.date_column"  # a setting of any text, so that no choice is bent to a type


class Loose(Space):
    """A space whose choices no config judges."""

    def config(self, params: Any) -> Config:
        return self.base


def same(one: Any, other: Any) -> bool:
    return (type(one), repr(one)) == (type(other), repr(other))


@given(st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()))
def test_a_label_stands_for_one_type_and_value(value: Any) -> None:
    assert isinstance(label(value), str) and same(value_of(label(value)), value)
    for other in MIXED:
        assert (label(other) == label(value)) == same(other, value)


def test_what_cannot_be_a_choice_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"got .*Path.*; texts, numbers, true and false are allowed"):
        label(Path("x"))


def test_a_value_is_shown_as_it_is_written() -> None:
    wanted = {"joint": "joint", "1": '"1"', "true": '"true"'}
    assert {text: shown("training.mode", text, Config) for text in wanted} == wanted
    assert [shown("training.lr", value, Config) for value in (1, 1.0, 3e-5, True)] == ["1", "1.0", "3e-05", "true"]
    assert [shown("signals.gate_masks", value, Config) for value in (False, True, 0.0)] == ["off", "on", "0.0"]


def test_a_text_that_is_a_number_is_one_where_a_number_is_wanted() -> None:
    for path, text, value in (
        ("training.lr", "1e-4", 1e-4), ("training.lr", "3", 3.0), ("training.batch_size", "64", 64),
        ("signals.gate_masks", "5e-1", 0.5), ("model.film", "off", False), ("model.film", "Yes", True),
    ):  # fmt: skip
        assert same(plain(path, text, Config), value)
    for path, left in (
        ("training.lr", "fast"), ("training.lr", "nan"), ("training.batch_size", "6_4"), ("signals.gate_masks", "off"),
        ("training.mode", "1"), ("training.lr", True), (PATH, "1e-4"), ("gone.setting", "1"),
    ):  # fmt: skip
        assert same(plain(path, left, Config), left)


def cases() -> list[Any]:
    """Some lists of choices of mixed types, those that Optuna takes for one beside each other."""
    chance = random.Random(5)
    lists = [list(MIXED), [0.0, False], *(chance.sample(MIXED, 5) for _ in range(3))]
    return [*(pytest.param(choices, "tpe", id=str(choices)) for choices in lists), ([1, 1.0, True], "nsga2")]


@pytest.mark.parametrize(("choices", "sampler"), cases())
def test_every_category_is_proposed_recorded_resumed_and_read_back(
    choices: list[Any], sampler: str, store: Results, tiny: Config, tmp_path: Path
) -> None:
    specs = {PATH: {"choice": choices}}
    space = Loose(json.loads(json.dumps(specs)), tiny, recorded=True)

    def begin() -> Proposals:
        return Proposals(
            store, "study", space, seed=1, replicates=1, data_sha256="0" * 64, sampler=sampler,
            journal=tmp_path / "journal",
        )  # fmt: skip

    proposals, found = begin(), dict[str, Proposal]()
    while (proposal := proposals.propose()) is not None:
        assert any(same(proposal.params[PATH], choice) for choice in choices)
        assert proposal.trial not in found or same(proposal.params[PATH], found[proposal.trial].params[PATH])
        if proposal.trial in found or len(found) % 3:
            proposals.finish(proposal.trial, "complete", [float(len(found))], [(1, 1.0)])
        elif len(found) % 2:
            proposals = begin()  # a kill; it waits to be resumed
        found[proposal.trial] = proposal
    assert sorted(label(p.params[PATH]) for p in found.values()) == sorted(map(label, choices)), "each once"

    for trial in found:
        proposals.finish(trial, "complete", [1.0], [(1, 1.0)])
    on_record, distributions = read_proposals(store.table("trials", "study").to_pylist(), store, Config)
    for trial, proposal in on_record.items():
        assert same(proposal.params[PATH], found[trial].params[PATH])
        assert distributions[trial][PATH] == CategoricalDistribution([label(choice) for choice in choices])
    journal = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal")))
    for trials in (begin().optuna.trials, optuna.load_study(study_name="study", storage=journal).trials):
        known = {trial.user_attrs["trial"]: trial.params[PATH] for trial in trials if "trial" in trial.user_attrs}
        assert known == {trial: label(proposal.params[PATH]) for trial, proposal in found.items()}


def test_records_from_before_there_were_labels_are_gone_on_with(store: Results, tiny: Config) -> None:
    old = {
        "signals.gate_masks": [0.0, False], "model.film": [True, False], "training.batch_size": [16, 32],
        "training.lr": ["1e-4", "1e-3"], "training.mode": ["alternating", "joint"],
    }  # fmt: skip
    raw = {path: {"name": "CategoricalDistribution", "attributes": {"choices": c}} for path, c in old.items()}
    params = [{path: choices[number % 2] for path, choices in old.items()} for number in range(3)]
    configs = [tiny.override({**p, "training.lr": float(p["training.lr"])}) for p in params]
    rows: list[dict[str, Any]] = [
        {"study": "study", "trial": f"t{n:05d}", "number": n, "event": "proposed", "params": json.dumps(params[n]),
         "distributions": json.dumps(raw), "config": configs[n].to_json()} for n in range(2)
    ]  # fmt: skip
    store.add("trials", [*rows, {**rows[0], "event": "outcome", "state": "complete", "values": [1.0]}])
    space = Space({path: {"choice": choices} for path, choices in old.items()}, tiny)
    proposals = Proposals(store, "study", space, seed=1, replicates=1, data_sha256="0" * 64)
    going = proposals.propose()
    assert going is not None and going.trial == "t00001"
    assert same(going.params["training.lr"], 1e-3) and going.params["signals.gate_masks"] is False
    proposals.finish(going.trial, "complete", [2.0], [(1, 2.0)])
    new = [proposals.propose() for _ in range(12)]
    assert None not in new and len({trial.params["signals.gate_masks"] for trial in proposals.optuna.trials}) == 2
    assert len({json.dumps(t.distributions["training.lr"].choices) for t in proposals.optuna.trials}) == 1  # type: ignore[attr-defined]


def test_a_choice_that_is_written_otherwise_by_now_is_still_the_same(store: Results, tiny: Config) -> None:
    def begin(off: Any) -> Proposals:
        space = Space({"signals.gate_masks": {"choice": [0.5, off, "adaptive"]}}, tiny)
        return Proposals(store, "study", space, seed=1, replicates=1, data_sha256="0" * 64)

    for _ in range(3):
        begin(False)._record(*begin(False).draw())  # type: ignore[misc]
    proposals = begin("off")
    resumed = [proposals.propose() for _ in range(3)]
    assert {label(p.params["signals.gate_masks"]) for p in resumed if p} == {"0.5", "false", "adaptive"}
    assert proposals.propose() is None and {t.params["signals.gate_masks"] for t in proposals.optuna.trials} == {
        "0.5", "off", "adaptive"
    }  # fmt: skip


def test_distributions_go_on_record_with_the_choices_themselves() -> None:
    kept = {"a": CategoricalDistribution(["1", '"1"', "true"]), "b": FloatDistribution(0.1, 1.0, log=True)}
    text = distributions_to_json(kept)
    assert '"choices": [1, "1", true]' in text and distributions_of_json(text, Config) == kept
