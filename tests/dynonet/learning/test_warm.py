"""What is compiled for a GPU before a search: few models have all kernels of a space, and processes share them out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tune.costs import drawn_points, points_of
from tune.search import asked, parser

pytest.importorskip("triton")
ROOT = Path(__file__).parents[3]
# `warm` on a pretended GPU: a training step is a line in a file.
PROGRAM = """
import sys, time
from pathlib import Path
import torch
from dynonet.config import Config
from dynonet.learning import warm
from lab.series import load_series

def train_a_step(config, series, device):
    time.sleep(0.3)
    with Path(sys.argv[1]).open("a") as said:
        said.write(f"{config.model.control_hidden} {config.model.worker_hidden}\\n")

warm.in_use, warm.train_a_step = (lambda kind: "triton"), train_a_step
torch.cuda.get_device_name = lambda device: "a GPU"
sizes = ((4, 4), (6, 5), (20, 4), (4, 12))
configs = [Config.create({"model.control_hidden": c, "model.worker_hidden": w}) for c, w in sizes]
warm.warm(configs, load_series(configs[0].data), torch.device("cuda"))
"""


def test_a_few_models_have_the_kernels_of_every_proposal() -> None:
    from dynonet.learning.warm import _fewest, kernels_of

    space = asked(parser().parse_args(["--preset", "etth1-h96"])).settings().space
    few = _fewest(points_of(space), 7)
    known = set().union(*few)
    assert len(few) <= 8 and all(kernels_of(config, 7) <= known for config in drawn_points(space, 200))


def test_processes_of_a_machine_share_out_what_is_to_be_compiled(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TRITON_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "said")]
    running = [subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in running:
        assert process.communicate(timeout=300)[1] == "" and process.returncode == 0
    assert sorted((tmp_path / "said").read_text().split("\n")) == ["", "20 4", "4 12", "4 4"]
