"""The space: what it refuses, when a range is drawn, and that both ends of every range train."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import optuna
import pytest

from dynonet.config import Config
from dynonet.presets import PRESETS, PUBLISHED
from dynonet.space import SPACE
from lab.errors import ConfigError
from lab.series import load_series
from lab.training.trainer import StackTrainer
from tune.space import Range, Space
from tune.space.points import point

BASE = Config()


def space(specs: dict[str, Any], base: Config = BASE, fixed: dict[str, Any] | None = None) -> Space:
    return Space(specs, base, fixed)


def draws(of: Space, count: int = 60, seed: int = 0) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [of.suggest(study.ask()) for _ in range(count)]


LOW, HIGH = 0.1, 0.4
MODES = {"choice": ["alternating", "joint"]}


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ({"model.worker_hiden": {"int": [4, 8]}}, "'model.worker_hiden'; did you mean 'model.worker_hidden'?"),
        ({"worker_hidden": {"int": [4, 8]}}, "'worker_hidden'; did you mean 'model.worker_hidden'?"),
        ({"model.dropout": [LOW, HIGH]}, r"model.dropout: expected a mapping such as .*got \[0.1, 0.4\]"),
        ({"model.dropout": {"flaot": [LOW, HIGH]}}, "entry of model.dropout 'flaot'; did you mean 'float'?"),
        ({"model.dropout": {"log": True}}, r"exactly one of int, float and choice is needed, got \['log'\]"),
        ({"model.num_layers": {"int": [1, 2], "choice": [1]}}, "exactly one of int, float and choice is needed"),
        ({"model.dropout": {"float": [HIGH, LOW]}}, r"got \[0.4, 0.1\]; lowest <= highest is needed"),
        ({"model.dropout": {"float": [0.0, HIGH], "log": True}}, r"got \[0.0, 0.4\]; 0 < lowest <= highest \(log\)"),
        ({"training.lr": {"float": [0.1, 1.0], "log": "maybe"}}, "training.lr: log is true or false, got 'maybe'"),
        ({"model.num_layers": {"int": ["1_0", 20]}}, r"int takes two numbers, got \['1_0', 20\]"),
        ({"model.num_layers": {"int": [0, 2], "log": True}}, r"got \[0, 2\]; 0 < lowest <= highest \(log\)"),
        ({"model.num_layers": {"int": [1.5, 3]}}, r"int takes two whole numbers, got \[1.5, 3\]"),
        ({"model.dropout": {"float": [LOW]}}, r"float takes \[lowest, highest\], got \[0.1\]"),
        ({"model.dropout": {"float": HIGH}}, r"float takes \[lowest, highest\], got 0.4"),
        ({"model.dropout": {"float": ["a", "b"]}}, r"float takes two numbers, got \['a', 'b'\]"),
        ({"model.dropout": {"float": [LOW, float("nan")]}}, "lowest <= highest is needed"),
        ({"training.lr": {"float": [1e-3, float("inf")]}}, "training.lr: got inf"),
        ({"training.mode": {"choice": []}}, "choice takes a list of values"),
        ({"training.mode": {"choice": "joint"}}, "choice takes a list of values"),
        ({"training.mode": {**MODES, "log": True}}, "choice takes a list of values and no log"),
        ({"model.dropout": {"float": [0.0, 1.0]}}, "model.dropout: got 1.0; less than 1 is needed"),
        ({"model.num_layers": {"int": [0, 2]}}, "model.num_layers: got 0"),
        ({"training.mode": {"choice": ["alternating", "jiont"]}}, "training.mode: got 'jiont'.*did you mean 'joint'?"),
        ({"model.moving_average": {"int": [24, 25]}}, "moving_average must be odd, got 24"),
        (
            {"model.dropout": {"float": [LOW, HIGH], "when": "joint"}},
            "model.dropout: when takes a mapping.*got 'joint'",
        ),
        (
            {"model.dropout": {"float": [LOW, HIGH], "when": {"training.mod": "joint"}}},
            "'training.mod'; did you mean 'training.mode'?",
        ),
        (
            {"model.dropout": {"float": [LOW, HIGH], "when": {"training.mode": ["joint", "altenating"]}}},
            "training.mode: got 'altenating'.*did you mean 'alternating'?",
        ),
        (
            {
                "training.lr": {"float": [1e-3, 1e-2], "when": {"model.film": True}},
                "model.film": {"choice": [True, False], "when": {"training.lr": 0.001}},
                "model.num_layers": {"int": [1, 2]},
            },
            "conditions in a circle among training.lr, model.film$",
        ),
        ({"data.synthetic.seed": {"int": [0, 3]}}, "data.synthetic.seed: a study has one series"),
        ({"data.dataset": {"choice": ["ETTh1", "ETTh2"]}}, "data.dataset: a study has one series"),
        ({"data.pred_len": {"int": [4, 8]}}, "data.pred_len: errors at different horizons do not compare"),
        ({"data.controller_rows": {"choice": ["meta", "validation"]}}, "has seen what judges trials; fix it"),
        ({"training.protocol": {"choice": ["clean", "published"]}}, "training.protocol: it stands for other settings"),
        ({"training.seed": {"int": [1, 9]}}, "training.seed: a search would pick lucky seeds; .*--replicates"),
        ({"training.max_epochs": {"int": [2, 9]}}, r"training.max_epochs: it is the axis .*\(--max-epochs N\)"),
        ({"signals.gate_masks": {"choice": [0.5, 1.0, False]}}, r"choice: 1.0 and off are one setting, 1.0; leave one"),
        ({"training.lr": {"choice": [1, 1.0]}}, "training.lr: choice: 1 and 1.0 are one setting, 1.0"),
        ({"model.dropout": {"choice": [0.0, -0.0]}}, "model.dropout: choice: 0.0 and -0.0 are one setting, 0.0"),
        ({"training.batch_size": {"choice": [True, 64]}}, "training.batch_size: got True; a number is needed"),
        ({"training.lr": {"choice": ["1e-3", 1e-3]}}, "training.lr: choice: 0.001 and 0.001 are one setting"),
        ({"model.film": {"choice": [True, "on"]}}, "model.film: choice: true and true are one setting"),
        ({"training.lr": {"choice": [1e-3, "fast"]}}, "training.lr: got 'fast'"),
        ({"training.mode": {"choice": [date(2020, 1, 1)]}}, r"choice: got datetime.date\(2020, 1, 1\) \(date\); texts"),
        ({"training.lr": {"float": [True, 2]}}, r"float takes two numbers, got \[True, 2\]"),
        ({"model.worker_hidden": {"float": [4, 8]}}, "got a float range, a whole number is needed; take int"),
        ({"model.film": {"int": [0, 1]}}, r"model.film: got a range of numbers; take choice: \[true, false\]"),
        ({"model.num_layers": {"int": [1, 2**64]}}, r"whole numbers from -2\*\*53 to 2\*\*53 are allowed"),
        ({"model.num_layers": {"int": [1, 10**400]}}, "int takes two numbers"),
        ({"model.dropout": {"float": [LOW, HIGH], "when": {"training.mode": []}}}, "training.mode is given no value"),
    ],
)
def test_a_space_that_does_not_fit_is_refused(specs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        space(specs)


@pytest.mark.parametrize(
    "key", [key for key in Config.names() if key.startswith("data.") and key not in Config.searchable_data]
)
def test_of_the_data_a_space_may_vary_only_what_is_known_to_change_neither_target_nor_judge(key: str) -> None:
    specs = {key: {"choice": [BASE.flat()[key]]}}
    with pytest.raises(ConfigError, match=f"^space: {key}: "):
        space(specs)
    assert list(space(specs, fixed={key: BASE.flat()[key]}).as_dict()) == []
    assert list(Space(specs, BASE, recorded=True).as_dict()) == [key], "what was searched can be read"


def test_off_is_drawn_as_often_as_nought() -> None:
    drawn = [params["signals.gate_masks"] for params in draws(space({"signals.gate_masks": {"choice": [0.0, False]}}))]
    assert 20 < sum(value is False for value in drawn) < 40 and {type(value) for value in drawn} == {float, bool}


def test_a_text_that_is_a_number_is_a_number() -> None:
    of = space({"training.lr": {"choice": ["1e-4", "1e-3", "1e-2"]}, "model.dropout": {"float": ["1e-2", "4e-1"]}})
    assert of.as_dict() == {
        "training.lr": {"choice": [1e-4, 1e-3, 1e-2]}, "model.dropout": {"float": [0.01, 0.4]}
    }  # fmt: skip
    assert of.edges({"training.lr": 1e-4, "model.dropout": 0.01}) == dict.fromkeys(of.as_dict(), "lower")
    assert of.edges({"training.lr": 1e-3}) == {} and all(type(p["training.lr"]) is float for p in draws(of, 9))


def test_the_points_of_a_space_are_counted_where_they_can_be() -> None:
    of = space({
        "training.mode": {"choice": ["alternating", "unrolled"]}, "model.num_layers": {"int": [1, 3]},
        "training.unroll_every": {"int": [1, 2], "when": {"training.mode": "unrolled"}},
    })  # fmt: skip
    points = of.every_point(99)
    assert points is not None
    assert len({point(dict(reversed(each.items()))) for each in points} | set(map(point, points))) == len(points)
    assert points is not None and len(points) == 3 + 3 * 2
    assert {json.dumps(p, sort_keys=True) for p in draws(of, 200)} == {json.dumps(p, sort_keys=True) for p in points}
    assert of.every_point(5) is None and space({"model.dropout": {"float": [0.0, 0.4]}}).every_point(99) is None
    assert space({"model.dropout": {"float": [0.1, 0.1]}}).every_point(1) == [{"model.dropout": 0.1}]


def test_a_file_that_is_no_space(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*none.yaml"):
        Space.read(tmp_path / "none.yaml", BASE)
    (tmp_path / "list.yaml").write_text("- model.dropout\n")
    with pytest.raises(ConfigError, match="expected a mapping of settings, got a list"):
        Space.read(tmp_path / "list.yaml", BASE)


def test_draws_lie_in_their_ranges_and_make_configs() -> None:
    of = space({**SPACE, "training.mode": MODES})
    drawn = draws(of)
    for params in drawn:
        assert list(params) == list(of.as_dict())
        config = of.config(params).flat()
        for item in of.ranges:
            value = params[item.path]
            assert config[item.path] == value
            assert value in item.choices if item.kind == "choice" else item.low <= value <= item.high
            assert type(value) in {"int": (int,), "float": (float,), "choice": (int, str)}[item.kind]
    assert {p["training.mode"] for p in drawn} == set(MODES["choice"])
    assert sum(p["training.lr"] < 1.7e-3 for p in drawn) > 20, "log: half of the draws lie below the geometric mean"


def test_settings_of_a_mode_are_searched_where_the_mode_can_be_met() -> None:
    theirs = {"training.steering_lr_ratio", "training.unroll_every"}
    assert theirs.isdisjoint(space(SPACE).as_dict())
    assert theirs.isdisjoint(space({**SPACE, "training.mode": MODES}).as_dict())
    assert theirs <= set(Space(SPACE, BASE.override({"training.mode": "unrolled"})).as_dict())
    drawn = draws(space({**SPACE, "training.mode": {"choice": ["alternating", "unrolled"]}}))
    assert {params["training.mode"] for params in drawn} == {"alternating", "unrolled"}
    for params in drawn:
        assert (theirs <= set(params)) == (params["training.mode"] == "unrolled")


def test_a_conditional_range_is_drawn_only_where_its_condition_is_met() -> None:
    ratio = {"float": [0.01, 1.0], "log": True, "when": {"training.mode": "alternating"}}
    layers = {"int": [1, 2], "when": {"training.controller_lr_ratio": [0.05], "model.film": [True, False]}}
    # The condition's own range may stand behind it in the file.
    specs = {"training.controller_lr_ratio": ratio, "training.mode": MODES}
    drawn = draws(space(specs))
    assert {params["training.mode"] for params in drawn} == {"alternating", "joint"}
    for params in drawn:
        assert ("training.controller_lr_ratio" in params) == (params["training.mode"] == "alternating")
    # Fixed settings decide too: from the base, or on the command line, where they drop the range itself.
    for mode, expected in (("alternating", True), ("joint", False)):
        base = BASE.override({"training.mode": mode})
        for of in (space({"training.controller_lr_ratio": ratio}, base), space(specs, base, {"training.mode": mode})):
            assert all(("training.controller_lr_ratio" in params) == expected for params in draws(of, 5))
    # A condition on a range that was not drawn looks at the base's value.
    of = space({**specs, "model.num_layers": layers})
    assert {("model.num_layers" in p) == (p["training.mode"] == "joint") for p in draws(of)} == {True}


def test_a_condition_on_a_signal_reads_off_as_its_neutral_number() -> None:
    lr = {"float": [1e-3, 1e-2], "when": {"signals.lr_scale": "off"}}
    searched = space({"training.lr": lr, "signals.lr_scale": {"choice": ["adaptive", "off"]}})
    drawn = draws(searched, 30)
    assert {("training.lr" in p) == (p["signals.lr_scale"] == "off") for p in drawn} == {True}
    assert 5 < sum("training.lr" in p for p in drawn) < 25
    assert draws(space({"training.lr": lr}, BASE.override({"signals.lr_scale": "off"})), 1)[0]
    assert not draws(space({"training.lr": lr}), 1)[0]


def test_fixed_settings_drop_a_range_even_one_that_would_be_refused() -> None:
    of = space(
        {"model.num_layers": {"int": [0, 0]}, "model.dropout": {"float": [LOW, HIGH]}}, BASE, {"model.num_layers": 2}
    )
    assert list(of.as_dict()) == ["model.dropout"]


@pytest.mark.parametrize(
    ("spec", "value", "edge"),
    [
        ({"float": [0.0, 1.0]}, 0.01, "lower"),
        ({"float": [0.0, 1.0]}, 0.03, None),
        ({"float": [0.0, 1.0]}, 0.99, "upper"),
        ({"float": [1e-4, 1.0], "log": True}, 1.1e-4, "lower"),
        ({"float": [1e-4, 1.0], "log": True}, 0.5, None),
        ({"float": [1e-4, 1.0], "log": True}, 0.9, "upper"),
        ({"int": [1, 3]}, 1, "lower"),
        ({"int": [1, 3]}, 2, None),
        ({"int": [1, 3]}, 3, "upper"),
        ({"int": [2, 2]}, 2, None),
        ({"choice": [1, 2]}, 1, None),
        ({"choice": [0.1, 1.0, 0.5]}, 1.0, "upper"),
        ({"choice": [0.1, 1.0, 0.5]}, 0.5, None),
    ],
)
def test_a_value_at_the_edge_of_its_range(spec: dict[str, Any], value: float, edge: str | None) -> None:
    path = "training.controller_lr_ratio"
    assert Range.parse(path, spec, Config).edge(value) == edge
    if "int" not in spec and "choice" not in spec:
        of = space({path: spec, "model.dropout": {"float": [0.0, 0.5]}})
        at_limit = edge == "lower" and spec["float"][0] == 0  # a ratio cannot be less
        assert of.edges({path: value}) == ({path: edge} if edge and not at_limit else {}), "one not drawn has no edge"


def test_the_end_of_what_a_setting_allows_is_no_edge() -> None:
    of = space({"model.num_layers": {"int": [1, 3]}, "model.dropout": {"float": [0.0, 0.5]}})
    assert of.edges({"model.num_layers": 1, "model.dropout": 0.0}) == {}
    assert of.edges({"model.num_layers": 3, "model.dropout": 0.5}) == dict.fromkeys(of.as_dict(), "upper")


def test_numbers_to_choose_from_have_edges_too() -> None:
    of = space({
        "model.moving_average": {"choice": [5, 13, 49]}, "training.batch_size": {"choice": [64, 128, 512]},
        "training.lr": {"choice": [1e-3, 1e-2, 1e-1]}, "model.film": {"choice": [True, False]},
        "training.mode": {"choice": ["alternating", "joint", "unrolled"]},
    })  # fmt: skip
    low = {"model.moving_average": 5, "training.batch_size": 64, "training.lr": 1e-3, "model.film": True}
    assert of.edges({**low, "training.mode": "alternating"}) == {
        "training.batch_size": "lower", "training.lr": "lower",  # an average over 2 steps is not allowed
    }  # fmt: skip
    assert of.edges({"model.moving_average": 49, "training.batch_size": 128}) == {"model.moving_average": "upper"}


def test_a_space_is_read_back_from_what_it_says_of_itself() -> None:
    when = {"training.mode": ["alternating", "joint"], "model.film": [True]}
    specs = {**SPACE, "training.mode": MODES, "training.lr": {"float": [1e-3, 1e-2], "log": True, "when": when}}
    of = space(specs)
    again = space(json.loads(json.dumps(of.as_dict())))
    assert again.as_dict() == of.as_dict() and draws(again, 5) == draws(of, 5)
    assert of.conditional and not space(SPACE).conditional
    assert "when training.mode is alternating or joint and model.film is true" in of.ranges[-1].describe()


def ends() -> list[Any]:
    """Every end of every range: of the default space, of each preset's, and of a space that varies everything else."""
    spaces = {"default": (SPACE, {})}
    for name in PRESETS.search_names():
        preset = Config.read_yaml(PRESETS.searches / f"{name}.yaml")
        spaces[name] = (preset.get("space", SPACE), preset["settings"])
    return [
        pytest.param(settings, path, end, id=f"{name}-{path.rsplit('.', 1)[-1]}-{end}")
        for name, (specs, settings) in spaces.items()
        for path, spec in specs.items()
        for end in Range.parse(path, spec, Config).ends()
    ]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_default_ranges_hold_the_published_settings(name: str) -> None:
    published = Config.create(preset=name).flat()
    of = space(SPACE)
    for item in of.ranges:
        value = published[item.path]
        assert value in item.choices if item.kind == "choice" else item.low <= value <= item.high, item.path
    assert "training.controller_lr_ratio" not in of.edges({path: published[path] for path in SPACE})


def test_the_search_that_found_the_tuned_settings_can_find_them() -> None:
    found = Config.create(preset="tuned-etth1-h96").flat()
    preset = Config.read_yaml(PRESETS.searches / "etth1-h96.yaml")
    for item in space(preset["space"]).ranges:
        value = found[item.path]
        assert value in item.choices if item.kind == "choice" else item.low <= value <= item.high, item.path
    searched = {*preset["space"], *preset["settings"]}
    default = Config.create({}).flat()
    assert {path for path, value in found.items() if value != default[path]} <= searched
    assert all(found[path] == value for path, value in preset["settings"].items())


TINY = {
    "data.dataset": "synthetic", "data.seq_len": 8, "data.pred_len": 2, "data.synthetic.rows": 100,
    "training.batch_size": 256,
}  # fmt: skip


@pytest.mark.parametrize(("settings", "path", "end"), ends())
def test_both_ends_of_every_range_build_and_train_a_step(settings: dict[str, Any], path: str, end: Any) -> None:
    rows = {"data.synthetic.rows": 6000} if path == "data.seq_len" else {}
    if end in ("folded", "mean"):  # of a day's hours
        rows = {"data.synthetic.rows": 600, "data.seq_len": 48}
    config = Config.create({**settings, **TINY, **rows}).override({path: end})
    assert config.flat()[path] == end
    trainer = StackTrainer([config], load_series(config.data))
    assert trainer.steps == 1 or rows or path == "training.batch_size"
    trainer.run_epoch()
    run = trainer.runs[0]
    assert run.status in ("running", "complete") and {"train_loss", "controller_loss", "val_mse"} <= set(run.history[0])
