"""Studies: those that are packaged can be run, and what cannot be run is refused with the way out."""

from pathlib import Path
from typing import Any

import pytest

from ablations.study.checks import matching
from ablations.study.reading import create_study, load_study, study_names, with_settings
from ablations.study.study import Study
from dynonet.arms import ARMS
from dynonet.config import Config
from lab.arms import difference
from lab.errors import ConfigError

PACKAGED = [
    "bilevel", "bilevel_tuned", "datasets", "factorial", "horizons", "only_one", "parts", "parts_quick",
    "parts_tuned", "planted", "retuned", "rows", "series", "series_tuned", "signals", "signals_unrolled",
]  # fmt: skip
SMALL: dict[str, Any] = {"name": "mine", "question": "What is this part for?", "arms": ["no_film"]}


def study(**fields: Any) -> Study:
    return create_study({**SMALL, **fields})


def test_the_packaged_studies() -> None:
    assert study_names() == sorted([*PACKAGED, "league", "league-full"])


@pytest.mark.parametrize("name", PACKAGED)
def test_a_packaged_study_can_be_run(name: str) -> None:
    packaged = load_study(name)
    assert packaged.name == name
    for cell in packaged.cell_names:
        for arm in packaged.table:
            config = packaged.config(cell, arm, 3)
            assert config.training.seed == 3
            assert Config.from_json(config.to_json()) == config
    assert len(packaged.schedule()) == 1  # enough seeds, even if every arm is alive
    assert packaged.scientific
    assert packaged.nuisance
    assert packaged.fixed


@pytest.mark.parametrize("name", PACKAGED)
def test_the_scientific_settings_are_those_that_arms_change(name: str) -> None:
    packaged = load_study(name)
    base = packaged.baseline_of(packaged.cell_names[0])
    changed = {key for arm in packaged.table.values() for key in arm.touches(base)}
    for pattern in packaged.scientific:
        assert set(matching(packaged, [pattern])) & changed, pattern


def test_what_is_read_no_longer_is_not_changed() -> None:
    start = {"model.trend_start": "closed_form"}
    assert study(arms=["no_trend"], baseline=start, scientific=["model.trend"]).table["no_trend"].removes
    with pytest.raises(ConfigError, match=r"changes model\.trend_start, which is not among the scientific settings"):
        study(arms=["no_trend", "no_closed_form"], baseline=start, scientific=["model.trend"])


def test_every_registered_arm_is_in_some_study() -> None:
    listed = {name for packaged in map(load_study, PACKAGED) for name in packaged.table}
    assert set(ARMS) <= listed


def test_comparisons_are_turned_so_that_the_effect_is_that_of_doing_without() -> None:
    only_one, parts = load_study("only_one"), load_study("parts")
    pairs = {c.name: (c.without, c.with_part) for c in (*only_one.comparisons, *parts.comparisons)}
    assert pairs["only_film"] == ("only_workers", "only_film")
    assert pairs["only_bilevel"] == ("only_film", "only_bilevel")
    assert pairs["no_film"] == ("no_film", "full")
    assert "full" not in only_one.table
    assert list(only_one.table)[:2] == ["only_trend", "only_revin"]


def test_a_factorial_has_every_combination_once() -> None:
    factorial = load_study("factorial")
    assert list(factorial.table) == [
        "full", "no_film", "no_gate_masks", "no_bilevel", "no_film+no_gate_masks", "no_film+no_bilevel",
        "no_gate_masks+no_bilevel", "no_film+no_gate_masks+no_bilevel",
    ]  # fmt: skip
    assert len(factorial.contrasts) == factorial.family() == 7
    all_off = factorial.config("main", "no_film+no_gate_masks+no_bilevel")
    assert set(difference(factorial.config("main"), all_off)) == {
        "model.film", "signals.gate_masks", "training.mode", "data.joint_rows"
    }  # fmt: skip


def test_an_arm_of_the_studys_own() -> None:
    own = {"name": "half_clip", "claim": "a wider clip would do as well", "overrides": {"signals": {"grad_clip": 0.5}}}
    mine = study(arms=["no_film", own], pairs=[{"arm": "half_clip", "against": "no_grad_clip"}])
    assert mine.config("main", "half_clip").signals.grad_clip == 0.5
    assert [c.with_part for c in mine.comparisons] == ["full", "no_grad_clip"]
    assert list(mine.table) == ["full", "no_film", "no_grad_clip", "half_clip"]
    kept = with_settings(mine, arms=["half_clip"])
    assert [(c.name, c.with_part) for c in kept.comparisons] == [("half_clip", "no_grad_clip")]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"arms": ["no_flim"]}, "unknown arm 'no_flim'; did you mean 'no_film'"),
        ({"arms": ["no_film", "no_film"]}, "arm 'no_film' is named twice"),
        ({"arms": []}, "nothing to compare"),
        ({"arms": ["full"]}, "nothing to compare"),
        ({"factorial": ["no_film"]}, "at least two factors"),
        ({"factorial": ["no_bilevel", "no_bilevel_all_rows"]}, "cannot be combined"),
        ({"margin": 1}, "unknown key 'margin'; did you mean 'margin_percent'"),
        ({"alpha": 5}, "alpha"),
        ({"preset": "h69"}, "unknown preset 'h69'; did you mean 'h96'"),
        ({"baseline": {"model.worker_hiden": 4}}, r"did you mean 'model\.worker_hidden'"),
        ({"scientific": ["signal.*"]}, "unknown key 'signal"),
        ({"scientific": ["model.film"], "fixed": ["model.*"]}, "'model.film' is named both scientific and fixed"),
        ({"scientific": ["signals.*"]}, "changes model.film, which is not among the scientific settings"),
        ({"fixed": ["model.*"]}, "arm 'no_film' changes model.film, which the list of fixed settings fixes"),
        ({"nuisance": ["model.film"]}, "which the list of nuisance settings fixes"),
        ({"cells": {"a": {}, "b": {"model.film": True}}}, "cells 'a' and 'b' are the same"),
        ({"cells": {"a": {"model.film": True}}}, "cell 'a': arm 'no_film' changes model.film, which cell 'a' fixes"),
        ({"cells": {"a": {"model.workers": False}}}, "cell 'a': arm 'no_film' needs the workers"),
        ({"cells": {"a/b": {}}}, "cell name"),
        ({"baseline": {"model.film": False}}, "changes nothing against the baseline"),
        (
            {
                "baseline": {"training.mode": "joint"},
                "arms": ["no_bilevel", "no_film", "no_bilevel_all_rows", "no_trend"],
            },
            r"'no_bilevel' needs bi-level training.*'no_bilevel_all_rows' needs.*run: --arms no_film,no_trend$",
        ),
        ({"overrides": {"model.film": True}}, "which an override fixes; leave one of them out"),
        ({"overrides": {"training.seed": 3}}, "use seeds"),
        ({"seeds": 1}, "2 to 60"),
        ({"seeds": [1, 1, 2]}, "different"),
        ({"seeds": "lots"}, "seeds"),
        ({"pairs": [{"arm": "no_mixer", "against": "no_film"}]}, "unknown arm in pairs 'no_mixer'"),
        (
            {
                "arms": ["no_film", "no_mixer"],
                "pairs": [{"arm": "no_film", "against": "no_mixer"}, {"arm": "no_mixer", "against": "no_film"}],
            },
            "in a circle: no_film against no_mixer against no_film",
        ),
        (
            {
                "arms": ["no_film", {"name": "again", "claim": "it is the same", "overrides": {"model.film": False}}],
                "pairs": [{"arm": "again", "against": "no_film"}],
            },
            "arm 'again' is the same as its baseline arm 'no_film'",
        ),
        (
            {"arms": [{"name": "no_film", "claim": "it is another", "overrides": {"model.revin": False}}]},
            "a registered arm has that name",
        ),
        ({"arms": ["no_input_noise"], "baseline": {"model.trend": False}}, "needs a place where noise enters"),
    ],
)
def test_what_cannot_be_run_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        study(**fields)


def test_unknown_names() -> None:
    with pytest.raises(ConfigError, match="unknown study 'parts_quik'; did you mean 'parts_quick'"):
        load_study("parts_quik")
    with pytest.raises(ConfigError, match=r"'quickstart' is called 'parts_quick' now.*--study quickstart"):
        load_study("quickstart")
    with pytest.raises(ConfigError, match="unknown cell 'man'; did you mean 'main'"):
        study().config("man")
    with pytest.raises(ConfigError, match="unknown arm 'no_mixer'"):
        study().config("main", "no_mixer")


def test_too_few_seeds_are_refused_with_the_number_that_would_do() -> None:
    five = study(seeds=5, arms=["no_film", "no_mixer"])
    with pytest.raises(ConfigError, match=r"5 seeds cannot reach significance: .* is 0\.062.*take at least 7 seeds"):
        five.schedule()
    with pytest.raises(ConfigError, match="take at least 6 seeds"):
        study(seeds=5).schedule()
    parts = with_settings(load_study("parts"), changes={"seeds": 5})
    with pytest.raises(ConfigError, match="take at least 10 seeds"):
        parts.schedule()


def test_inert_arms_are_no_members_of_the_family() -> None:
    signals = load_study("signals")
    inert = [(f"no_{name}", "main") for name in ("lr_scale", "wd_scale", "grad_clip", "freeze_prob", "loss_weight")]
    assert (signals.family(), signals.family(inert)) == (9, 4)
    assert with_settings(signals, changes={"seeds": 8}).schedule(inert) == (8,)
    assert load_study("retuned").family() == 10  # frozen and re-tuned


def test_looks_are_fixed_beforehand() -> None:
    auto = with_settings(load_study("parts"), changes={"seeds": "auto", "max_seeds": 16, "looks": 3})
    assert auto.schedule() == (11, 13, 16)
    assert auto.seed_list(11) == tuple(range(1, 12))
    with pytest.raises(ConfigError, match="take at least 11 seeds"):
        with_settings(load_study("parts"), changes={"seeds": "auto", "max_seeds": 9, "looks": 3}).schedule()


def test_a_baseline_from_a_search(tmp_path: Path) -> None:
    best = Config.create({"training.protocol": "published", "model.worker_hidden": 12}, preset="h96")
    path = tmp_path / "best.yaml"
    path.write_text(best.to_yaml())
    parts = with_settings(load_study("parts"), config=path)
    assert parts.baseline_of("main") == best
    assert parts.config("main", "no_film", 1).model.worker_hidden == 12
    clean = with_settings(load_study("parts"), config=path, overrides=["training.protocol=clean"])
    assert clean.baseline_of("main").data.controller_rows == "meta"  # the file's protocol gives way
    horizons = with_settings(load_study("horizons"), config=path)
    assert horizons.baseline_of("h336").data.pred_len == 336
    path.write_text(best.override({"model.film": False}).to_yaml())
    with pytest.raises(ConfigError, match="arm 'no_film' changes nothing against the baseline"):
        with_settings(load_study("parts"), config=path)


def test_an_override_is_stronger_than_cells_and_collides_with_arms() -> None:
    horizons = with_settings(load_study("horizons"), overrides=["training.max_epochs=2"])
    assert {horizons.baseline_of(cell).training.max_epochs for cell in horizons.cell_names} == {2}
    with pytest.raises(ConfigError, match=r"arm 'no_film' changes model\.film, which an override fixes"):
        with_settings(load_study("parts"), overrides=["model.film=on"])
    with pytest.raises(ConfigError, match="cells 'ETTh1' and 'ETTh2' are the same"):
        with_settings(load_study("datasets"), overrides=["data.dataset=ETTh1"])


@pytest.mark.parametrize(
    ("retune", "nuisance", "message"),
    [
        ({"seed_offset": 5}, ["training.lr"], r"tuning seeds \[5, 6\] are replicate seeds too"),
        ({}, [], "no nuisance settings"),
        ({"space": {"model.dropout": {"float": [0, 0.4]}}}, ["training.lr"], "not among the nuisance settings"),
        ({}, ["training.controller_wd_ratio"], "no range for training.controller_wd_ratio"),
        ({"space": {"training.lr": {"flaot": [0, 1]}}}, ["training.lr"], "flaot"),
        ({"space": {"data.pred_len": {"int": [4, 8]}}}, ["data.pred_len"], "space: data.pred_len: errors at different"),
        ({"space": {"training.max_epochs": {"int": [1, 2]}}}, ["training.max_epochs"], "it is the axis along which"),
        ({"space": {"training.lr": {"choice": [1, 1.0]}}}, ["training.lr"], "1 and 1.0 are one setting"),
        ({"seed_offset": 2**63}, ["training.lr"], "seed_offset: got 9223372036854775808"),
        ({"replicates": 1001}, ["training.lr"], "retune.replicates: got 1001"),
    ],
)
def test_a_search_for_each_arm_needs_seeds_and_ranges_of_its_own(
    retune: dict[str, Any], nuisance: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        study(retune=retune, nuisance=nuisance)
    assert study(retune={}, nuisance=["training.lr"]).retune.seeds == (10_000, 10_001)  # type: ignore[union-attr]


def test_a_searched_baseline_keeps_its_settings_in_every_cell(tmp_path: Path) -> None:
    """Of a cell's preset only the data counts then: its learning rate would silently replace the searched one."""
    best = tmp_path / "best.yaml"
    best.write_text("training: {lr: 0.0123, seed: 77}\nmodel: {worker_hidden: 13}\n")
    study = with_settings(load_study("horizons"), best)
    for cell, (seq_len, pred_len) in {"h96": (512, 96), "h336": (512, 336), "h720": (720, 720)}.items():
        config = study.baseline_of(cell)
        assert (config.training.lr, config.model.worker_hidden, config.data.dataset) == (0.0123, 13, "ETTh1")
        assert (config.data.seq_len, config.data.pred_len) == (seq_len, pred_len)


def test_names_that_the_study_gives_are_not_for_inline_arms() -> None:
    for name in ("mine@tuned", "mine@matched"):
        own = {"name": name, "claim": "an arm of the test's own", "overrides": {"model.film": False}}
        with pytest.raises(ConfigError, match="are given by the study"):
            create_study({"name": "s", "question": "What of this arm?", "arms": [own]})
