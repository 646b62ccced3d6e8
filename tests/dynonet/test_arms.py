"""The registry: every arm differs from the full network exactly where it says, and says so."""

from typing import Any

import pytest

from dynonet.arms import ARMS, arm_named
from dynonet.config import PROTOCOLS, Config
from dynonet.parts import OFF, PARTS, SIGNALS
from lab.arms import FULL, Arm, difference
from lab.errors import ConfigError

BASE = Config()

NEUTRAL = {f"signals.{name}": signal.neutral for name, signal in SIGNALS.items() if not signal.later}
NO_CONTROLLER = {**NEUTRAL, "model.film": False, "model.context": False}
JOINT = {"training.mode": "joint", "data.joint_rows": "worker"}
JOINT_ALL = {"training.mode": "joint", "data.joint_rows": "worker_and_meta"}
PUBLISHED = {key: value for key, value in PROTOCOLS["published"].items() if PROTOCOLS["clean"][key] != value}
EXPECTED: dict[str, dict[str, Any]] = {
    FULL: {},
    **{f"no_{name}": {f"model.{name}": False} for name, part in PARTS.items() if not part.later},
    **{f"no_{name}": {f"signals.{name}": signal.neutral} for name, signal in SIGNALS.items() if not signal.later},
    "no_signals": NEUTRAL,
    "no_controller": NO_CONTROLLER,
    "no_controller_all_rows": {**NO_CONTROLLER, **JOINT_ALL},
    "no_bilevel": JOINT,
    "no_bilevel_all_rows": JOINT_ALL,
    "lstm_workers": {"model.worker_cell": "lstm"},
    "shared_worker": {"model.worker_scope": "all"},
    "controller_on_validation": {"data.controller_rows": "validation"},
    "published_protocol": PUBLISHED,
}
LATER = {f"no_{name}": f"{place}.{name}" for place, rows in (("model", PARTS), ("signals", SIGNALS))
         for name, row in rows.items() if row.later}  # fmt: skip
ADDED = {
    "only_trend": {},
    "only_revin": {"model.revin": True},
    "only_mixer": {"model.mixer": True},
    "only_workers": {"model.workers": True},
    "only_decomposition": {"model.decomposition": True},
    "only_film": {"model.film": True},
    "only_context": {"model.context": True},
    **{f"only_{name}": {f"signals.{name}": "adaptive"} for name in SIGNALS},
    "only_bilevel": {"training.mode": "alternating", "data.joint_rows": None},
    "unrolled": {"training.mode": "unrolled", "training.unroll_every": 1, "training.steering_lr_ratio": 0.5},
}


def test_every_arm_is_here() -> None:
    assert set(ARMS) == {*EXPECTED, *LATER, *ADDED, "no_closed_form"}


def test_what_came_later_is_off_and_can_be_taken_out_where_it_is_on() -> None:
    for name, key in LATER.items():
        with pytest.raises(ConfigError, match="changes nothing against the baseline"):
            arm_named(name).apply(BASE)
        assert arm_named(name).apply(BASE.override({key: "on"})) == BASE


@pytest.mark.parametrize("name", EXPECTED)
def test_an_arm_differs_from_full_exactly_where_it_says(name: str) -> None:
    changed = difference(BASE, arm_named(name).apply(BASE))
    assert {key: after for key, (_, after) in changed.items()} == EXPECTED[name]


def test_the_closed_form_start_can_be_left_out_where_it_is() -> None:
    closed = BASE.override({"model.trend_start": "closed_form"})
    assert not difference(BASE, arm_named("no_closed_form").apply(closed))
    for without in (BASE, closed.override({"model.trend": False})):
        with pytest.raises(ConfigError, match="needs a trend layer that starts at a closed form"):
            arm_named("no_closed_form").apply(without)


def test_bilevel_training_of_either_kind_can_be_left_out() -> None:
    unrolled = BASE.override({"training.mode": "unrolled"})
    assert difference(BASE, arm_named("no_bilevel").apply(unrolled)) == difference(BASE, BASE.override(JOINT))


@pytest.mark.parametrize("name", ADDED)
def test_an_added_part_is_all_that_is_added_to_its_prerequisites(name: str) -> None:
    arm = arm_named(name)
    config = arm.apply(BASE)
    if name == "only_trend":
        on = [part for part in OFF if getattr(config.model, part)]
        assert on == ["trend"]
        assert [signal for signal in SIGNALS if getattr(config.signals, signal) != SIGNALS[signal].neutral] == []
        assert config.training.mode == "joint"
        return
    changed = difference(arm_named(arm.against).apply(BASE), config)
    assert {key: after for key, (_, after) in changed.items()} == ADDED[name]
    assert arm.adds
    assert not arm.removes


@pytest.mark.parametrize("arm", ARMS.values(), ids=lambda arm: arm.name)
def test_what_an_arm_says_of_itself(arm: Arm) -> None:
    assert arm.claim[-1].isalnum()  # a sentence's body: reports put it into sentences of theirs
    assert arm.against in ARMS
    assert bool(arm.removes) + bool(arm.adds) == (0 if arm.name in (FULL, "only_trend") else 1)
    assert arm.attributable == (arm.name != "published_protocol")


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("no_film", {"model.workers": False}, "needs the workers"),
        ("no_dropout_rate", {"model.workers": False}, "needs the workers"),
        ("lstm_workers", {"model.workers": False}, "needs the workers"),
        ("no_workers", {"model.trend": False}, "needs the trend layer"),
        ("no_input_noise", {"model.trend": False}, "needs a place where noise enters"),
        ("no_bilevel", {"training.mode": "joint"}, "needs bi-level training"),
        ("unrolled", {"training.mode": "joint"}, "needs alternating training"),
        ("no_bilevel", NO_CONTROLLER, "needs a controller that learns"),
        ("controller_on_validation", {"training.protocol": "published"}, "needs a controller that learns from meta"),
        ("no_film", {"model.film": False}, "changes nothing against the baseline: model.film is already False"),
        ("published_protocol", {"training.protocol": "published"}, "changes nothing"),
        ("shared_worker", {"model.worker_scope": "all"}, "changes nothing"),
    ],
)
def test_an_arm_is_refused_where_the_baseline_lacks_what_it_needs(
    name: str, settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        arm_named(name).apply(BASE.override(settings))


def test_no_arm_of_a_misspelled_name() -> None:
    with pytest.raises(ConfigError, match="unknown arm 'no_flim'; did you mean 'no_film'"):
        arm_named("no_flim")


def test_a_misspelled_override_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'model\.film'"):
        Arm("mine", "a claim", {"model.flim": False}, "film").apply(BASE)
    with pytest.raises(ConfigError, match=r"arm 'mine': signals\.grad_clip"):
        Arm("mine", "a claim", {"signals.grad_clip": "adaptiv"}, "x").apply(BASE)
    with pytest.raises(ConfigError, match="arm name"):
        Arm("no/slash", "a claim")


def test_an_arm_decides_what_its_protocol_changes() -> None:
    assert arm_named("published_protocol").touches(BASE) == {"training.protocol", *PUBLISHED}
