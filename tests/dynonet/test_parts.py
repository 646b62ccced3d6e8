"""The promise of the table: a further signal or part is a row, and all that is made from rows has it."""

import subprocess
import sys

ADDED = """
from dataclasses import replace
from dynonet import parts
parts.SIGNALS["extra"] = replace(parts.SIGNALS["input_noise"], name="extra", per_unit=True)
parts.PARTS["spare"] = replace(parts.PARTS["film"], name="spare", noun="the spare wheel")
parts.OFF["spare"] = "nothing turns"

import torch
from dynonet.config import Config
from dynonet.forecaster import DYNONET
from lab.series import load_series

base = Config.create({"data.seq_len": 24, "data.pred_len": 6, "model.worker_seq_len": 12, "training.batch_size": 16})
assert (base.signals.extra, base.model.spare) == ("adaptive", True)
for name in ("no_extra", "no_spare", "only_extra"):
    assert DYNONET.arms[name].apply(base).run_id("x") != base.run_id("x")
assert DYNONET.arms["no_spare"].noun == DYNONET.parts["spare"].noun == "the spare wheel"
assert DYNONET.arms["no_signals"].apply(base).signals.extra == 0
assert DYNONET.diagnostics["signal.extra"].start(base) == 0
series = load_series(base.data)
heads = series.num_channels * base.model.worker_hidden * (base.model.control_hidden + 1)
full, less = (DYNONET.size(each, series.num_channels) for each in (base, base.override({"signals.extra": 0})))
assert full.effective - less.effective == heads
stack = DYNONET.stack([base], series, torch.device("cpu"), torch.float64)
stack.begin_epoch(1)
stack.step(0)
assert torch.isfinite(stack.losses).all()
"""


def test_a_signal_and_a_part_are_a_row() -> None:
    done = subprocess.run([sys.executable, "-c", ADDED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
