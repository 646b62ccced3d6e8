"""What each process that Ray starts ahead of the first trials imports, if a driver asks: all that a trial does, and the
kernels of its models. See `ahead.py`; to be imported is what it does."""

import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

ASKED = "DYNONET_AHEAD"  # in the environment: the driver's folder


def be_ready(folder: Path) -> None:
    """Raises ImportError, of which Ray makes a line in its log, where that fails. Of another copy of the project than
    the driver's nothing stays imported."""
    try:
        asked = json.loads((folder / "asked.json").read_text())
        (folder / f"{os.getpid()}.begun").touch()
    except OSError:  # the trials have begun, and nobody waits
        return
    try:
        if Path(__file__).resolve().parents[3] != Path(asked["root"]):
            for name in [name for name in sys.modules if name.partition(".")[0] == "lab"]:
                del sys.modules[name]
            raise ImportError(f"the driver's copy of the project is another: {asked['root']}")
        import_all(asked["models"], asked["gpu"])
    except Exception as error:  # whatever it is, a trial will say it; any other than this would end the process
        raise ImportError(str(error)) from error
    finally:
        with suppress(OSError):
            (folder / f"{os.getpid()}.ready").touch()


def import_all(models: Sequence[str], gpu: bool, shipped: bool = False) -> None:
    """What trials of these forecasters import, with a GPU or without. It asks nothing of a card: a process that has is
    bound to what it saw of it.

    Args:
        shipped: the files of one's own forecasters have come with the job; else they are where the driver looks, which
            nobody has said here yet.
    """
    import lab.training.origins_run
    import lab.training.readings  # noqa: F401
    from lab.compute import kernels
    from lab.registry import forecaster

    device = "cuda" if gpu and any(Path("/dev").glob("nvidia[0-9]*")) else "cpu"
    if device == "cpu":
        kernels.compiled("lab.compute.draws_numba")
    for name in models:
        if shipped or ":" not in name:
            forecaster(name).kernel(device)


if ASKED in os.environ:
    be_ready(Path(os.environ[ASKED]))
