"""W&B's client as this project uses it: silent, lean, and with its files beside the results."""

import contextlib
import os
import sys
import threading
from pathlib import Path
from typing import Any

from lab.store.objects.storage import Storage
from lab.tracking.options import TrackerError, reason

END_SECONDS = 10.0  # for the service process to end


class WandbError(TrackerError):
    """W&B does not take what it is sent; says why in one line."""


def local_folder(storage: Storage) -> Path:
    """Where W&B keeps its files: beside results on a local path, else in the working folder."""
    return (Path(storage.root) if storage.local else Path.cwd()) / "wandb"


def client(folder: Path) -> Any:
    """The module `wandb`. What a user has set in the environment stands. Raises WandbError."""
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # offline means that no network is touched
    os.environ.setdefault("WANDB_DATA_DIR", str(folder / "data"))
    os.environ.setdefault("WANDB_CACHE_DIR", str(folder / "cache"))
    if main := main_file():  # whose code is saved, where W&B's settings say so
        os.environ.setdefault("WANDB_PROGRAM", main)
    try:
        import wandb
    except ImportError as error:
        raise WandbError(f"wandb cannot be imported: {error}") from error
    return wandb


def main_file() -> str | None:
    """The file that this process was started with, where it lies in the working folder: no other folder is named."""
    path = getattr(sys.modules["__main__"], "__file__", None)
    return os.path.relpath(path) if path and Path(path).resolve().is_relative_to(Path.cwd().resolve()) else None


def check_key() -> None:
    """Looks for the client's key where the client does, without asking for one. No network is touched.

    Raises WandbError: there is none, or it cannot be one.
    """
    import wandb
    from wandb.sdk.lib import wbauth

    try:
        url = wandb.setup().settings.base_url
        found = wbauth.authenticate_session(host=url, source="dynonet", prompt=False)
    except Exception as error:
        raise WandbError(reason(error)) from error
    if found is None:
        raise WandbError(f"there is no API key for {url} (`wandb login`, or WANDB_API_KEY)")


def lean_settings(patience: float = 60.0, **more: Any) -> Any:
    """Nothing of the console, the machine, the packages or the code is sent, as of a run that was trained elsewhere or
    earlier; no call to a server lasts longer than `patience` seconds, its repetitions included."""
    once = patience / 2
    return _settings(
        patience, disable_git=True, disable_code=True, save_code=False, x_disable_stats=True,
        x_disable_machine_info=True, program="dynonet", x_file_stream_retry_max=1,
        x_file_stream_retry_wait_min_seconds=0.5, x_file_stream_retry_wait_max_seconds=2,
        x_file_stream_timeout_seconds=once, x_file_transfer_retry_max=1, x_file_transfer_timeout_seconds=once, **more,
    )  # fmt: skip


def live_settings(patience: float = 60.0, **more: Any) -> Any:
    """Of a run that trains now: of the machine's metrics, the code and git W&B's own settings say what is sent. Epochs
    on their way wait out a server that does not answer, in W&B's process."""
    return _settings(patience, **more)


def _settings(patience: float, **more: Any) -> Any:
    import wandb

    return wandb.Settings(
        console="off", silent=True, show_info=False, show_warnings=False, show_errors=False, x_disable_meta=True,
        x_save_requirements=False, init_timeout=patience, finish_timeout=patience, finish_timeout_raises=True,
        x_graphql_retry_max=1, x_graphql_retry_wait_min_seconds=0.5, x_graphql_retry_wait_max_seconds=2,
        x_graphql_timeout_seconds=patience / 2, **more,
    )  # fmt: skip


def quieten(run: Any) -> None:
    """Ends the two watchers that W&B's client gives each open run: one asks every five seconds how its network fares,
    the other would press Ctrl-C on the whole search where somebody presses Stop on one run's page."""
    watchers = getattr(run, "_run_status_checker", None)
    if watchers is not None:
        watchers.join()


def end_service(seconds: float = END_SECONDS, exit_code: int = 0) -> None:
    """Ends W&B's service process, and with this code the runs that are open in it. Kills it where it does not end: with
    a request under way to a server that does not answer it can wait for ever (wandb 0.31)."""
    import wandb
    from wandb.sdk import wandb_setup

    connection = getattr(getattr(wandb_setup, "_singleton", None), "_connection", None)
    process = getattr(getattr(connection, "_proc", None), "_process", None)

    def end() -> None:
        with contextlib.suppress(Exception):
            wandb.teardown(exit_code=exit_code)

    ending = threading.Thread(target=end, name="wandb-teardown", daemon=True)
    ending.start()
    ending.join(seconds)
    if ending.is_alive() and process is not None:
        process.kill()
        ending.join(seconds)
