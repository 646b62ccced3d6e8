"""The reader of YAML: what could be misread is refused with its line, plain scalars are those of the schema."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from dynonet.config import Config
from lab.errors import ConfigError
from lab.settings.yaml import MOST_BYTES, YamlError, dump, parse, parse_as_1_1, read_mapping

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: 'a' is given twice, first in line 1"),
        ("a: {b: 1,\n  'b': 2}", "line 2: 'b' is given twice"),
        ("x:\n- a: 1\n  a: 2", "line 3: 'a' is given twice"),
        ("1: x", "line 1: key 1 is a number, text is needed; .* in quotes"),
        ("a: 1\n~: x", "line 2: key ~ is null"),
        ("? \n: x", "line 1: key .empty. is null"),
        ("true: x", "key true is a truth value"),
        ("? [a]\n: x", "line 1: a key is a list"),
        ("{a: b}: x", "line 1: a key is a mapping"),
        ("a:\n  " + "[" * 100_000, "line 2: nested more than 64 deep"),
        ("- " * 100_000, "nested more than 64 deep"),
        ("a: &a [1, *a]", "line 1: alias '.a' stands within"),
        ("a: &a\n  <<: *a", "line 2: alias '.a' stands within"),
        (BOMB, "line 5: more than 50000 values"),
        ("[" + "1," * 60_000 + "]", "more than 50000 values"),
        ("a: *b", "line 1: not YAML: found undefined alias"),
        ("a: 1\n---\nb: 2", "line 2: a second document begins here"),
        ("a: 1\nb: !!python/object/apply:os.system [x]", "line 2: the tag '!!python/object/apply:os.system'"),
        ("a: !mine 1", "the tag '!mine' is not allowed"),
        ("a: !!int x", "'x' cannot be read as a number"),
        ("a: " + "9" * 5000, "cannot be read as a number"),
        ("a: 1\nb: \x1b[31m", "line 2: not YAML: character U.001B"),
        ("a: 1\nb: [", "line 2: not YAML"),
        ("a: b: c", "line 1: not YAML: mapping values are not allowed here"),
    ],
)
def test_what_could_be_misread(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(YamlError, match=said):
        parse(text)
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as error:
        read_mapping(path)
    assert str(error.value).startswith(f"{path}, line ")
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((word, word) for word in ("no", "No", "yes", "on", "OFF", "y", "1_000", "1:30", "2020-01-31", "=", "0b1")),
        *((word, True) for word in ("true", "True", "TRUE")),
        *((word, None) for word in ("~", "null", "Null", "")),
        *(("1e-4", 1e-4), ("1.", 1.0), (".5", 0.5), ("-1.5E+3", -1500.0), ("-.INF", float("-inf"))),
        *(("010", 10), ("0x1F", 31), ("0o17", 15), ("+3", 3), ("'1'", "1"), ("!!str 1", "1"), ("!!float 1", 1.0)),
    ],
)
def test_plain_scalars_are_those_of_the_core_schema(text: str, value: Any) -> None:
    found = parse(f"a: {text}")["a"]
    assert found == value and type(found) is type(value)


def test_anchors_and_merges() -> None:
    assert parse("a: &a {b: 1, c: 2}\nd: {<<: *a, b: 3}\ne: *a") == {
        "a": {"b": 1, "c": 2}, "d": {"b": 3, "c": 2}, "e": {"b": 1, "c": 2},
    }  # fmt: skip


def test_files_that_others_read_as_yaml_1_1() -> None:
    assert parse_as_1_1("a: on\n---\nb: 0o7\nc: 1_000\n---\n") == [{"a": True}, {"b": "0o7", "c": 1000}, None]
    with pytest.raises(YamlError, match="line 2: key on is a truth value"):
        parse_as_1_1("a: 1\non: 2")
    with pytest.raises(YamlError, match="line 2: 'a' is given twice"):
        parse_as_1_1("a: 1\na: 2")


def test_files_that_are_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(b"a: 1\nb: \xff\xfe\x00")
    (tmp_path / "huge").write_bytes(b"#" * (MOST_BYTES + 1))
    (tmp_path / "empty").write_text("# nothing\n")
    for name, said in (
        ("none", "cannot read .*none: No such file"), ("", "it is a folder"), ("pipe", "it is a pipe"),
        ("binary", "binary, line 2: it is no UTF-8 text .byte 0xff"), ("huge", "more than 1 MiB"),
        ("empty", "expected a mapping of settings, got nothing"), ("a\nb\x1b\0", r"cannot read .*a\\nb\\x1b\\x00"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            read_mapping(tmp_path / name)


def test_what_is_written_reads_the_same_by_either_schema() -> None:
    content = {
        "a": ["1e5", "No", "0o7", "1_000", "~", "<<", "1:30", "2020-01-01", "x # y: z"],
        "b": [1e-5, 8, True, None],
    }
    assert parse(dump(content)) == yaml.safe_load(dump(content)) == content


def test_words_are_truth_values_where_a_switch_is_set_and_text_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "baseline: {model.film: off, model: {revin: No}, data.date_column: No}\n"
        "cells: {model: {signals.gate_masks: off}, on: {data: {date_column: off}}}\n"
        "arms: [{name: mine, overrides: {signals.lr_scale: off, training.lr: 1e-4}}]\n"
        "space:\n  signals.gate_masks: {choice: [adaptive, off, 0.5], when: {model.film: [yes, no]}}\n"
        "  training.lr: {float: [1e-4, 1e-3], log: no}\n"
    )
    found = Config.read_yaml(path)
    assert found["baseline"] == {"model.film": False, "model": {"revin": False}, "data.date_column": "No"}
    assert found["cells"] == {"model": {"signals.gate_masks": False}, "on": {"data": {"date_column": "off"}}}
    assert found["arms"][0]["overrides"] == {"signals.lr_scale": False, "training.lr": 1e-4}
    assert found["space"]["signals.gate_masks"] == {
        "choice": ["adaptive", False, 0.5], "when": {"model.film": [True, False]},
    }  # fmt: skip
    assert found["space"]["training.lr"] == {"float": [1e-4, 1e-3], "log": False}


def test_a_run_keeps_its_id_however_a_switch_is_written(tmp_path: Path) -> None:
    path, ids = tmp_path / "s.yaml", set()
    for word in ("off", "no", "No", "false", "OFF"):
        path.write_text(f"model.film: {word}\nsignals: {{gate_masks: {word}}}\n")
        ids.add(Config.from_yaml(path).run_id("0"))
        ids.add(Config.create(overrides=[f"model.film={word}", f"signals.gate_masks={word}"]).run_id("0"))
    assert ids == {Config.create({"model.film": False, "signals.gate_masks": 1.0}).run_id("0")}


def test_a_setting_is_given_once() -> None:
    with pytest.raises(ConfigError, match=r"'model\.film' is given twice"):
        Config.create({"model.film": False, "model": {"film": True}})
