"""Settings, as they are typed and in files, options, and the environment."""

import os
from collections.abc import Iterator
from pathlib import Path

from scripts.bad_inputs.base import TINY, Input, csv

SETTINGS: dict[str, tuple[str, str]] = {
    "no such key": ("training.epochs=3", "unknown key.*(mean|max_epochs)"),
    "a section left out": ("worker_hidden=8", "did you mean 'model.worker_hidden'"),
    "no value": ("training.lr", "section.key=value"),
    "no key": ("=3", "section.key=value"),
    "an empty value": ("training.lr=", "lr"),
    "NaN": ("training.lr=.nan", "lr.*nan"),
    "nan as Python has it": ("training.lr=nan", "lr.*nan"),
    "infinite": ("training.lr=.inf", "lr.*inf"),
    "0": ("training.lr=0", "lr.*0"),
    "negative": ("training.weight_decay=-1", "weight_decay.*-1"),
    "a list for a number": ("training.lr=[1, 2]", "lr.*(1, 2|number)"),
    "a mapping for a number": ("training.lr={a: 1}", "lr"),
    "truth for a number": ("training.lr=true", "lr.*number"),
    "a number with an underscore": ("training.lr=1_0", "lr.*1_0"),
    "a number in quotes": ("training.lr='0.01'", "lr.*0.01"),
    "a decimal comma": ("training.lr=0,01", "lr.*0,01"),
    "a number for a switch": ("model.film=2", "film.*2"),
    "text for a switch": ("model.film=maybe", "film.*maybe"),
    "null": ("model.film=null", "film"),
    "a batch of 0": ("training.batch_size=0", "batch_size.*0"),
    "a seed of 2**63": (f"training.seed={2**63}", "seed.*64 bits"),
    "a seed below 0": ("training.seed=-1", "seed.*-1"),
    "a seed of 5,000 digits": ("training.seed=" + "9" * 5000, "seed|number"),
    "an even average": ("model.moving_average=4", "moving_average.*odd"),
    "nothing forecasts": ("model.trend=false,model.workers=false", "trend"),
    "dropout of 1": ("model.dropout=1", "dropout.*1"),
    "a signal out of range": ("signals.dropout_rate=7", "dropout_rate.*7"),
    "a signal of another kind": ("signals.lr_scale=adaptiv", "adaptive"),
    "a signal of NaN": ("signals.lr_scale=.nan", "lr_scale.*allowed"),
    "a mode of another kind": ("training.mode=altern", "did you mean 'alternating'"),
    "a protocol of another kind": ("training.protocol=publish", "did you mean 'published'"),
    "own data's setting on another": ("data.sort=true", "sort.*own data"),
    "a series of another kind": ("data.dataset=ETTh9", "ETTh"),
    "csv without a path": ("data.dataset=csv", "path"),
    "a frame": ("data.dataset=frame", "Python"),
    "a path and another set": ("data.path=plain.csv,data.dataset=ETTh1", "path"),
    "no channel of that name": ("data.channels=[HUFFL]", "did you mean 'HUFL'"),
    "too few rows": ("data.synthetic.rows=10", "rows.*10"),
    "YAML that does not end": ("training.lr=[1, 2", "lr"),
    "an escape in a key": ("\x1b[2J.lr=1", "unknown key"),
    "a tag": ("training.lr=!!python/name:os.system", "tag|lr"),
}


def settings() -> Iterator[Input]:
    starts = {"dynonet.train": (), "dynonet.baseline": (), "tune.search": (), "ablations.run": ("parts_quick",)}
    for number, (name, (text, said)) in enumerate(SETTINGS.items()):
        given = text.split(",") if text.count("=") > 1 else [text]
        for command, before in starts.items():
            # Each to one command of the four, and the first of all kinds to all.
            if number % 4 == list(starts).index(command) or number < 8:
                yield Input(command, f"setting: {name}", (*before, *TINY, *given), (said,))


YAMLS: dict[str, tuple[str | bytes, str]] = {
    "a key twice": ("training.lr: 1\ntraining.lr: 2\n", "line 2.*twice.*line 1"),
    "a key dotted and in a section": ("training.lr: 0.1\ntraining: {lr: 0.1}\n", "lr.*twice"),
    "a number as key": ("1: 2\n", "line 1.*text is needed"),
    "null as key": ("~: 2\n", "text is needed"),
    "a list as key": ("? [1]\n: 2\n", "text is needed"),
    "a list": ("- 1\n- 2\n", "mapping.*list"),
    "text": ("hello\n", "mapping.*hello"),
    "nothing": ("", "mapping.*nothing"),
    "two documents": ("training.lr: 1\n---\ntraining.lr: 2\n", "second document"),
    "a tab": ("training:\n\tlr: 1\n", "line 2"),
    "brackets without end": ("a: " + "[" * 5000, "line 1"),
    "a bomb of aliases": (
        "a: &a [x]\n"
        + "".join(f"{n}: &{n} [{', '.join([f'*{m}'] * 9)}]\n" for m, n in zip("abcdefg", "bcdefgh", strict=True)),
        "aliases",
    ),
    "an alias of itself": ("a: &a [*a]\n", "alias"),
    "Python's tag": ("a: !!python/object/apply:os.system [id]\n", "tag"),
    "a date": ("training.lr: 2020-01-01\n", "lr"),
    "NUL": (b"training.lr: 1\0\n", "U\\+0000|NUL"),
    "latin-1": ("a: \u00f6\n".encode("latin-1"), "UTF-8"),
    "binary": (bytes(range(256)), "UTF-8|U\\+"),
    "two megabytes": ("#" * (2 << 20), "MiB"),
    "no such key": ("training.lrr: 1\n", "unknown key.*lr"),
    "a section as a number": ("training: 3\n", "training"),
    "a section as a list": ("training: [lr]\n", "training"),
    "text for a number": ("training: {lr: high}\n", "lr.*high"),
    "sexagesimal": ("training: {max_epochs: 1:30}\n", "max_epochs.*1:30"),
}


def yaml() -> Iterator[Input]:
    starts = {
        "dynonet.train": (),
        "tune.search": (),
        "ablations.run": ("parts_quick",),
        "dynonet.data": ("check", "plain.csv"),
    }
    for number, (name, (content, said)) in enumerate(YAMLS.items()):
        path = f"y{number:02d}.yaml"
        Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())
        commands = list(starts)
        for command in {commands[number % 4], commands[(number + 1) % 4]}:
            yield Input(
                command,
                f"--config: {name}",
                (*starts[command], "--config", path),
                (said, path if number < 19 and number not in (1, 14) else ""),
            )
        yield Input(
            "tune.search",
            f"--space: {name}",
            ("--space", path),
            (said if number < 19 and number not in (1, 14) else "space|training",),
        )
    for command, path in (
        ("dynonet.train", "pipe"),
        ("tune.search", "folder.csv"),
        ("ablations.run", "/dev/zero"),
        ("dynonet.train", "gone.yaml"),
        ("tune.search", "loop"),
    ):
        yield Input(command, f"--config: {path}", (*starts[command], "--config", path), (path, "cannot read"))


def options() -> Iterator[Input]:
    Path("occupied").write_text("")
    Path("checkpoints").mkdir()
    Path("checkpoints/checkpoint.pt").write_bytes(b"not a checkpoint")
    train = {
        "a flag of text": ("--lr", "fast", "lr.*fast"),
        "a flag of 0": ("--patience", "0", "patience.*0"),
        "seeds of text": ("--seeds", "1,two", "seeds.*two"),
        "seeds twice": ("--seeds", "1,1", "seeds.*twice"),
        "no seeds": ("--seeds", "", "seeds"),
        "a seed below 0": ("--seeds", "-1", "seed"),
        "a device of another kind": ("--device", "gpu", "gpu"),
        "a device that is not there": ("--device", "cuda:99", "cuda"),
        "a device without an end": ("--device", "cuda:x", "cuda:x"),
        "threads of text": ("--threads", "many", "threads.*many"),
        "no threads": ("--threads", "0", "threads"),
        "threads below 0": ("--threads", "-3", "threads"),
        "threads without end": ("--threads", str(10**20), "threads"),
        "no such preset": ("--preset", "h69", "did you mean 'h96'"),
        "a file as folder": ("--out", "occupied", "occupied"),
        "a folder within a file": ("--out", "occupied/x", "occupied"),
        "another program's checkpoint": ("--out", "checkpoints", "not a checkpoint"),
        "a folder's name without end": ("--out", "x" * 5000, "out|name|cannot"),
        "a folder that cannot be written": ("--out", "/proc/x", "/proc/x"),
        "no such flag": ("--sed", "1", "sed|unrecognized"),
    }
    for name, (flag, value, said) in train.items():
        yield Input("dynonet.train", name, (*TINY, flag, value), (said,))
    yield Input(
        "dynonet.train", "a preset and a config", ("--preset", "h96", "--config", "y19.yaml"), ("preset|unknown",)
    )
    for name, path in (
        ("a file as folder", "occupied"),
        ("a folder within a file", "occupied/x"),
        ("a folder's name without end", "x" * 5000),
        ("a folder that cannot be written", "/proc/x"),
    ):
        yield Input("dynonet.baseline", name, (*TINY, "--out", path), ("--out",))
    for name, lookback, said in (
        ("a lookback of no such bar", "fold=8", "did you mean 'folded'"),
        ("a lookback of a bar that needs none", "last_value=8", "last_value=8.*allowed: linear"),
        ("a lookback that is no number", "linear=long", "linear=long.*rows"),
        ("a lookback of one row", "linear=8,1", "linear=8,1.*2 or more"),
        ("a lookback of nothing", "", "rows, 2 or more"),
    ):
        yield Input("dynonet.baseline", name, (*TINY, "--lookback", lookback), (said,))
    yield Input("dynonet.baseline", "no such preset", ("--preset", "h69"), ("did you mean 'h96'",))
    yield Input("dynonet.data", "no command", (), ("command",))
    yield Input("dynonet.data", "no such command", ("chek", "plain.csv"), ("chek.*check",))
    yield Input("dynonet.data", "an override that is none", ("check", "plain.csv", "sort"), ("section.key=value",))


def environment() -> Iterator[Input]:
    here = os.getcwd()
    ett = ("data.dataset=ETTh1", "data.seq_len=8", "data.pred_len=4")
    nothing = {
        "DYNONET_CACHE_DIR": f"{here}/cache",
        "https_proxy": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }
    Path("damaged").mkdir()
    Path("damaged/ETTh1.csv").write_text(csv())
    Path("piped").mkdir()
    os.mkfifo("piped/ETTh1.csv")
    Path("foldered/ETTh1.csv").mkdir(parents=True)
    for command, before in (
        ("dynonet.train", ()),
        ("tune.search", ("--dry-run",)),
        ("ablations.run", ("parts_quick", "--dry-run")),
    ):
        yield Input(
            command,
            "DYNONET_DATA_DIR is a file",
            (*before, *ett),
            ("DYNONET_DATA_DIR",),
            {"DYNONET_DATA_DIR": f"{here}/plain.csv", **nothing},
        )
        yield Input(
            command,
            "DYNONET_DATA_DIR is not there",
            (*before, *ett),
            ("DYNONET_DATA_DIR",),
            {"DYNONET_DATA_DIR": f"{here}/gone", **nothing},
        )
    for name, folder, said in (
        ("damaged", "damaged", "checksum"),
        ("a pipe", "piped", "not a file"),
        ("a folder", "foldered", "not a file"),
        ("NUL", "a\x01b", "DATA_DIR"),
    ):
        yield Input(
            "dynonet.baseline",
            f"DYNONET_DATA_DIR: {name}",
            ett,
            (said,),
            {"DYNONET_DATA_DIR": f"{here}/{folder}", **nothing},
        )
    yield Input(
        "dynonet.train",
        "DYNONET_CACHE_DIR is a file",
        ett,
        ("ETTh1|CACHE",),
        {"DYNONET_DATA_DIR": "", **nothing, "DYNONET_CACHE_DIR": f"{here}/plain.csv"},
    )
    yield Input(
        "dynonet.train",
        "DYNONET_CACHE_DIR cannot be written",
        ett,
        ("ETTh1|CACHE",),
        {"DYNONET_DATA_DIR": "", **nothing, "DYNONET_CACHE_DIR": "/proc/x"},
    )
    for command, before in (("dynonet.train", ()), ("tune.search", ()), ("ablations.run", ("parts_quick",))):
        yield Input(
            command,
            "DYNONET_KERNEL of another kind",
            (*before, *TINY),
            ("DYNONET_KERNEL.*fast",),
            {"DYNONET_KERNEL": "fast"},
        )
    for command in ("list", "show quickstart"):
        yield Input(
            "tune.results",
            f"{command}: DYNONET_RESULTS is a file",
            tuple(command.split()),
            ("plain.csv",),
            {"DYNONET_RESULTS": f"{here}/plain.csv"},
        )
    for command in ("tune.report", "ablations.report"):
        yield Input(
            command, "DYNONET_RESULTS is not there", ("parts_quick",), ("gone",), {"DYNONET_RESULTS": f"{here}/gone"}
        )
    yield Input(
        "cluster.submit",
        "DYNONET_RESULTS is relative",
        ("search", "--address", "http://127.0.0.1:9"),
        ("--results", "results"),
        {"DYNONET_RESULTS": "results"},
    )
    yield Input(
        "cluster.submit",
        "RAY_API_SERVER_ADDRESS of another kind",
        ("list",),
        ("address.*http",),
        {"RAY_API_SERVER_ADDRESS": "ray://x:1"},
    )
    yield Input(
        "tune.search", "RAY_ADDRESS that nobody answers", TINY, ("127.0.0.1:9",), {"RAY_ADDRESS": "127.0.0.1:9"}
    )
