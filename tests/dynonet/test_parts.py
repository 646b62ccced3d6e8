"""The promise of the table: a further signal or part is a row, and all that is made from rows has it."""

import subprocess
import sys
from pathlib import Path

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


LATER = """
import json, sys
from dataclasses import replace
from dynonet import parts
parts.SIGNALS["late"] = replace(parts.SIGNALS["dropout_rate"], name="late", later=True)
parts.PARTS["spare"] = replace(parts.PARTS["film"], name="spare", later=True)
parts.OFF["spare"] = "nothing turns"

import torch
from dynonet.config import Config
from dynonet.forecaster import DYNONET
from lab.series import load_series

pinned = json.load(open(sys.argv[1]))
published = Config.create(preset="h96")
assert published.run_id("f18d") == pinned["h96/full"] and DYNONET.size(published, 7).parameters == 93954
assert DYNONET.arms["no_film"].apply(published).run_id("f18d") == pinned["h96/no_film"]
assert (published.signals.late, published.model.spare) == (0.1, False)

base = Config.create({"data.seq_len": 24, "data.pred_len": 6, "model.worker_seq_len": 12, "training.batch_size": 16})
for setting in ({"model.spare": True}, {"signals.late": "adaptive"}, {"signals.late": 0.3}):
    changed = base.override(setting)
    assert changed.run_id("x") != base.run_id("x") and changed.override({k: "off" for k in setting}) == base
series, late = load_series(base.data), base.override({"signals.late": "adaptive"})
head = 7 * (base.model.control_hidden + 1)
assert DYNONET.size(late, 7).parameters - DYNONET.size(base, 7).parameters == head
assert DYNONET.stack_key(late) != DYNONET.stack_key(base)
stack = DYNONET.stack([late], series, torch.device("cpu"), torch.float64)
stack.begin_epoch(1)
stack.step(0)
assert torch.isfinite(stack.losses).all()
"""


def test_a_row_that_came_later_leaves_every_run_on_record_as_it_was() -> None:
    pinned = Path(__file__).parents[1] / "golden" / "ids" / "runs.json"
    done = subprocess.run([sys.executable, "-c", LATER, str(pinned)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
