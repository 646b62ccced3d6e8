"""Bytes on a folder or an object store: whole or absent, and errors that say what, where and why."""

import os
import pickle
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest

from lab.store.objects.checksums import claimed, named, plain
from lab.store.objects.storage import ObjectMissing, ObjectUnreadable, Storage, StorageError, open_storage

_ROOT = Path(__file__).parents[4]


def test_objects_come_back_whole(storage: Storage) -> None:
    assert storage.list() == [] and storage.list("none/there") == []
    storage.put("a/b.bin", b"one")
    storage.put("a/c/d.bin", b"")
    storage.put("e.bin", b"x" * 100_000)
    storage.put("a/b.bin", b"two")
    assert storage.list() == ["a/b.bin", "a/c/d.bin", "e.bin"] and storage.list("a/c") == ["a/c/d.bin"]
    assert storage.get("a/b.bin") == b"two" and storage.get("a/c/d.bin") == b""
    assert storage.exists("a/b.bin") and not storage.exists("a") and not storage.exists("a/z")
    assert storage.info("e.bin").size == 100_000
    assert storage.info("e.bin").mtime >= storage.info("a/c/d.bin").mtime > 1e9
    storage.delete("a/b.bin")
    storage.delete("a/b.bin")
    assert storage.list() == ["a/c/d.bin", "e.bin"]


def test_missing_object(storage: Storage) -> None:
    for ask in (storage.get, storage.info):
        with pytest.raises(ObjectMissing, match="no object 'gone'"):
            ask("gone")
    assert issubclass(ObjectMissing, FileNotFoundError) and issubclass(ObjectMissing, StorageError)


def test_many_objects_at_once(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = {f"folder{n % 3}/{n}.bin": bytes([n]) * n for n in range(20)}
    storage.put_all(objects)
    storage.put_all({})
    assert {path: storage.get(path) for path in storage.list()} == objects
    put = Storage.put

    def failing(self: Storage, path: str, data: bytes) -> None:
        if path == "b":
            raise StorageError(28, "cannot write b: no space left")
        put(self, path, data)

    monkeypatch.setattr(Storage, "put", failing)
    for objects in ({"b": b"1"}, {"a": b"1", "b": b"2", "c": b"3"}):
        with pytest.raises(StorageError, match="cannot write b"):
            storage.put_all(objects)


def test_only_a_durable_object_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(tmp_path / "store")
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    storage.put("a/x.bin", b"1", durable=False)
    assert storage.get("a/x.bin") == b"1" and not synced
    storage.put("a/x.bin", b"2")
    assert storage.get("a/x.bin") == b"2" and len(synced) == 2, "the file and its name"


def test_pickles_and_names(storage: Storage) -> None:
    other = pickle.loads(pickle.dumps(storage))
    other.put("x", b"1")
    assert storage.get("x") == b"1" and other.url == storage.url
    assert open_storage(storage.url_of("sub")).list() == []
    open_storage(storage.url_of("sub")).put("y", b"2")
    assert storage.get("sub/y") == b"2"
    for bad in ("/etc/x", "../x", "a/../../x"):
        with pytest.raises(ValueError, match="must be relative"):
            storage.put(bad, b"")


def test_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage = open_storage("here")
    assert storage.url == str(tmp_path / "here") and Path("here").is_dir()
    monkeypatch.chdir("/")
    storage.put("x", b"1")
    assert open_storage(f"file://{tmp_path}/here").get("x") == b"1"
    open_storage(tmp_path / "not", create=False)
    assert not (tmp_path / "not").exists()


def test_ray_takes_the_same_url(s3_url: str) -> None:
    from ray.train._internal.storage import get_fs_and_path

    open_storage(s3_url).put("from-us", b"1")
    fs, path = get_fs_and_path(s3_url)
    with fs.open_input_stream(f"{path}/from-us") as stream:
        assert stream.readall() == b"1"
    with fs.open_output_stream(f"{path}/from-ray") as stream:
        stream.write(b"2")
    assert open_storage(s3_url).get("from-ray") == b"2"


def test_an_object_is_one_put(s3_url: str) -> None:
    """A multipart upload would show as '-1' in the tag."""
    open_storage(s3_url).put("whole", b"x" * 1_000_000)
    client = boto3.client("s3", endpoint_url="http://" + s3_url.rpartition("=")[2])
    assert "-" not in client.head_object(Bucket="bucket", Key="prefix/whole")["ETag"]


def test_temporary_files_are_not_objects(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    storage.put("a/x.parquet", b"1")
    (tmp_path / "a" / ".tmp-left-by-a-kill").write_bytes(b"half")
    assert storage.list() == ["a/x.parquet"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_kill_in_the_middle_of_a_put(tmp_path: Path, step: str) -> None:
    open_storage(tmp_path).put("a/x.bin", b"before")
    code = (
        "import os, signal, sys; from lab.store.objects.storage import open_storage\n"
        f"os.{step} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "open_storage(sys.argv[1]).put('a/x.bin', b'after' * 100_000)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=_ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    storage = open_storage(tmp_path)
    assert storage.list() == ["a/x.bin"] and storage.get("a/x.bin") == b"before"
    assert len(os.listdir(tmp_path / "a")) == 2, "the temporary file of the killed process"


def _put_with_limit(folder: Path, size: int, limit: int | None) -> subprocess.CompletedProcess[str]:
    """One put in a process of its own, which may write files of `limit` bytes at most."""
    code = (
        "import sys; from lab.store.objects.storage import *\n"
        "try: open_storage(sys.argv[1]).put('a/x.bin', b'x' * int(sys.argv[2]))\n"
        "except StorageError as error: print(error, error.errno); sys.exit(3)"
    )

    def restrict() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-c", code, str(folder), str(size)]
    return subprocess.run(command, preexec_fn=restrict, capture_output=True, text=True, cwd=_ROOT, check=False)


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    assert _put_with_limit(tmp_path, 1000, 10_000).returncode == 0
    failed = _put_with_limit(tmp_path, 50_000, 10_000)
    assert failed.returncode == 3, failed.stderr
    assert "cannot write" in failed.stdout and "a/x.bin: File too large" in failed.stdout
    assert os.listdir(tmp_path / "a") == ["x.bin"] and (tmp_path / "a/x.bin").stat().st_size == 1000


def test_full_disk(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a small disk here")
    try:
        assert _put_with_limit(tmp_path, 100_000, None).returncode == 0
        failed = _put_with_limit(tmp_path, 300_000, None)
        assert failed.returncode == 3 and "a/x.bin: No space left on device" in failed.stdout
        assert os.listdir(tmp_path / "a") == ["x.bin"] and (tmp_path / "a/x.bin").stat().st_size == 100_000
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_what_cannot_be_opened(tmp_path: Path, s3_url: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=f"cannot create {tmp_path}/file/x: Not a directory"):
        open_storage(tmp_path / "file" / "x")
    with pytest.raises(StorageError, match="unknown scheme 'nope'"):
        open_storage("nope://x/y")
    with pytest.raises(StorageError, match="no key in an address") as refused:
        open_storage("s3://name:planted@bucket/x")
    assert "planted" not in str(refused.value)
    with pytest.raises(StorageError, match="cannot write nobucket/x"):
        open_storage(s3_url.replace("bucket/prefix", "nobucket")).put("x", b"")


def test_store_out_of_reach(s3_url: str) -> None:
    closed = open_storage("s3://bucket/prefix?scheme=http&endpoint_override=127.0.0.1:1")
    with pytest.raises(StorageError, match=r"cannot write bucket/prefix/x: .*Could not connect"):
        closed.put("x", b"1")


def test_an_object_that_goes_between_opening_and_reading_is_missing(s3_url: str) -> None:
    """Two calls to an object store: a compaction may come between them."""
    storage = open_storage(s3_url)
    storage.put("a/x.bin", b"1")

    class Slow:
        """The store's file system; what is opened is gone when it is read."""

        def __init__(self, fs: Any):
            self.fs = fs

        def __getattr__(self, name: str) -> Any:
            return getattr(self.fs, name)

        def open_input_stream(self, path: str) -> Any:
            stream = self.fs.open_input_stream(path)
            self.fs.delete_file(path)
            return stream

    storage.fs = Slow(storage.fs)
    with pytest.raises(ObjectMissing, match=r"no object 'a/x\.bin'"):
        storage.get("a/x.bin")


def test_what_an_object_holds_is_what_its_name_says(storage: Storage) -> None:
    path = named("a/x.bin", b"right")
    storage.put(path, b"wrong")
    with pytest.raises(ObjectUnreadable, match="damaged"):
        storage.get(path)
    storage.put(path, b"right")
    assert storage.get(path) == b"right" and claimed(path) == path[4:-4] and plain(path) == "a/x.bin"
    assert claimed("a/x.bin") is None and plain("a/x.bin") == "a/x.bin"
    assert plain(named("a/.parquet", b"")) == "a/.parquet"
