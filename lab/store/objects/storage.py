"""Bytes on a local folder or an object store: whole immutable objects in, whole objects out.

Nothing here appends or renames what a reader can see, so the same code serves a disk and an object store. An
object is there as a whole or not at all, also after a kill in the middle of a write.
"""

import contextlib
import errno
import os
import posixpath
import stat
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO

import pyarrow.fs as pafs

from lab.console.printing import one_line
from lab.errors import check_kind
from lab.store.objects.addresses import problem_with, without_keys
from lab.store.objects.checksums import checksum, claimed

# Readers pass over these names; they don't end in .parquet, so DuckDB's glob passes over them too.
TEMPORARY = ".tmp-"
PUTS_AT_ONCE = 8
MOST_BYTES = 4 << 30  # of a file: what is longer is none of ours, and no reader's memory is spent on it
LARGE = 64 << 20  # of a file: it is looked at before all of it is read


class StorageError(OSError):
    """Storage that cannot be read or written: a full disk, a missing permission, a store out of reach."""


class ObjectMissing(StorageError, FileNotFoundError):
    """The object asked for does not exist (or no longer: a compaction may have replaced it)."""


class ObjectUnreadable(StorageError):
    """One object that is not what its name says, or no object at all; those beside it can be read."""

    path = ""  # in the storage, of what was to be read


class BadPath(ObjectUnreadable, ValueError):
    """A path that leads out of the storage, or nowhere."""


# Of a path at which there is something else than an object: a folder, a circle of links, a name too long.
_NO_OBJECT = frozenset({errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO})


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
        if path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
            raise BadPath(errno.EINVAL, f"path {path!r} must be relative to the storage, with no '..'")
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
        """The bytes of an object, which are those that its checksum was taken of, where its name states one.

        Raises:
            ObjectMissing: it is not there, or no longer.
            ObjectUnreadable: it is damaged, or no object.
        """
        try:
            return self._get(path)
        except ObjectUnreadable as error:
            error.path = path
            raise

    def _get(self, path: str) -> bytes:
        full, stated = self.full(path), claimed(path)
        with self.errors("read", path):
            if self.local and os.path.islink(full) and not os.path.exists(full):
                raise ObjectUnreadable(errno.ELOOP, f"{full}: a link that leads to nothing")
            for _ in range(2):  # what was damaged on the way is whole the second time
                data = _get_local(full) if self.local else self._get_remote(full)
                if stated is None or checksum(data) == stated:
                    return data
        text = f"{full}: damaged (its content is not what the checksum in its name says)"
        raise ObjectUnreadable(errno.EBADMSG, text)

    def _get_remote(self, full: str) -> bytes:
        try:
            with self.fs.open_input_stream(full) as stream:
                return bytes(stream.readall())
        except OSError as error:
            # Opening it and reading it are two calls; one deleted between them fails like a store out of reach.
            if self.fs.get_file_info(full).type == pafs.FileType.NotFound:
                raise FileNotFoundError(errno.ENOENT, "gone", full) from error
            raise

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
                found = []
                with contextlib.suppress(NotADirectoryError):  # a file in a table's place is named by `Results`
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

    def delete_empty(self, folder: str) -> None:
        """Removes a folder that holds nothing; object stores have none."""
        if self.local:
            with contextlib.suppress(OSError):
                os.rmdir(self.full(folder))

    def reason(self, path: str, error: StorageError) -> str:
        """What is wrong with an object, for a line that names it."""
        text = str(error.strerror or error)
        if isinstance(error, BadPath):
            return text
        for lead in (f"{self.full(path)}: ", f"cannot read {self.full(path)}: "):
            text = text.removeprefix(lead)
        return text

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
            kind = ObjectUnreadable if error.errno in _NO_OBJECT else StorageError
            raise kind(error.errno or errno.EIO, f"cannot {verb} {where}: {_cause(error)}") from error


def open_storage(url: str | os.PathLike[str], create: bool = True) -> Storage:
    """Opens a local path or a URL that pyarrow.fs, and so Ray's storage, accepts.

    `s3://bucket/prefix?endpoint_override=host:port&scheme=http`, `gs://...`, `file:///...`. A local folder is
    created unless `create` is False. A bucket must exist.

    Raises:
        StorageError: an URL that is not understood, or a folder that cannot be created.
    """
    check_kind("results", url, (str, os.PathLike), "a folder's path, or an object store's address,")
    storage = Storage(os.fspath(url))
    if create and storage.local:
        try:
            os.makedirs(storage.root, exist_ok=True)
        except OSError as error:
            raise StorageError(error.errno, f"cannot create {storage.root}: {error.strerror}") from None
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


def _get_local(full: str) -> bytes:
    # Without O_NONBLOCK a named pipe would be waited for, for ever.
    with open(os.open(full, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            kind = _KINDS.get(stat.S_IFMT(found.st_mode), "device")
            raise ObjectUnreadable(errno.EINVAL, f"{full}: no file, but a {kind}")
        if found.st_size > MOST_BYTES:
            raise ObjectUnreadable(errno.EFBIG, f"{full}: {found.st_size:,} bytes are more than any object of ours has")
        if found.st_size > LARGE and full.endswith(".parquet") and file.read(4) != b"PAR1":
            raise ObjectUnreadable(errno.EINVAL, f"{full}: not Parquet")
        file.seek(0)
        return file.read()


_KINDS = {stat.S_IFDIR: "folder", stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket"}


def _put_local(full: str, data: bytes, durable: bool) -> None:
    folder = os.path.dirname(full)
    temporary = os.path.join(folder, f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        with _new_file(temporary, durable) as file:
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


def _new_file(path: str, durable: bool) -> BinaryIO:
    """Opens a file that is not there yet, in a folder that is made if need be."""
    folder = os.path.dirname(path)
    for last in (False, True):  # an empty folder may be removed by somebody between the two steps
        if not os.path.isdir(folder):
            os.makedirs(folder, exist_ok=True)
            if durable:
                _sync_folder(os.path.dirname(folder))
        try:
            return open(path, "xb")
        except FileNotFoundError:
            if last:
                raise
    raise AssertionError("unreachable")


def _sync_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that know no fsync of folders
            raise
    finally:
        os.close(handle)


def _walk(folder: str, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[str]:
    """Files below a folder. One that vanishes meanwhile is passed over; any other error is raised.

    Whatever is called like a file is taken for one, so that a reader names it. A link back to a folder `above` ends it.
    """
    try:
        found = os.stat(folder)
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    here = (found.st_dev, found.st_ino)
    if here in above:
        return
    for entry in entries:
        as_file = entry.name.endswith(".parquet") and not entry.name.startswith("study=")
        if not as_file and _is_folder(entry):
            yield from _walk(entry.path, above | {here})
        else:
            yield entry.path


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir(follow_symlinks=True)
    except OSError:  # a circle of links
        return False


def utc_now() -> datetime:
    return datetime.now(UTC)
