"""Folders of results, clusters, and what must get through."""

import os
from collections.abc import Iterator
from datetime import UTC, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from scripts.bad_inputs.base import ROWS, START, TINY, WINDOWS, Input, csv, dates


def stores() -> Iterator[Input]:
    Path("other/runs").mkdir(parents=True)
    Path("other/runs/data.parquet").write_bytes(b"PAR1 not a table PAR1")
    Path("emptied").mkdir()
    Path("files").mkdir()
    Path("files/runs").write_text("a file where a folder should be")
    Path("foreign/runs").mkdir(parents=True)
    pq.write_table(pa.table({"x": [1]}), "foreign/runs/x-a1-0123456789abcdef.parquet")
    for out, said in (
        ("occupied", "occupied"),
        ("gone", "gone"),
        ("nosuch://a/b", "nosuch"),
        ("", "storage ''"),
        ("x" * 5000, "name|xxx"),
        ("a\0b", "null|NUL|no results|character"),
        ("pipe", "pipe"),
    ):
        for command in (("list",), ("show", "a"), ("export", "a", "--csv", "x.csv"), ("compact",)):
            yield Input("tune.results", f"{command[0]}: --results {out[:20]!r}", (*command, "--results", out), (said,))
    for study in ("quickstart", "..", "", "a/b", "\x1b[2J", "x" * 5000):
        for command in (
            ("show", study),
            ("export", study, "--csv", "x.csv"),
            ("copy", study, "--to", "copied"),
            ("compact", study),
            ("wandb", study, "--offline"),
        ):
            yield Input(
                "tune.results", f"{command[0]}: study {study[:20]!r}", (*command, "--results", "emptied"), ("study",)
            )
    for command in ("tune.report", "ablations.report"):
        for study in ("quickstart", "..", "", "\x1b[2J"):
            yield Input(command, f"study {study[:20]!r}", (study, "--results", "emptied"), ("study",))
        for out in ("occupied", "gone", "nosuch://a/b"):
            yield Input(command, f"--results {out}", ("quickstart", "--results", out), (out.partition(":")[0],))
        for text in ("dynonet", "/", "a/b/c", "", "a/"):
            yield Input(
                command,
                f"--wandb {text!r}",
                ("quickstart", "--results", "emptied", "--wandb", text),
                ("ENTITY/PROJECT",),
            )
        yield Input(
            command,
            "a dry run of nothing",
            ("quickstart", "--results", "emptied", "--wandb-dry-run"),
            ("ENTITY/PROJECT",),
        )
        yield Input(command, "no study", (), ("study",))
    yield Input("tune.results", "no command", (), ("command",))
    yield Input("tune.results", "no such command", ("shwo", "x"), ("shwo.*show",))
    yield Input("tune.results", "a tracker that is none", ("track", "x", "--tracker", "foo"), ("mlflow, tensorboard",))
    yield Input("tune.results", "online and offline", ("wandb", "x", "--online", "--offline"), ("not allowed with",))
    yield Input("tune.results", "copy without a place", ("copy", "x"), ("--to",))
    for command in (("show", "a"), ("export", "a", "--csv", "x.csv")):
        yield Input(
            "tune.results",
            f"{command[0]}: a file for a folder",
            (*command, "--results", "files"),
            ("files|runs|study",),
        )


def forecasts() -> Iterator[Input]:
    none, bar = ("--results", "emptied"), ("--bar", "linear", *TINY)
    own = ("--bar", "linear", "data.path=plain.csv", *WINDOWS)
    for name, given, said in (
        ("nothing named", (), "--study NAME.*--bar best"),
        ("two named", ("--study", "a", "--run", "b"), "--study and --run"),
        ("an arm of no study", ("--arm", "full", "--from", "emptied"), "arm.*study"),
        ("settings beside a study", ("--study", "a", "training.lr=1"), "training.lr.*on record"),
        ("no such study", (*none, "--study", "quickstart"), "quickstart"),
        ("no such run", (*none, "--run", "abc"), "abc"),
        ("a folder of nothing", ("--from", "emptied"), "emptied.*lab.train"),
        ("a file of another kind", ("--from", "plain.csv", "--data", "plain.csv"), "plain.csv.*no forecast model"),
        ("a saved model and no rows", ("--from", "plain.csv"), "--data"),
        ("no such bar", ("--bar", "linaer", *TINY), "did you mean 'linear'"),
        ("a level in percent", (*bar, "--level", "90"), "0.01 to 0.99"),
        ("a level that is none", (*bar, "--level", "nan"), "level"),
        ("a level that so few windows do not bear", (*own, "--level", "0.99"), "13 validation windows"),
        ("no such file of rows", (*own, "--data", "gone.csv"), "gone.csv.*no such file"),
        ("rows of other channels", (*bar, "--data", "plain.csv"), "no column 'HUFL'"),
        ("rows that are a folder", (*own, "--data", "emptied"), "emptied.*no such file"),
        ("an --out that is a file", (*bar, "--out", "plain.csv"), "--out.*plain.csv"),
        ("a format that is none", (*bar, "--format", "xlsx"), "xlsx"),
    ):
        yield Input("dynonet.predict", name, given, (said,))
    yield Input("dynonet.predict", "good", (*bar, "--out", "forecast"), good=True)


def clusters() -> Iterator[Input]:
    nobody = ("--address", "http://127.0.0.1:9")
    there = ("--results", "/srv/x", *nobody)
    submits: dict[str, tuple[tuple[str, ...], str]] = {
        "no command": ((), "required"),
        "no such command": (("serach",), "serach.*search"),
        "no address": (("list",), "--address"),
        "an address without http": (("list", "--address", "127.0.0.1:8265"), "http"),
        "an address of Ray's client": (("list", "--address", "ray://head:10001"), "http"),
        "a port beyond": (("list", "--address", "http://h:99999"), "99999"),
        "a port of text": (("list", "--address", "http://h:port"), "port"),
        "a path in it": (("list", "--address", "http://h:1/x"), "path"),
        "a key in it": (("list", "--address", "http://me:secret@h:1"), "password"),
        "half brackets in the place": (("search", "--results", "s3://[::1", *nobody), "--results.*s3"),
        "half brackets": (("list", "--address", "http://[::1:8265"), "address"),
        "nobody answers": (("list", *nobody), "127.0.0.1:9"),
        "status of nothing": (("status", *nobody), "job"),
        "no place for results": (("search", *nobody), "--results"),
        "a relative place": (("search", "--results", "results", *nobody), "--results.*results"),
        "a key in the place": (("search", "--results", "s3://a:b@c/d", *nobody), "--results"),
        "an unknown preset": (("search", "--preset", "quick", *there), "quick"),
        "an unknown study": (("ablations", "parts_quik", *there), "parts_quick"),
        "a bad setting": (("search", "training.lr=-1", *there), "lr"),
        "a bad key": (("search", "training.lrr=1", *there), "lr"),
        "trials of 0": (("search", "--trials", "0", *there), "trials"),
        "a study's bad name": (("search", "--study", "..", *there), "name"),
        "a variable that is not set": (("search", "--env", "NO_SUCH_KEY", *there), "NO_SUCH_KEY"),
        "a variable with its value": (("search", "--env", "A=b", *there), "name alone"),
        "a config that is not there": (("search", "--config", "gone.yaml", *there), "gone.yaml"),
        "a config that is a pipe": (("search", "--config", "pipe", *there), "pipe"),
        "a relative file of data": (("search", "data.path=x.csv", *there), "data.path"),
        "a ledger": (("ablations", "parts_quick", "--ledger", *there), "ledger"),
        "W&B offline into a bucket": (("search", "--wandb", "offline", "--results", "s3://b/x", *nobody), "offline"),
        "an option that is none": (("search", "--trails", "3", *there), "trails"),
        "an option of another command": (("list", "--detach", *nobody), "detach"),
        "another machine without a token": (("list", "--address", "http://203.0.113.1:8265"), "token"),
    }
    token = {
        "RAY_AUTH_TOKEN": "",
        "RAY_AUTH_TOKEN_PATH": "",
        "HOME": os.getcwd(),
        "DYNONET_RESULTS": "",
        "RAY_AUTH_MODE": "token",
    }
    for name, (given, said) in submits.items():
        yield Input("cluster.submit", name, given, (said,), token)
    Path("open").write_text("secret")
    Path("open").chmod(0o644)
    yield Input(
        "cluster.submit",
        "a token that others can read",
        ("list", *nobody),
        ("open",),
        {**token, "RAY_AUTH_TOKEN_PATH": f"{os.getcwd()}/open"},
    )
    yield Input(
        "cluster.submit",
        "a token that is not there",
        ("list", *nobody),
        ("gone",),
        {**token, "RAY_AUTH_TOKEN_PATH": f"{os.getcwd()}/gone"},
    )
    files: dict[str, tuple[str, str | bytes, str]] = {
        "empty YAML": ("c0.yaml", "", "neither|empty"),
        "a list": ("c1.yaml", "- 1\n", "neither"),
        "keys twice": ("c2.yaml", "provider: {}\nprovider: {}\n", "twice"),
        "nesting without end": ("c3.yaml", "a: " + "[" * 5000, "line 1"),
        "no type of provider": ("c4.yaml", "provider: {}\n", "provider|type"),
        "a provider of text": ("c5.yaml", "provider: aws\n", "provider"),
        "a provider of a list": ("c6.yaml", "provider: [aws]\n", "provider"),
        "null for a provider": ("c7.yaml", "provider:\n", "provider"),
        "nodes of numbers": ("c8.yaml", "provider: {type: aws}\navailable_node_types: 3\n", "available_node_types"),
        "a cluster of nothing": ("c9.yaml", "kind: RayCluster\n", "RayCluster|spec|api"),
        "a job as text": ("c10.yaml", "kind: RayJob\nspec: hello\n", "spec"),
        "groups of numbers": (
            "c11.yaml",
            "kind: RayCluster\napiVersion: ray.io/v1\nspec: {headGroupSpec: 3, workerGroupSpecs: [4]}\n",
            "headGroupSpec",
        ),
        "latin-1": ("c12.yaml", "a: \u00f6".encode("latin-1"), "UTF-8"),
        "no results": ("c13.env", "A=b\n", "DYNONET_RESULTS"),
        "blanks in an env file": ("c14.env", "DYNONET_RESULTS = /x\n", "line 1"),
        "quotes in an env file": ("c15.env", 'DYNONET_RESULTS="/x"\n', "line 1"),
        "a misspelt series": ("c16.env", "DYNONET_RESULTS=/x\nDYNONET_DATASETS=ETTh3\n", "ETTh3"),
        "a script that is none": ("c17.sh", "if then fi (\n", "bash"),
        "a dashboard for all": ("c18.sh", "ray start --head --dashboard-host=0.0.0.0\n", "dashboard"),
        "another kind of file": ("c19.txt", "hello\n", "allowed"),
        "an image of nothing": ("Dockerfile", "FROM python:3.6\n", "FROM"),
    }
    for name, (path, content, said) in files.items():
        Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())
        yield Input("cluster.checks", name, (path,), (said,))
    for path in ("gone.yaml", "pipe", "folder.csv", "/dev/zero", "loop", "x" * 5000):
        yield Input("cluster.checks", f"file {path[:20]}", (path,), ("cannot read|allowed",))
    yield Input("cluster.checks", "no file", (), ("FILE",))


def good() -> Iterator[Input]:
    """What must get through."""
    good: dict[str, tuple[str, ...]] = {
        "dynonet.data": ("check", "plain.csv", *WINDOWS),
        "dynonet.train": (*TINY, "--no-test", "--out", "trained"),
        "dynonet.baseline": TINY,
        "tune.search": (*TINY, "--results", "searched"),
        "ablations.run": ("study.yaml", "--results", "studied"),
        "tune.results": ("list", "--results", "emptied"),
        "cluster.checks": (str(Path(__file__).parents[2] / "cluster" / "env.sh"),),
    }
    for command, given in good.items():
        yield Input(command, "good", given, good=True)
    unix = [str(int((START + timedelta(hours=i)).replace(tzinfo=UTC).timestamp())) for i in range(ROWS)]
    forms = {"seconds": unix, "compact": dates("%Y%m%d%H"), "from 1970 on": [str(3600 * i) for i in range(ROWS)]}
    for name, written in forms.items():
        Path(f"good-{name}.csv").write_text(csv(written))
        yield Input("dynonet.data", f"good: {name}", ("check", f"good-{name}.csv", *WINDOWS), good=True)
