"""W&B's client as this project uses it: silent, lean, and with its files beside the results."""

import contextlib
import os
import threading
from pathlib import Path
from typing import Any

from lab.store.objects.storage import Storage

END_SECONDS = 10.0  # for the service process to end


class WandbError(RuntimeError):
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
    try:
        import wandb
    except ImportError as error:
        raise WandbError(f"wandb cannot be imported: {error}") from error
    return wandb


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
        raise WandbError(one_line(error)) from error
    if found is None:
        raise WandbError(f"there is no API key for {url} (`wandb login`, or WANDB_API_KEY)")


def lean_settings(patience: float = 60.0, **more: Any) -> Any:
    """Nothing of the console, the machine, the packages or the code is sent; no call to a server lasts longer than
    `patience` seconds, its repetitions included."""
    import wandb

    once = patience / 2
    return wandb.Settings(
        console="off", silent=True, show_info=False, show_warnings=False, show_errors=False, disable_git=True,
        disable_code=True, save_code=False, x_disable_stats=True, x_disable_machine_info=True, x_disable_meta=True,
        x_save_requirements=False, program="dynonet", init_timeout=patience, finish_timeout=patience,
        finish_timeout_raises=True, x_graphql_retry_max=1, x_graphql_retry_wait_min_seconds=0.5,
        x_graphql_retry_wait_max_seconds=2, x_graphql_timeout_seconds=once, x_file_stream_retry_max=1,
        x_file_stream_retry_wait_min_seconds=0.5, x_file_stream_retry_wait_max_seconds=2,
        x_file_stream_timeout_seconds=once, x_file_transfer_retry_max=1, x_file_transfer_timeout_seconds=once, **more,
    )  # fmt: skip


def end_service(seconds: float = END_SECONDS) -> None:
    """Ends W&B's service process, and kills it where it does not end: with a request under way to a server that does
    not answer it can wait for ever (wandb 0.31)."""
    import wandb
    from wandb.sdk import wandb_setup

    connection = getattr(getattr(wandb_setup, "_singleton", None), "_connection", None)
    process = getattr(getattr(connection, "_proc", None), "_process", None)

    def end() -> None:
        with contextlib.suppress(Exception):
            wandb.teardown()

    ending = threading.Thread(target=end, name="wandb-teardown", daemon=True)
    ending.start()
    ending.join(seconds)
    if ending.is_alive() and process is not None:
        process.kill()
        ending.join(seconds)


def one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(lines)[:300]
