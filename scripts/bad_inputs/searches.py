"""Spaces and budgets of searches."""

from collections.abc import Iterator
from pathlib import Path

from scripts.bad_inputs.base import TINY, Input

SPACES: dict[str, tuple[str, str]] = {
    "empty": ("{}", "nothing|space"),
    "no such key": ("{model.hidden: {int: [1, 2]}}", "hidden"),
    "a number": ("{model.worker_hidden: 3}", "worker_hidden.*3"),
    "no bounds": ("{model.worker_hidden: {int: []}}", "worker_hidden"),
    "one bound": ("{model.worker_hidden: {int: [4]}}", "worker_hidden"),
    "three bounds": ("{model.worker_hidden: {int: [4, 8, 16]}}", "worker_hidden"),
    "bounds turned round": ("{model.worker_hidden: {int: [8, 4]}}", "worker_hidden"),
    "half bounds": ("{model.worker_hidden: {int: [1.5, 4]}}", "worker_hidden"),
    "bounds of text": ("{model.worker_hidden: {int: [a, b]}}", "worker_hidden"),
    "bounds of truth": ("{model.worker_hidden: {int: [true, 8]}}", "worker_hidden"),
    "bounds of null": ("{model.worker_hidden: {int: [null, 8]}}", "worker_hidden"),
    "NaN": ("{training.lr: {float: [.nan, 1]}}", "lr"),
    "without end": ("{training.lr: {float: [0.1, .inf]}}", "lr"),
    "log from 0": ("{training.lr: {float: [0, 1], log: true}}", "lr.*log|log"),
    "log of text": ("{training.lr: {float: [0.1, 1], log: maybe}}", "log"),
    "beyond 64 bits": (f"{{model.worker_hidden: {{int: [1, {2**70}]}}}}", "worker_hidden"),
    "out of what is allowed": ("{model.worker_hidden: {int: [0, 8]}}", "worker_hidden.*0"),
    "a float range of a whole number": ("{model.worker_hidden: {float: [1, 8]}}", "worker_hidden"),
    "two kinds": ("{model.worker_hidden: {int: [1, 8], choice: [1]}}", "worker_hidden"),
    "another kind": ("{model.worker_hidden: {integer: [1, 8]}}", "integer"),
    "another word": ("{model.worker_hidden: {int: [1, 8], step: 2}}", "step"),
    "no choices": ("{training.mode: {choice: []}}", "mode"),
    "choices of another kind": ("{training.mode: {choice: [fast]}}", "mode.*fast"),
    "a choice twice": ("{training.mode: {choice: [joint, joint]}}", "mode.*(twice|joint)"),
    "choices as text": ("{training.mode: {choice: joint}}", "mode"),
    "choices of mappings": ("{training.mode: {choice: [{a: 1}]}}", "mode"),
    "when an unknown": ("{training.lr: {float: [0.1, 1], when: {training.mod: joint}}}", "mod"),
    "when itself": ("{training.lr: {float: [0.1, 1], when: {training.lr: 0.5}}}", "lr"),
    "when in a circle": (
        "{model.film: {choice: [true, false], when: {model.revin: true}}, "
        "model.revin: {choice: [true, false], when: {model.film: true}}}",
        "when|circle",
    ),
    "when never": ("{training.lr: {float: [0.1, 1], when: {training.mode: fast}}}", "mode|fast"),
    "what is forecast": ("{data.pred_len: {int: [1, 4]}}", "pred_len"),
    "which series": ("{data.dataset: {choice: [ETTh1, ETTh2]}}", "dataset"),
    "seeds": ("{training.seed: {int: [1, 9]}}", "seed"),
    "the axis of early stopping": ("{training.max_epochs: {int: [1, 9]}}", "max_epochs"),
    "windows too long": ("{data.seq_len: {int: [8, 4000]}}", "seq_len"),
    "windows too long, as a choice": ("{data.seq_len: {choice: [8, 4000]}}", "seq_len"),
    "a section": ("{model: {int: [1, 2]}}", "model"),
}


def spaces() -> Iterator[Input]:
    Path("tiny.yaml").write_text("".join(f"{setting.replace('=', ': ')}\n" for setting in TINY))
    for number, (name, (content, said)) in enumerate(SPACES.items()):
        Path(f"s{number:02d}.yaml").write_text(content)
        dry = ("--dry-run",) if number % 2 else ()
        yield Input(
            "tune.search", f"space: {name}", ("--config", "tiny.yaml", "--space", f"s{number:02d}.yaml", *dry), (said,)
        )


NAMES = [
    "",
    "..",
    ".",
    "a/b",
    "../a",
    "/tmp/a",
    "a b",
    "1a",
    "-a",
    "a" * 500,
    "b\u00f6se",
    "a\nb",
    "a\x1b[2J",
    "a\0b",
    "$(id)",
    "CON:",
    "\u202ea",
]


def searches() -> Iterator[Input]:
    for name in NAMES:
        yield Input(
            "tune.search",
            f"--study {name[:20]!r}",
            (*TINY, f"--study={name}"),
            ("study name|name",) if name else ("study",),
        )
    flags: dict[str, tuple[tuple[str, ...], str]] = {
        "no such preset": (("--preset", "quickstrat"), "did you mean 'quickstart'"),
        "a preset of nothing": (("--preset", ""), "preset"),
        "a preset elsewhere": (("--preset", "../presets/quickstart"), "preset"),
        "trials of 0": (("--trials", "0"), "trials.*0"),
        "trials below 0": (("--trials=-1",), "trials.*-1"),
        "trials of text": (("--trials", "many"), "trials.*many"),
        "trials without end": (("--trials", str(10**30)), "trials"),
        "trials as half": (("--trials", "1.5"), "trials.*1.5"),
        "replicates of 0": (("--replicates", "0"), "replicates.*0"),
        "replicates without end": (("--replicates", "100000"), "replicates"),
        "epochs of 0": (("--max-epochs", "0"), "max_epochs.*0"),
        "grace of 0": (("--grace-epochs", "0"), "grace"),
        "reduction by 1": (("--reduction-factor", "1"), "reduction"),
        "reduction by nan": (("--reduction-factor", "nan"), "reduction.*nan"),
        "another objective": (("--objectives", "test_mse"), "objective.*test_mse"),
        "objectives of nothing": (("--objectives", ""), "objective"),
        "objectives turned round": (("--objectives", "parameters,val_mse"), "objectives"),
        "an objective twice": (("--objectives", "val_mse,val_mse"), "objectives"),
        "another sampler": (("--sampler", "tpee"), "sampler.*tpe"),
        "a sampler's seed of 2**70": (("--seed", str(2**70)), "seed"),
        "parameters of 0": (("--max-parameters", "0"), "max-parameters"),
        "parameters that no model has": (("--max-parameters", "3"), "max.parameters|parameters"),
        "final replicates below 0": (("--final-replicates", "-1"), "final.replicates"),
        "time of nan": (("--time-budget", "nan"), "time-budget.*nan"),
        "time below 0": (("--time-budget=-1",), "time-budget.*-1"),
        "time without end": (("--time-budget", "inf"), "time-budget.*inf"),
        "CPUs of nan": (("--cpus-per-trial", "nan"), "cpus-per-trial.*nan"),
        "CPUs below 0": (("--cpus-per-trial=-1",), "cpus-per-trial"),
        "CPUs without end": (("--cpus-per-trial", "inf"), "cpus-per-trial"),
        "GPUs of five decimals": (("--gpus-per-trial", "0.12345"), "gpus-per-trial"),
        "GPUs by a word": (("--gpus-per-trial", "atuo"), "gpus-per-trial.*atuo.*auto"),
        "MPS without a share": (("--gpu-sharing", "mps"), "gpu-sharing.*mps"),
        "GPUs of 1.5": (("--gpus-per-trial", "1.5"), "gpus-per-trial"),
        "none at once": (("--max-concurrent", "0"), "max-concurrent"),
        "failures below 0": (("--max-failures=-2",), "max-failures"),
        "patience of nan": (("--storage-patience", "nan"), "storage-patience"),
        "an address that nobody answers": (("--address", "127.0.0.1:9"), "127.0.0.1:9"),
        "a port beyond": (("--address", "127.0.0.1:99999"), "99999"),
        "results in a file": (("--results", "occupied"), "occupied"),
        "results within a file": (("--results", "occupied/x"), "occupied"),
        "results where nothing can be written": (("--results", "/proc/x"), "/proc/x"),
        "results at no address": (("--results", "nosuch://x/y"), "nosuch"),
        "results of nothing": (("--results", ""), "--results.*nothing"),
        "results' name without end": (("--results", "x" * 5000), "name|out"),
        "W&B of another kind": (("--wandb", "maybe"), "wandb.*maybe"),
        "a tracker that is none": (("--tracker", "tensorbord"), "tensorboard"),
        "two trackers": (("--tracker", "mlflow", "--wandb", "online"), "one tracker"),
        "an option that is none": (("--trails", "3"), "trails"),
        "everything is fixed": (("--space", "fixed.yaml", "model.worker_hidden=8"), "nothing is left"),
    }
    Path("fixed.yaml").write_text("model.worker_hidden: {int: [4, 8]}\n")
    for number, (name, (given, said)) in enumerate(flags.items()):
        dry = ("--dry-run",) if number % 3 == 0 else ()
        yield Input("tune.search", name, ("--config", "tiny.yaml", *given, *dry), (said,))
