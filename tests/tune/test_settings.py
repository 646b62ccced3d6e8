"""Settings of a search: who wins, what is refused, and what may change between two calls on one study."""

from pathlib import Path
from typing import Any

import pytest

from dynonet.config import Config
from dynonet.presets import PRESETS
from lab.errors import ConfigError
from lab.machines.options import Resources
from lab.store.tables import ResultsError
from tune.search import asked, parser
from tune.settings import SearchSettings, differences


def settings(*arguments: str) -> SearchSettings:
    return asked(parser().parse_args(["--preset", "smoke", *arguments])).settings()


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", [*PRESETS])
def test_every_preset_is_a_search(name: str) -> None:
    found = asked(parser().parse_args(["--preset", name])).settings()
    assert found.study == name and found.space.ranges
    assert found.base.training.protocol == ("custom" if name == "tuned-series-etth1" else "clean"), "its schedule is"
    assert found.space.config({}) == found.base


def test_the_default_preset_and_its_budget() -> None:
    found = asked(parser().parse_args([])).settings()
    assert found.study == "quickstart" and found.base.data.dataset == "water_towers"
    assert (found.budget.trials, found.budget.replicates, found.budget.final_replicates) == (30, 2, 5)


def test_who_wins(tmp_path: Path) -> None:
    config = written(
        tmp_path / "c.yaml",
        "training: {max_epochs: 7, patience: 3}\nmodel.num_layers: 2\ndata.pred_len: 4\n",
    )
    base = settings("--config", config).base  # a file of nested sections or dotted keys over the preset's
    assert (base.training.max_epochs, base.training.patience, base.model.num_layers) == (7, 3, 2)
    assert (base.data.pred_len, base.data.seq_len, base.training.batch_size) == (4, 32, 64)
    base = settings("--config", config, "--max-epochs", "9", "training.patience=2", "data.pred_len=5").base
    assert (base.training.max_epochs, base.training.patience, base.data.pred_len) == (9, 2, 5)
    assert settings("--max-epochs", "9", "training.max_epochs=5").base.training.max_epochs == 5
    found = settings("--trials", "7", "--replicates", "3", "--seed", "4", "--objectives", "val_mse,parameters")
    assert (found.budget.trials, found.budget.replicates, found.budget.seed) == (7, 3, 4)
    assert found.budget.objectives == ("val_mse", "parameters") and found.budget.final_replicates == 2
    assert settings("--final-replicates", "0").budget.final_replicates == 0, "0 is a number, not a missing flag"


def test_an_override_drops_the_range_of_the_preset_and_of_a_file(tmp_path: Path) -> None:
    found = settings("model.worker_hidden=3")
    assert list(found.space.as_dict()) == ["model.control_hidden", "training.lr"]
    assert found.space.config({"training.lr": 0.001}).model.worker_hidden == 3
    space = written(tmp_path / "s.yaml", "model.dropout: {float: [0.0, 0.5]}\nmodel.worker_hidden: {int: [2, 3]}\n")
    assert list(settings("--space", space).space.as_dict()) == ["model.dropout", "model.worker_hidden"]
    assert list(settings("--space", space, "model.worker_hidden=4").space.as_dict()) == ["model.dropout"]
    with pytest.raises(ConfigError, match="nothing is left to search"):
        settings("--space", space, "model.worker_hidden=4", "model.dropout=0.2")


def test_a_protocol_sets_its_bundle_whatever_the_file_says(tmp_path: Path) -> None:
    best = written(tmp_path / "best.yaml", Config.create({"data.pred_len": 8, "data.seq_len": 32}).to_yaml())
    base = settings("--config", best, "training.protocol=published").base
    assert (base.training.protocol, base.data.controller_rows, base.training.schedule) == (
        "published",
        "validation",
        "constant",
    )
    base = settings("--config", best, "training.protocol=published", "data.controller_rows=meta").base
    assert (base.training.protocol, base.data.controller_rows, base.training.schedule) == ("custom", "meta", "constant")
    file = written(tmp_path / "published.yaml", "training.protocol: published\n")
    assert settings("--config", file).base.data.controller_rows == "validation"
    assert settings("--config", file, "training.protocol=clean").base.data.controller_rows == "meta"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "smok"], "unknown preset 'smok'; did you mean 'smoke'?"),
        (["--preset", "zzz"], "unknown preset 'zzz'; allowed: default, etth1-h96, h336, h720, h96, .*, smoke"),
        (["--objectives", "val_mae"], "unknown objective 'val_mae'; did you mean 'val_mse'?"),
        (["--objectives", "parameters"], "objectives: got parameters; allowed: val_mse, or val_mse,parameters"),
        (["--objectives", "val_mse,val_mse"], "objectives: got val_mse,val_mse"),
        (["--objectives", ""], "unknown objective ''"),
        (["--sampler", "nsga"], "unknown sampler 'nsga'; did you mean 'nsga2'?"),
        (["--race", "--replicates", "1"], "race: got replicates 1; a race needs at least 2: --replicates 2, or leave"),
        (
            ["--race", "--origins", "2"],
            "race: got origins 2; a race is over seeds at one origin: --origins 1, or leave",
        ),
        (["--race", "--objectives", "val_mse,parameters"], "race: got objectives val_mse,parameters; a race has one: "),
        (["--trials", "0"], "trials: got 0, at least 1 is needed"),
        (["--replicates", "0"], "replicates: got 0, at least 1 is needed"),
        (["--replicates", "1001"], "replicates: got 1001, at most 1000 are allowed"),
        (["--final-replicates", "-1"], "final-replicates: got -1, at least 0 is needed"),
        (["--max-failures", "-1"], "max-failures: got -1, at least 0 is needed"),
        (["--grace-epochs", "0"], "grace-epochs: got 0, at least 1 is needed"),
        (["--reduction-factor", "1"], "reduction-factor: got 1.0, a number above 1 is needed"),
        (["--reduction-factor", "nan"], "reduction-factor: got nan, a number above 1 is needed"),
        (["--cpus-per-trial", "-1"], "cpus-per-trial: got -1, at least 0 is needed"),
        (["--gpus-per-trial", "nan"], "gpus-per-trial: got nan, at least 0 is needed"),
        (["--gpu-sharing", "mps"], "gpu-sharing: mps goes with --gpus-per-trial between 0 and 1, such as 0.25 or auto"),
        (["--max-concurrent", "0"], "max-concurrent: got 0, at least 1 is needed"),
        (["--time-budget", "-5"], "time-budget: got -5, at least 0 is needed"),
        (["--max-epochs", "0"], "training.max_epochs: got 0"),
        (["--trials", "1000001"], "trials: got 1000001, at most 1000000 are allowed"),
        (["--seed", str(2**63)], "seed: got 9223372036854775808, at most 9223372036854775807 are allowed"),
        (["--seed", str(-(2**64))], "seed: got -18446744073709551616, at least -9223372036854775807 is needed"),
        (["--final-replicates", "1001"], "final-replicates: got 1001, at most 1000 are allowed"),
        (["--max-parameters", "0"], "max-parameters: got 0, at least 1 is needed"),
        (["--max-parameters", "9" * 99], "max-parameters: got 9{40}, at most"),
        (["--reduction-factor", "1.001"], r"reduction-factor: got 1.001, .*\(from 1.01 to 1,000,000\)"),
        (["--time-budget", "nan"], "time-budget: got nan, at least 0 is needed"),
        (["--time-budget", "inf"], r"time-budget: got inf, at most 1e\+09 are allowed"),
        (["--storage-patience", "nan"], "storage-patience: got nan"),
        (["--cpus-per-trial", "0.00001"], "cpus-per-trial: got 1e-05; four decimals are allowed, as Ray counts"),
        (["--gpus-per-trial", "1.5"], "gpus-per-trial: got 1.5; above 1 whole numbers are allowed, as Ray counts"),
        (["--max-epochs", str(2**63)], "training.max_epochs: got 9223372036854775808; whole numbers of 64 bits"),
        ([f"training.seed={2**63 - 1}"], "training.seed: got 9223372036854775807, at most"),
        (["model.worker_hiden=8"], "'model.worker_hiden'; did you mean 'model.worker_hidden'?"),
        (["model.num_layers=two"], "model.num_layers: got 'two'"),
        (["model.num_layers"], "override 'model.num_layers' is not of the form section.key=value"),
        (["training.protocol=publishd"], "did you mean 'published'?"),
        (["--config", "/nowhere.yaml"], "cannot read /nowhere.yaml"),
        (["--space", "/nowhere.yaml"], "cannot read /nowhere.yaml"),
    ],
)
def test_bad_settings_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(*arguments)


def test_bad_files_and_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'model\.worker_hiden'; did you mean"):
        settings("--config", written(tmp_path / "c.yaml", "model: {worker_hiden: 8}\n"))
    with pytest.raises(ResultsError, match="study name ''"):  # not the preset's
        settings("--study", "")
    with pytest.raises(ResultsError, match=r"study name '../x'"):
        settings("--study", "../x")


def changed(*arguments: str, before: tuple[str, ...] = (), sha: str = "a") -> list[str]:
    return differences(settings(*before).identity("a"), settings(*arguments).identity(sha))


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--trials", "9"],
        ["--final-replicates", "3"],
        ["--max-failures", "0"],
        ["--cpus-per-trial", "2"],
        ["--study", "x"],
    ],
)
def test_what_may_change_within_a_study(arguments: list[str]) -> None:
    assert changed(*arguments) == []


def test_what_may_not_change_is_shown_line_by_line(tmp_path: Path) -> None:
    assert changed("--replicates", "3") == ["search.replicates: 2 -> 3"]
    assert changed("--seed", "1", "--sampler", "nsga2") == ["search.sampler: tpe -> nsga2", "search.seed: 0 -> 1"]
    assert changed("--objectives", "val_mse,parameters") == [
        "search.objectives: ['val_mse'] -> ['val_mse', 'parameters']"
    ]
    assert changed("--grace-epochs", "2", "--reduction-factor", "4") == [
        "search.grace_epochs: 1 -> 2", "search.reduction_factor: 2 -> 4.0"
    ]  # fmt: skip
    assert changed("--reduction-factor", "2") == [], "2 and 2.0 are one number"
    assert changed("--race") == ["search.race: (not set) -> True"], "without it a study of before goes on"
    assert changed("--max-epochs", "5") == ["settings.training.max_epochs: 4 -> 5"]
    assert changed("data.pred_len=4") == ["settings.data.pred_len: 8 -> 4"]
    assert changed(sha="b") == ["data_sha256: a -> b (other data: a value, a name, the order, a date or a split)"]
    assert changed("model.worker_hidden=3") == [
        "settings.model.worker_hidden: (not set) -> 3", "space.model.worker_hidden: {'int': [2, 4]} -> (not set)"
    ]  # fmt: skip
    space = tmp_path / "s.yaml"
    space.write_text(
        "model.control_hidden: {int: [4, 9]}\nmodel.worker_hidden: {int: [2, 4]}\n"
        "training.lr: {float: [1.0e-3, 1.0e-2], log: true}\n"
    )
    assert changed("--space", str(space)) == ["space.model.control_hidden: {'int': [4, 8]} -> {'int': [4, 9]}"]
    # The order of the ranges says nothing.
    lines = space.read_text().replace("9", "8").splitlines(keepends=True)
    space.write_text("".join(reversed(lines)))
    assert changed("--space", str(space)) == []


def test_a_space_is_compared_by_type_and_value_but_not_by_how_it_is_written(tmp_path: Path) -> None:
    def begun(name: str, choices: str, rate: str = "[1.0e-4, 1.0e-3]") -> dict[str, Any]:
        text = f"signals.gate_masks: {{choice: {choices}}}\ntraining.lr: {{choice: {rate}}}\n"
        return settings("--space", written(tmp_path / f"{name}.yaml", text)).identity("a")

    before = begun("before", "[0.0, false, adaptive]")
    assert before["space"]["signals.gate_masks"] == {"choice": [0.0, False, "adaptive"]}
    assert differences(before, begun("a", "[0, 'off', true]", "['1e-4', 1.0e-3]")) == []
    assert differences(before, begun("b", "[0.0, 1.0, 'on']", "['1e-4', '1e-3']")) == []
    raw = {**before, "space": {**before["space"], "training.lr": {"choice": ["1e-4", "1e-3"]}}}
    assert differences(raw, before) == [], "as it was recorded when YAML's 1e-4 stayed a text"
    assert differences(before, begun("c", "[0.0, 0.1, adaptive]")) == [
        "space.signals.gate_masks: {'choice': [0.0, False, 'adaptive']} -> {'choice': [0.0, 0.1, 'adaptive']}"
    ]


def test_final_replicates_share_no_seed_with_the_search() -> None:
    found = settings("--replicates", "1000", "--final-replicates", "3")
    searched = set(range(found.base.training.seed, found.base.training.seed + 1000))
    finals = found.final_configs(found.space.config({"model.control_hidden": 5}))
    assert len({c.training.seed for c in finals} - searched) == 3 and {c.model.control_hidden for c in finals} == {5}


def test_numbers_of_flags_reach_the_search_as_numbers() -> None:
    line = ["--cpus-per-trial", "0.5", "--gpus-per-trial", "0.25", "--time-budget", "30"]
    assert asked(parser().parse_args(line)).resources == Resources(0.5, 0.25, time_budget=30.0)
    assert asked(parser().parse_args(["--gpus-per-trial", "auto"])).resources == Resources(gpus_per_trial="auto")


def test_an_unknown_kernel_is_refused_before_ray_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNONET_KERNEL", "fast")
    with pytest.raises(ConfigError, match=r"unknown DYNONET_KERNEL 'fast'; .*allowed: auto, compiled, torch"):
        settings()
