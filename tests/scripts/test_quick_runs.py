"""Each script runs, all of its phases, at sizes that take seconds: what it prints is whole, and says that it measures
nothing. Most of those that start Ray: test_quick_clusters.py."""

import os
import re
import subprocess
import sys

import pytest
import torch

from scripts.bench.turns import NO_MEASUREMENT, take_turns
from tests.scripts.commands import ROOT, SCRIPTS, script_says

TINY_SEARCH = ("data.synthetic.rows=300", "data.seq_len=16", "data.pred_len=4", "training.max_epochs=2")
# What is run, and how the lines of each phase begin.
QUICK: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "bench.gru": (("--quick",), (r"workers, forward\+backward .*kernel, 8", r"controller, forward\+backward .*floor")),
    "bench.step": (("--quick",), ("stock, flushed ", "stack of 2 ", "CPU time of an unrolled", "memory of each")),
    "bench.stack": (("--quick",), ("paper: B=8 .* 2  ", "regimes: .* 2  ", "the kernel was compiled once")),
    "bench.module": (("--quick",), ("by hand ", "in turn, stack of 2 ", "as one, stack of 2 ", "aim: in turn")),
    "bench.forecasters": (("--quick",), ("dynonet ", "crossformer .* 24 ", "tsmixer ")),
    "bench.compiled": (("--quick", "--models", "rlinear"), (r"rlinear +[0-9.]+ +[0-9.]+ .* [0-9,]+ +[0-9]e-0[6-9]$",)),
    "bench.search": (
        ("--seeds", "1", "--jobs", "1", "--budget", "0.5", *TINY_SEARCH),
        ("   0 ", "time to random search's best", "CPU s a search for the sampler"),
    ),
    "bench.gpu": (
        ("--dry", "--json", os.devnull),
        (
            "kernels of a default search compiled, or read: ",
            "Precision",
            "D=128, I=128",
            "ours, 2 models",
            "controller, forward +2 ",
            "AdamW, three blocks +1 ",
            "turns +[0-9.]+ .* 3$",
            "turns: 3 trials alone differ by at most 0.0e[+]00",
            "  formulas in torch",
            "bf16 .*needs a GPU",
            "3 compilations of the GRU's",
            "64 models, ms a step +- +90",
            "a search of 24 trials in turns, s +[0-9.]+ +20 ",
            "A CHECK OF THIS SCRIPT WITHOUT A GPU",
        ),
    ),
    "bench.card.registers": (("--quick",), ("_reduce +1 +255 ", "_adamw ", "3 compilations of the GRU's, 9 of")),
    "check_unrolled": (("--quick",), ("lr_scale alone ", "together +[0-9]", "none: no", "input_noise .*right in")),
    "check_inputs": (
        ("--every", "12"),
        (
            "command .* tracebacks ",
            "dynonet.data ",
            "cluster.checks ",
            "[0-9]+ inputs, .* 0 taken, 0 tracebacks, 0 hangs, 0 un",
        ),
    ),
    "verdicts.simulate": (
        ("--quick",),
        ("lognormal, 1 to 8 ", "exponential, equal means", "max-t, false verdicts", " +4.6 ", "`auto`: coverage"),
    ),
    "verdicts.pooled": (
        ("--quick",),
        ("the 95% interval of the mean over series", "at the next origin of a series", "12 arms that share `full`"),
    ),
    "scaling.simulate": (
        ("--quick", "--runs", "100", "--gpus", "1,10"),
        ("search, 100 runs", "study, by default", "  compacted at the end alone"),
    ),
}
ELSEWHERE = {
    "flagship_report", "league_report", "bench.orchestration", "bench.fill", "bench.race", "chaos", "check_stack",
    "bench.card.compiling", "docs.settings", "docs.notebook", "docs.site",
}  # fmt: skip


def test_no_script_is_left_out() -> None:
    assert {
        ".".join(path.relative_to(SCRIPTS).with_suffix("").parts)
        for path in SCRIPTS.rglob("*.py")
        if "__main__" in path.read_text()
    } == {*QUICK, *ELSEWHERE}


@pytest.mark.parametrize("script", QUICK)
def test_a_script_runs_through(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)  # of this process's own tests of kernels
    arguments, phases = QUICK[script]
    said = script_says(script, *arguments)
    missing = [phase for phase in phases if not re.search(f"^{phase}", said, re.M)]
    assert not missing, said
    assert script == "bench.gpu" or "nan" not in said, said  # there, a GPU's memory
    if "--quick" in arguments and script != "bench.card.registers":
        assert said.startswith(f"{NO_MEASUREMENT}\n")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_its_benchmark_says_so() -> None:
    done = subprocess.run([sys.executable, "-m", "scripts.bench.gpu"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and not done.stdout
    assert re.fullmatch(r"scripts\.bench\.gpu: torch \S+ sees no GPU here \(--dry checks the script\)\n", done.stderr)


def busy() -> None:
    sum(range(100_000))


def subject() -> object:
    return busy


def test_subjects_take_turns_in_processes_of_their_own() -> None:
    taken = take_turns({"one": (subject, []), "other": (subject, [])}, repeats=2)
    assert {name: len(turns.cpu) for name, turns in taken.items()} == {"one": 2, "other": 2}
    assert all(turns.peak_mib > 0 and min(turns.cpu) > 0 for turns in taken.values())
