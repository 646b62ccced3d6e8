"""Bytes on a local folder or an object store: whole immutable objects in, whole objects out.

Nothing here appends or renames what a reader can see, so the same code serves a disk and an object store. An
object is there as a whole or not at all, also after a kill in the middle of a write.
"""

import contextlib
import errno
import os
import posixpath
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs

from dynonet.printing import one_line
from tune.addresses import problem_with, without_keys

# Readers pass over these names; they don't end in .parquet, so DuckDB's glob passes over them too.
TEMPORARY = ".tmp-"
PUTS_AT_ONCE = 8


class StorageError(OSError):
    """Storage that cannot be read or written: a full disk, a missing permission, a store out of reach."""


class ObjectMissing(StorageError, FileNotFoundError):
    """The object asked for does not exist (or no longer: a compaction may have replaced it)."""


@dataclass(frozen=True)
class Info:
    size: int  # bytes
    mtime: float  # seconds since 1970, by the clock of the storage (object stores: whole seconds)


class Storage:
    """One root folder. Paths are relative to it, with forward slashes. Pickles as its URL.

    Attributes:
        url: what `open_storage` was given (a local path made absolute); Ray's storage_path accepts it.
        fs, root: the pyarrow file system and the folder in it, for pyarrow.dataset.
        local: whether it is a local path.
    """

    def __init__(self, url: str) -> None:
        if problem := problem_with(url):
            raise StorageError(errno.EINVAL, f"cannot open storage '{one_line(without_keys(url))}': {problem}")
        if "://" not in url:
            url = os.path.abspath(os.path.expanduser(url))
            self.fs, self.root = pafs.LocalFileSystem(), url
        else:
            self.fs, self.root = _from_url(url)
        self.local = isinstance(self.fs, pafs.LocalFileSystem)
        self.url = self.root if self.local else url

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["url"])  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"Storage({self.url!r})"

    def full(self, path: str) -> str:
        """The path in `fs` of an object or folder of this storage ('' is the root)."""
        parts = path.split("/")
        if path.startswith("/") or ".." in parts or "\\" in path:
            raise ValueError(f"path '{path}' must be relative to the storage, with no '..'")
        return posixpath.join(self.root, path) if path else self.root

    def url_of(self, path: str) -> str:
        """The URL of a folder or object of this storage, with the options of the storage's own URL."""
        self.full(path)
        base, question, options = self.url.partition("?")
        return f"{base.rstrip('/')}/{path}" + question + options

    def put(self, path: str, data: bytes, durable: bool = True) -> None:
        """Writes one whole object; on return it is durable. An object of the same name is replaced whole.

        One that need not be `durable` outlives any kill, but on a local path a power cut in the next seconds can
        lose or tear it; it is written several times as fast.
        """
        full = self.full(path)
        with self.errors("write", path):
            if self.local:
                _put_local(full, data, durable)
                return
            # One PUT (see `_from_url`). No `with`: closing after a failed write would publish half an object.
            stream = self.fs.open_output_stream(full)
            stream.write(data)
            stream.close()

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        """Writes durable objects side by side: on a disk as on an object store, most of a `put` is waiting.

        If one fails the others may be there or not; the error is the first one's.
        """
        if len(objects) == 1:
            for path, data in objects.items():
                self.put(path, data)
            return
        with ThreadPoolExecutor(min(len(objects), PUTS_AT_ONCE) or 1) as pool:
            for done in [pool.submit(self.put, path, data) for path, data in objects.items()]:
                done.result()

    def get(self, path: str) -> bytes:
        """The bytes of an object. Raises ObjectMissing."""
        full = self.full(path)
        with self.errors("read", path):
            if self.local:
                return Path(full).read_bytes()
            with self.fs.open_input_stream(full) as stream:
                return bytes(stream.readall())

    def exists(self, path: str) -> bool:
        with self.errors("look up", path):
            return self.fs.get_file_info(self.full(path)).type == pafs.FileType.File

    def info(self, path: str) -> Info:
        """Size and time of an object. Raises ObjectMissing."""
        with self.errors("look up", path):
            info = self.fs.get_file_info(self.full(path))
        if info.type != pafs.FileType.File:
            raise ObjectMissing(errno.ENOENT, f"no object '{path}' in {self.url}")
        return Info(info.size, info.mtime_ns / 1e9)

    def list(self, prefix: str = "") -> list[str]:
        """Every object under a folder, however deep, sorted, but for temporary files; [] if none."""
        full = self.full(prefix)
        with self.errors("list", prefix):
            if self.local:
                found = list(_walk(full))
            else:
                selector = pafs.FileSelector(full, allow_not_found=True, recursive=True)
                found = [i.path for i in self.fs.get_file_info(selector) if i.type == pafs.FileType.File]
        start = len(self.root.rstrip("/")) + 1
        names = (path[start:] for path in found)
        return sorted(n for n in names if not posixpath.basename(n).startswith(TEMPORARY))

    def delete(self, path: str) -> None:
        """Removes an object; nothing happens if it is not there."""
        full = self.full(path)
        with self.errors("delete", path), contextlib.suppress(FileNotFoundError):
            if self.local:
                os.unlink(full)
            else:
                self.fs.delete_file(full)

    @contextlib.contextmanager
    def errors(self, verb: str, path: str) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        except FileNotFoundError as error:
            raise ObjectMissing(errno.ENOENT, f"no object '{path}' in {self.url}") from error
        except OSError as error:
            where = self.full(path)
            raise StorageError(error.errno or errno.EIO, f"cannot {verb} {where}: {_cause(error)}") from error


def open_storage(url: str | os.PathLike[str], create: bool = True) -> Storage:
    """Opens a local path or a URL that pyarrow.fs, and so Ray's storage, accepts.

    `s3://bucket/prefix?endpoint_override=host:port&scheme=http`, `gs://...`, `file:///...`. A local folder is
    created unless `create` is False. A bucket must exist.

    Raises:
        StorageError: an URL that is not understood, or a folder that cannot be created.
    """
    storage = Storage(os.fspath(url))
    if create and storage.local:
        with storage.errors("create", ""):
            os.makedirs(storage.root, exist_ok=True)
    return storage


def _from_url(url: str) -> tuple[pafs.FileSystem, str]:
    tries = [url]
    if url.startswith("s3://"):
        # Without it a small object takes three requests (a multipart upload) instead of one PUT.
        tries.insert(0, url + ("&" if "?" in url else "?") + "allow_delayed_open=true")
    for text in tries:
        try:
            fs, root = pafs.FileSystem.from_uri(text)
            return fs, root.rstrip("/") or "/"
        except (OSError, ValueError, TypeError, NotImplementedError) as error:
            cause = error
    raise StorageError(errno.EINVAL, f"cannot open storage '{url}': {_cause(cause)}") from cause


def _cause(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _put_local(full: str, data: bytes, durable: bool) -> None:
    folder = os.path.dirname(full)
    if not os.path.isdir(folder):
        os.makedirs(folder, exist_ok=True)
        if durable:
            _sync_folder(os.path.dirname(folder))
    temporary = os.path.join(folder, f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, full)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if durable:
        _sync_folder(folder)  # else a power cut could forget the name of a file that is on disk


def _sync_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that know no fsync of folders
            raise
    finally:
        os.close(handle)


def _walk(folder: str) -> Iterator[str]:
    """Files below a folder. One that vanishes meanwhile is passed over; any other error is raised."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=True):
            yield from _walk(entry.path)
        else:
            yield entry.path


def utc_now() -> datetime:
    return datetime.now(UTC)
