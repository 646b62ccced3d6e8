"""`python -m dynonet.train` as a user runs it: in a process of its own, with tiny windows."""

import csv
import json
import math
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dynonet.config import Config
from dynonet.published.checkpoints import load_published
from dynonet.train import main
from lab import train as train_command
from lab.series import load_series
from lab.training.trainer import evaluate_weights
from tests.processes import lost_ctrl_c

TINY = [
    "data.synthetic.rows=400", "data.seq_len=16", "model.control_hidden=4", "model.worker_seq_len=8",
    "training.batch_size=32", "--pred_len", "4", "--worker_hidden", "2", "--lr", "0.01",
]  # fmt: skip


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "dynonet.train", *map(str, args)]


def train(*args: object, rc: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command(*args), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == rc, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return done


def train_here(*args: object) -> int:
    """The command in this process: no three seconds of imports."""
    return main([str(arg) for arg in args])


def read(folder: Path) -> tuple[dict[str, Any], list[dict[str, str]], Config]:
    with open(folder / "history.csv") as file:
        history = list(csv.DictReader(file))
    return json.loads((folder / "metrics.json").read_text()), history, Config.from_yaml(folder / "config.yaml")


def same_results(one: Path, other: Path) -> None:
    """Two folders of results, equal to the bit but for times."""
    names = sorted(path.relative_to(one) for path in one.glob("seed-*/*"))
    assert names == sorted(path.relative_to(other) for path in other.glob("seed-*/*"))
    for name in names:
        if name.suffix == ".pt":
            mine, theirs = (load_published(folder / name, 8) for folder in (one, other))
            assert all(torch.equal(a, b) for (_, a), (_, b) in zip(mine.blocks(), theirs.blocks(), strict=True))
        elif name.suffix == ".json":
            first, second = (json.loads((folder / name).read_text()) for folder in (one, other))
            assert {**first, "cpu_seconds": 0} == {**second, "cpu_seconds": 0}
        else:
            assert (one / name).read_bytes() == (other / name).read_bytes()


@pytest.fixture(scope="module")
def two_seeds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The results and output of two seeds trained for three epochs."""
    out = tmp_path_factory.mktemp("train") / "new" / "folder"
    return out, train(*TINY, "--max-epochs", 3, "--seeds", "1,2", "--out", out, "--plots").stdout


def test_what_is_written(two_seeds: tuple[Path, str]) -> None:
    out, printed = two_seeds
    assert sorted(path.name for path in out.iterdir()) == ["checkpoint.pt", "seed-1", "seed-2"]
    for seed in (1, 2):
        metrics, history, config = read(out / f"seed-{seed}")
        series = load_series(config.data)
        assert config.training.seed == metrics["seed"] == seed
        assert (config.data.pred_len, config.model.worker_hidden, config.training.lr) == (4, 2, 0.01)
        assert metrics["run"] == config.run_id(series.identity)
        assert (metrics["status"], metrics["epochs"], metrics["protocol"]) == ("complete", 3, "clean")
        assert [int(row["epoch"]) for row in history] == [1, 2, 3]
        best = min(history, key=lambda row: float(row["val_mse"]))
        assert metrics["best_epoch"] == int(best["epoch"])
        assert metrics["validation"]["mse"] == float(best["val_mse"])
        weights = load_published(out / f"seed-{seed}" / "best.pt", 8).named(0)
        test = evaluate_weights(config, weights, series, "test")
        assert metrics["test"]["mse"] == pytest.approx(test.mse.item(), rel=1e-6)
        assert metrics["test"]["mae_channels"] == pytest.approx(test.mae_channels[0].tolist(), rel=1e-6)
        assert len(metrics["channels"]) == len(metrics["test"]["mse_channels"]) == 7
        assert metrics["parameters"] == sum(p.numel() for p in weights.values())
        assert f"{metrics['test']['mse']:.4f}" in printed
    assert "± " in printed
    assert "linear baseline" in printed


def test_plots_are_pictures(two_seeds: tuple[Path, str]) -> None:
    from matplotlib import image

    pictures = sorted(two_seeds[0].glob("seed-*/*.png"))
    assert [path.name for path in pictures] == ["curves.png", "diagnostics.png", "forecast.png"] * 2
    for path in pictures:
        pixels = image.imread(path)
        assert min(pixels.shape[:2]) > 200
        assert pixels[..., :3].std() > 0.02  # something is drawn


def test_the_same_command_again_trains_nothing(two_seeds: tuple[Path, str]) -> None:
    out, printed = two_seeds
    before = (out / "checkpoint.pt").read_bytes()
    again = train(*TINY, "--max-epochs", 3, "--seeds", "1,2", "--out", out)
    assert "going on from" in again.stderr
    assert "epoch   " not in again.stderr.replace("going on from", "")
    assert (out / "checkpoint.pt").read_bytes() == before
    assert again.stdout == printed


def test_another_command_into_the_same_folder_is_refused(two_seeds: tuple[Path, str]) -> None:
    refused = train(*TINY, "--max-epochs", 3, "--seeds", "1,3", "--out", two_seeds[0], rc=2)
    assert "the checkpoint is of other runs" in refused.stderr
    assert "take another --out" in refused.stderr


@pytest.mark.slow
def test_killed_and_continued_equals_uninterrupted(two_seeds: tuple[Path, str], tmp_path: Path) -> None:
    out = tmp_path / "killed"
    line = command(*TINY, "--max-epochs", 3, "--seeds", "1,2", "--out", out, "--plots")
    process = subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    for text in process.stderr:
        if text.startswith("epoch   1"):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert (out / "checkpoint.pt").exists()
    assert not (out / "seed-1").exists()
    finished = subprocess.run(line, capture_output=True, text=True, timeout=300, check=True)
    assert "going on from" in finished.stderr
    same_results(two_seeds[0], out)


def test_config_file(two_seeds: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A written config.yaml gives the same run, and flags win over it."""
    path = two_seeds[0] / "seed-1" / "config.yaml"
    out = tmp_path / "again"
    assert train_here("--config", path, "--out", out, "--no-test") == 0
    printed = capsys.readouterr().out
    mine, theirs = read(out / "seed-1")[0], read(two_seeds[0] / "seed-1")[0]
    assert mine["test"] is None
    assert "linear baseline" not in printed
    for key in ("run", "best_epoch", "epochs"):
        assert mine[key] == theirs[key]
    assert mine["validation"]["mse"] == pytest.approx(theirs["validation"]["mse"], rel=1e-4)  # alone, not in a stack
    settings = yaml.safe_load(path.read_text())
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump({**settings, "training": {**settings["training"], "lr": 0.5}}))
    args = ["model.film=off", "--lr", 0.02, "training.max_epochs=1", "--out", tmp_path / "b", "--no-test"]
    assert train_here("--config", changed, *args) == 0
    config = read(tmp_path / "b" / "seed-1")[2]
    assert (config.training.lr, config.model.film, config.training.max_epochs) == (0.02, False, 1)


def test_overrides_may_stand_between_flags(tmp_path: Path) -> None:
    args = ["--max_epochs", 1, "model.film=off", "--out", tmp_path, *TINY, "signals.gate_masks=off", "--no-test"]
    assert train_here(*args) == 0
    config = read(tmp_path / "seed-12345")[2]
    assert (config.model.film, config.signals.gate_masks, config.data.seq_len) == (False, 1.0, 16)


def test_a_diverged_training_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_here(*TINY, "training.lr=1e30", "--out", tmp_path, "--plots") == 1
    assert "diverged" in capsys.readouterr().out
    metrics = read(tmp_path / "seed-12345")[0]
    assert (metrics["status"], metrics["validation"], metrics["test"]) == ("diverged", None, None)


def test_refusals(tmp_path: Path) -> None:
    """In this process, for speed: one line, exit code 2."""
    (tmp_path / "file").write_text("")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "checkpoint.pt").write_text("junk")
    cases = {
        ("model.worker_hiden=3",): "unknown key 'model.worker_hiden'; did you mean 'model.worker_hidden'?",
        ("--preset", "h69"): "unknown preset 'h69'",
        ("--seeds", "1,x"): "--seeds takes numbers",
        ("--seeds", "1,1"): "--seeds names a seed twice",
        ("--seeds", "-1"): "training.seed",
        ("--lr", "fast"): "training.lr: got 'fast'",
        ("--config", str(tmp_path / "none.yaml")): "cannot read",
        ("--config", str(tmp_path / "file")): "expected a mapping",
        ("--device", "gpu"): "unknown device 'gpu'",
        ("--device", "cpu:x"): "device 'cpu:x'",
        ("--threads", "0"): "threads: got 0, at least 1 is needed",
        ("--threads", "100000"): "threads: got 100000, at most 1024 are allowed",
        ("--batch_size", str(10**30)): "training.batch_size: got 1000",
        ("--seeds", f"1,{2**63}"): "training.seed: got 9223372036854775808; whole numbers of 64 bits are allowed",
        ("data.dataset=csv", f"data.path={tmp_path}/none.csv"): "no such file",
        ("--seq_len", "4000"): "a window needs",
        (*TINY, "--out", str(tmp_path / "file")): "file",
        (*TINY, "--out", str(tmp_path / "foreign")): "not a checkpoint",
    }
    script = (
        "import sys, json, contextlib, io\nfrom dynonet.train import main\n"
        "for args in json.load(sys.stdin):\n"
        "    out = io.StringIO()\n"
        "    with contextlib.redirect_stderr(out): rc = main(args)\n"
        "    print(json.dumps([rc, out.getvalue()]))\n"
    )
    text = json.dumps([list(args) for args in cases])
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=text,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=tmp_path,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(cases), done.stderr
    for (args, message), (rc, error) in zip(cases.items(), answers, strict=True):
        assert rc == 2, args
        assert message in error, args
        assert error.startswith("error: "), args
        assert error.count("\n") == 1, args


def test_an_unknown_flag_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        train_here("--worker_hiden", 3)
    assert refused.value.code == 2
    assert "unrecognized arguments: --worker_hiden" in capsys.readouterr().err


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_interrupt(signum: signal.Signals, code: int, tmp_path: Path) -> None:
    line = command(*TINY, "--max-epochs", 500, "training.patience=500", "--out", tmp_path)
    # A test run in the background inherits an ignored SIGINT, and would hand it down.
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL}
    process = subprocess.Popen(line, text=True, preexec_fn=lambda: signal.signal(signum, signal.SIG_DFL), **pipes)
    assert process.stderr is not None
    seen = [next(process.stderr)]
    while not seen[-1].startswith("epoch   1"):
        seen.append(next(process.stderr))
    time.sleep(0.2)
    process.send_signal(signum)
    rest = process.stderr.read()
    assert process.wait() == code
    process.stderr.close()
    assert f"Go on with the same command:\n  {shlex.join(['python', *line[1:]])}\n" in rest
    assert (tmp_path / "checkpoint.pt").exists()
    assert "Traceback" not in rest


def test_an_interrupt_that_python_swallows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_command, "load_series", lost_ctrl_c)
    assert train_here(*TINY, "--out", tmp_path) == 130


def test_names_of_columns_are_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["spend_$_per_$", "a_b^c", "100%", "x|y", "<b>", "_$\\frac$", "No"]
    file = tmp_path / "a #1: $x_$.csv"
    rows = [f"2020-01-{1 + hour // 24:02d} {hour % 24}:00," + ",".join(
        f"{math.sin(hour / 4 + at):.4f}" for at in range(len(names))) for hour in range(400)]  # fmt: skip
    file.write_text("\n".join(["date," + ",".join(names), *rows]) + "\n")
    arguments = ("data.dataset=csv", f"data.path={file}", *TINY[1:], "--max-epochs", 1, "--plots")
    assert train_here(*arguments, "--out", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert f"test MSE per channel: {names[0]} " in said and all(f"  {name} " in said for name in names[1:])
    folder = tmp_path / "out/seed-12345"
    assert all((folder / name).stat().st_size > 10_000 for name in ("forecast.png", "curves.png", "diagnostics.png"))
    assert json.loads((folder / "metrics.json").read_text())["channels"] == names


def test_a_figure_that_fails_costs_no_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no\x1b[31m figure")

    monkeypatch.setattr("lab.training.plots.write_plots", fail)
    assert train_here(*TINY, "--max-epochs", 1, "--plots", "--out", tmp_path) == 1
    said = capsys.readouterr()
    assert "linear baseline" in said.out and "ValueError: no\\x1b[31m figure" in said.err
    assert (tmp_path / "seed-12345/metrics.json").exists()
