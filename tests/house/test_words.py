"""The lab, tune and ablations name no model and none of its parts: what they know of one they ask its forecaster."""

import re
from pathlib import Path

import pytest

from dynonet.parts import PARTS, SIGNALS
from forecasters import FORECASTERS

ROOT = Path(__file__).parents[2]
# Parts that are common words of the field are not looked for.
COMMON = {"trend", "mixer", "workers", "context", "decomposition"}
OTHERS = (
    "worker_hidden", "control_hidden", "worker_seq_len", "worker_cell", "worker_scope", "trend_start", "unroll_every",
    "controller_loss", "controller_rows", "bi-?level", "GRUs?", "unrolled", "steering", "(?:the|a) controller",
)  # fmt: skip
NAMES = re.compile(rf"\b(?:{'|'.join((*FORECASTERS, *(set(PARTS) - COMMON), *SIGNALS, *OTHERS))})\b", re.IGNORECASE)
# Where one may stand, and why.
ALLOWED: dict[str, tuple[str, ...]] = {
    "the default's name": ('DEFAULT = "dynonet"',),
    "names of packages and of the distribution": (
        'FRONTS = ("lab", "dynonet"', 'PACKAGES = ("lab", "dynonet"', 'PACKAGE = "dynonet-tune"',
    ),
    "on disk": ('"generator": "dynonet.synthetic"', 'b"dynonet_'),
    "the name of the tool, to other programs and in temporary folders": (
        'prefix="dynonet-', 'f"dynonet-mps-', 'strftime("dynonet-', 'os_cache("dynonet")', '"svg.hashsalt": "dynonet"',
        'source="dynonet"', 'program="dynonet"', "`dynonet-report",
    ),
    "the project in W&B by default, and an example of one": (
        'project: str = "dynonet"', 'default="dynonet", help="W&B project (default: dynonet)"', "my-team/dynonet",
    ),
    "Ray's and Tune's own": ("Tune's controller",),
}  # fmt: skip


def named(line: str) -> list[str]:
    """What a line names that it should not."""
    line = re.sub(r"DYNONET_\w+|\\n", "", line)  # the n of a new line is no letter of a name
    for text in (text for texts in ALLOWED.values() for text in texts):
        line = line.replace(text, "")
    return [found[0] for found in NAMES.finditer(line)]


@pytest.mark.parametrize("package", ["lab", "tune", "ablations"])
def test_no_model_is_named(package: str) -> None:
    paths = [path for path in sorted((ROOT / package).rglob("*")) if path.suffix in (".py", ".j2")]
    assert paths
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {found}"
        for path in paths
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (found := named(line))
    ]
    assert not wrong


def test_the_check_sees_what_it_should() -> None:
    assert named("from dynonet.config import Config") == ["dynonet"]
    assert named("a DynoNet of FiLM, whose controller_loss") == ["DynoNet", "FiLM", "controller_loss"]
    assert named("what the controller says of lr_scale") == ["the controller", "lr_scale"]
    assert named("os.environ['DYNONET_RESULTS'], Ray's workers, a trend") == []
