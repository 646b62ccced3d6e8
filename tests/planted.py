"""Secrets put into a command's environment, and where they turn up."""

from pathlib import Path

PLANTED = {
    name: f"planted-{number}-that-must-not-be-seen"
    for number, name in enumerate((
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN", "WANDB_API_KEY",
        "AZURE_STORAGE_KEY", "HF_TOKEN",
    ))
}  # fmt: skip


def files_below(*folders: Path) -> list[Path]:
    """Every file that can be read: no sockets, no links."""
    return [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def holding(text: str, *folders: Path) -> list[Path]:
    """The files below folders that hold a text."""
    return [path for path in files_below(*folders) if text.encode() in path.read_bytes()]
