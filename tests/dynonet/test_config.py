"""Config: refusals by message, precedence, round trips, protocols, presets and the content id."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dynonet.config import (
    PROTOCOLS,
    Config,
    ModelConfig,
    SignalsConfig,
)
from dynonet.parts import OFF, SIGNALS
from dynonet.presets import PRESETS
from lab.errors import ConfigError
from lab.settings.data import OWN, SOURCE


def test_every_switch_and_signal_has_its_row() -> None:
    switches = {name for name, field in ModelConfig.model_fields.items() if field.annotation is bool}
    assert switches == set(OFF)
    assert set(SignalsConfig.model_fields) == set(SIGNALS)
    neutral = {"lr_scale": 1, "wd_scale": 1, "dropout_rate": 0.1, "grad_clip": 1, "loss_weight": 1, "freeze_prob": 0}
    published = {name: signal.neutral for name, signal in SIGNALS.items() if not signal.later}
    assert published == {**neutral, "input_noise": 0, "gate_masks": 1}
    for signal in SIGNALS.values():
        assert signal.held[0] <= signal.neutral <= signal.held[1]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.worker_hiden=8", "unknown key 'model.worker_hiden'; did you mean 'model.worker_hidden'?"),
        ("worker_hidden=8", "unknown key 'worker_hidden'; did you mean 'model.worker_hidden'?"),
        ("modle.film=off", "unknown key 'modle.film'; did you mean 'model.film'?"),
        ("training.lr", "override 'training.lr' is not of the form section.key=value"),
        ("=3", "override '=3' is not of the form section.key=value"),
        ("training.lr=[1", "override 'training.lr=\\[1': not YAML"),
        ("training.lr=-1", "training.lr: got -1; .*greater than 0"),
        ("training.lr=.nan", "training.lr: got nan; .*finite"),
        ("training.lr=quick", "training.lr: got 'quick'; .*number"),
        ("training.seed=-1", "training.seed: got -1; .*greater than or equal to 0"),
        (
            "training.protocol=publshed",
            "training.protocol: got 'publshed'; allowed: clean, published.*mean 'published'",
        ),
        ("training.protocol=[clean]", "training.protocol: got '\\[clean\\]'; allowed"),
        ("training.mode=jiont", "training.mode: got 'jiont'; allowed: alternating, joint.*did you mean 'joint'"),
        ("training.mode=unroled", "training.mode: got 'unroled'; allowed: alternating, joint, unrolled"),
        ("data.dataset=ETTh3", "data.dataset: got 'ETTh3'; allowed: .*did you mean 'ETTh"),
        ("data.dataset=csv", "data: dataset=csv reads a file of your own, and none is named; add data.path=FILE"),
        ("data.split=[0.5,0.4,0.3]", "data: split must be three positive fractions that sum to at most 1"),
        ("data.split=[0.5,0.5]", "data.split"),
        ("model.moving_average=4", "model: moving_average must be odd, got 4"),
        ("model.dropout=1", "model.dropout: got 1; .*less than 1"),
        ("model.num_layers=1.5", "model.num_layers: got 1.5"),
        ("model.film=perhaps", "model.film: got 'perhaps'; .*boolean"),
        (
            "signals.lr_scale=adaptiv",
            "lr_scale: got 'adaptiv'; allowed: 'adaptive', 'off', .*0 to 100; did you mean 'adaptive'",
        ),
        ("signals.dropout_rate=1", "dropout_rate: got 1; allowed: .*0 to 0.99"),
        ("signals.freeze_prob=-0.1", "freeze_prob: got -0.1; allowed: .*0 to 1"),
        ("signals.gate_masks=.nan", "gate_masks: got nan; allowed"),
        ("signals.grad_clip=0", "grad_clip: got 0; allowed"),
        ("signals.grad_clip=1_0", "grad_clip: got '1_0'; allowed"),  # 10 to Python's float
        ("training.lr=1_0", "training.lr: got '1_0'; a number is needed"),
        ("data.seq_len=1_0", "data.seq_len: got '1_0'; a number is needed"),
        ("data.split=[true, 0.2, 0.2]", "data.split: got .*numbers are needed, got True"),
    ],
)
def test_refusals(override: str, message: str) -> None:
    for build in (lambda: Config.create(overrides=[override]), lambda: Config.create().override([override])):
        with pytest.raises(ConfigError, match=f"(?s){message}"):
            build()


def test_any_value_is_taken_or_refused_by_message() -> None:
    values = [None, "zzz", -1, 0, 10**30, 1.5, True, [1], [], {"a": 1}, float("inf"), float("nan"), b"x"]
    for key, value in itertools.product(Config.names(), values):
        try:
            Config.create({key: value}).run_id("")
        except ConfigError as error:
            assert str(error).strip(), (key, value)


def test_unknown_preset_and_nested_keys() -> None:
    with pytest.raises(ConfigError, match="unknown preset 'h69'; did you mean 'h96'"):
        Config.create(preset="h69")
    with pytest.raises(ConfigError, match=r"unknown key 'model.films'; did you mean 'model.film'"):
        Config.create({"model": {"films": True}})
    with pytest.raises(ConfigError, match="unknown key 'model'"):
        Config.create({"model": None})


def test_a_config_is_frozen() -> None:
    with pytest.raises(ValidationError):
        Config.create().training.lr = 1.0  # type: ignore[misc]


def test_overrides_are_read_as_yaml() -> None:
    config = Config.create(
        overrides=["model.film=off", "training.lr=1e-3", "training.weight_decay=1E-5", "signals.gate_masks=off",
                   "signals.freeze_prob=off", "signals.lr_scale='2'", "model.worker_hidden=16", "signals.wd_scale=on",
                   "signals.loss_weight=False", "data.path=a.csv", "data.split=[0.7, 0.1, 0.2]"]
    )  # fmt: skip
    assert config.model.film is False
    assert (config.training.lr, config.training.weight_decay) == (1e-3, 1e-5)
    signals = config.signals
    assert (signals.gate_masks, signals.freeze_prob, signals.loss_weight) == (1.0, 0.0, 1.0)
    assert (signals.lr_scale, signals.wd_scale, signals.dropout_rate) == (2.0, "adaptive", "adaptive")
    assert config.model.worker_hidden == 16
    assert config.data.split == (0.7, 0.1, 0.2) and config.data.dataset == "csv"  # as a path alone says
    for name, signal in SIGNALS.items():
        for off in ("off", False, signal.neutral, str(signal.neutral)):
            assert getattr(Config.create({f"signals.{name}": off}).signals, name) == signal.neutral
    assert Config.parse_overrides(["data.path=a=b"]) == {"data.path": "a=b"}


def test_precedence() -> None:
    """Weakest first: defaults, protocol, preset, settings, overrides."""
    config = Config.create(
        {"training.lr": 0.5, "training.batch_size": 7, "training.protocol": "published", "training.schedule": "cosine"},
        preset="h720", overrides=["training.batch_size=9"],
    )  # fmt: skip
    training = config.training
    assert (training.lr, training.batch_size, training.patience, training.controller_lr_ratio) == (0.5, 9, 30, 0.1)
    assert (training.schedule, training.train_revin, config.data.controller_rows) == ("cosine", False, "validation")
    assert training.protocol == "custom"
    assert Config.create(preset="h96").override(["training.lr=1"]).training.batch_size == 512


def test_a_protocol_sets_its_bundle_and_is_named_by_it() -> None:
    assert Config.create().training.protocol == "clean"
    bundles = {name: {key: Config.create({"training.protocol": name}).flat()[key] for key in bundle}
               for name, bundle in PROTOCOLS.items()}  # fmt: skip
    assert bundles == PROTOCOLS
    clean, published = PROTOCOLS["clean"], PROTOCOLS["published"]
    assert clean.keys() == published.keys()
    assert all(clean[key] != published[key] for key in clean)
    assert published == {
        "data.controller_rows": "validation", "data.worker_rows": "train", "training.controller_order": "in_order",
        "training.schedule": "constant", "training.train_revin": False, "training.stopping": "published",
    }  # fmt: skip
    for key, value in published.items():
        one = Config.create({key: value})
        assert one.training.protocol == "custom"
        assert Config.create({**published, key: clean[key]}).training.protocol == "custom"
        back = one.override({"training.protocol": "clean"})
        assert back == Config.create()
        kept = one.override({"training.seed": 3})
        assert kept.flat()[key] == value
        assert kept.training.protocol == "custom"
    assert Config.create(published) == Config.create({"training.protocol": "published"})
    both = Config.create({"training.protocol": "published"}).override(["training.protocol=clean"])
    assert both == Config.create()


# Section 5 of the published network's description.
TABLE = {
    "h96": (512, 96, 512, 64, 8, 1, 0.1, 2e-3, 1e-4, 100, 20),
    "h336": (512, 336, 256, 64, 16, 1, 0.15, 1e-3, 1e-4, 100, 25),
    "h720": (720, 720, 128, 128, 32, 2, 0.2, 5e-4, 1e-3, 150, 30),
    "default": (336, 96, 512, 64, 8, 1, 0.1, 2e-3, 1e-4, 100, 20),
}


@pytest.mark.parametrize("name", TABLE)
def test_presets_are_the_published_settings(name: str) -> None:
    config = Config.create(preset=name)
    data, model, training = config.data, config.model, config.training
    assert (
        data.seq_len, data.pred_len, training.batch_size, model.control_hidden, model.worker_hidden, model.num_layers,
        model.dropout, training.lr, training.weight_decay, training.max_epochs, training.patience,
    ) == TABLE[name]  # fmt: skip
    assert (data.dataset, training.seed, training.mode, model.worker_seq_len) == ("ETTh1", 12345, "alternating", 96)
    ratios = (0.1, 5.0) if name == "h720" else (0.05, 10.0)
    assert (training.controller_lr_ratio, training.controller_wd_ratio) == ratios
    assert {name for name, signal in SIGNALS.items() if not signal.later} == {
        k for k, v in config.signals.model_dump().items() if v == "adaptive"
    }
    assert {*TABLE} <= set(PRESETS) - set(PRESETS.search_names())


def other_value(key: str, value: Any) -> Any:
    """A valid value that is not the default's."""
    special: dict[str, Any] = {
        "data.dataset": "ETTh2", "data.split": (0.5, 0.3, 0.2), "data.path": "other.csv", "data.date_column": "when",
        "data.channels": ("b", "a"), "data.date_format": "%Y", "data.separator": ";", "data.decimal": ",",
        "data.missing_values": (-9999.0,), "data.fill": "previous", "data.period": 12,
        "data.origin": 5000, "data.validation_rows": 500, "data.test_rows": 500, "data.sealed": 100,
        "data.controller_rows": "validation", "data.worker_rows": "train", "data.joint_rows": "worker_and_meta",
        "data.meta_fraction": 0.3, "model.moving_average": 27, "training.mode": "joint",
        "model.worker_cell": "lstm", "model.worker_scope": "all",
        "training.stopping": "published", "training.schedule": "constant", "training.controller_order": "in_order",
        "training.lr_scale_on": "step", "training.precision": "tf32",
        "model.trend_start": "closed_form", "model.trend_reads": "window",
    }  # fmt: skip
    if key in special:
        return special[key]
    if key.startswith("signals."):
        return 0.5
    return not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else value * 1.5 + 0.01


OWN_KEYS = [f"data.{name}" for name in OWN]
MODES = [{"training.mode": "joint"}, {"training.mode": "unrolled"}]


@pytest.mark.parametrize("base", [{}, *MODES, {"data.dataset": "csv", "data.path": "a.csv"}])
def test_the_content_id_changes_with_what_changes_numbers(base: dict[str, Any]) -> None:
    config = Config.create(base)
    # What the identity of the series says, or no code reads in this config.
    idle = {"training.protocol", "data.period", *(key for key in Config.names() if key.startswith("data.synthetic."))}
    idle |= {f"data.{name}" for name in SOURCE} - {"data.dataset"}
    if config.training.mode != "joint":
        idle |= {"data.joint_rows"}
    if config.training.mode != "unrolled":
        idle |= {"training.unroll_every", "training.steering_lr_ratio"}
    ids = {config.run_id("data")}
    for key in Config.names():
        if key == "training.protocol" or (config.data.dataset != "csv" and key in ("data.path", *OWN_KEYS)):
            continue
        settings = {key: "alternating" if base.get(key) == "joint" else other_value(key, config.flat()[key])}
        if key == "data.dataset" and config.data.dataset == "csv":
            settings["data.path"] = None
        changed = config.override(settings)
        assert changed != config
        assert (changed.run_id("data") == config.run_id("data")) == (key in idle), key
        if key not in idle:
            assert changed.run_id("data") not in ids, key
            ids.add(changed.run_id("data"))
    assert config.run_id("other data") not in ids
    for same in (Config.from_json(config.to_json()), Config.create(config.flat()), config.override([])):
        assert same.run_id("data") == config.run_id("data")


def test_equal_settings_have_equal_ids_however_they_are_written() -> None:
    one = Config.create({"training": {"lr": 1, "weight_decay": 0}, "signals": {"gate_masks": "off"}})
    two = Config.create(overrides=["training.lr=1.0", "training.weight_decay=0e0", "signals.gate_masks=1"])
    assert one == two
    assert one.run_id("x") == two.run_id("x")


def test_round_trips(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    configs = [Config.create(preset=name) for name in PRESETS]
    configs += [
        Config.create({"training.protocol": "published", "signals.lr_scale": "off", "training.seed": 2**63 - 1}),
        Config.create({"data.dataset": "csv", "data.path": "a b.csv", "training.lr": 1e-300, "model.film": False}),
        Config.create({"training.schedule": "constant", "data.synthetic.regimes": 0.5}),
    ]
    for config in configs:
        path.write_text(config.to_yaml())
        assert Config.from_yaml(path) == config
        assert Config.from_json(config.to_json()) == config
        assert Config.create(config.flat()) == config


def test_config_files_that_cannot_be_read(tmp_path: Path) -> None:
    for text, message in (
        ("- 1", "expected a mapping of settings, got a list"), ("a: [", "line 1: not YAML"), ("", "got nothing"),
        ("model: {film: 3}", "model.film"), ("modal: {film: on}", "did you mean 'model.film'"),
    ):  # fmt: skip
        path = tmp_path / "config.yaml"
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            Config.from_yaml(path)
    with pytest.raises(ConfigError, match=r"cannot read .*none\.yaml"):
        Config.from_yaml(tmp_path / "none.yaml")


def test_setting_types() -> None:
    types = {key: Config.setting_type(key) for key in Config.names()}
    assert types["model.film"] is bool
    assert types["model.worker_hidden"] is int
    assert types["training.lr"] is float
    assert types["signals.lr_scale"] is types["training.mode"] is types["data.split"] is str
