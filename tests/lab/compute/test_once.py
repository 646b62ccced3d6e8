"""What a machine's processes do once between them: one does it, the others wait, and nobody waits for the dead."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from lab.compute.once import once

ROOT = Path(__file__).parents[3]
# Does it unless it is done, with a line before and after.
PROGRAM = """
import os, sys, time
from pathlib import Path
from lab.compute.once import once
with once("a kernel", Path(sys.argv[1]), *map(float, sys.argv[2:])) as mine:
    if mine:
        print(f"begin {os.getpid()}", flush=True)
        time.sleep(0.5)
        print("end", flush=True)
print("gone on")
"""


def start(folder: Path, *wait: str) -> subprocess.Popen:
    command = [sys.executable, "-c", PROGRAM, str(folder), *wait]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen) -> list[str]:
    return process.communicate(timeout=120)[0].split("\n")


def test_one_of_many_does_it_and_the_others_wait_for_it(tmp_path: Path) -> None:
    lines = [said(process) for process in [start(tmp_path) for _ in range(4)]]
    assert sorted(len(each) for each in lines) == [2, 2, 2, 4] and all("gone on" in each for each in lines)
    assert said(start(tmp_path)) == ["gone on", ""], "nor does one that comes later"
    with once("another kernel", tmp_path) as mine:
        assert mine


def test_who_is_killed_leaves_it_to_the_next_and_who_will_not_wait_goes_on(tmp_path: Path) -> None:
    first = start(tmp_path)
    assert first.stdout is not None and first.stdout.readline().startswith("begin")
    os.kill(first.pid, signal.SIGSTOP)
    assert said(start(tmp_path, "0")) == ["gone on", ""]
    assert len(said(start(tmp_path, "0.1"))) == 4, "one that stands still holds nobody up for ever"
    first.kill()
    first.wait()
    assert len(said(start(tmp_path))) == 4


def test_what_failed_is_still_to_be_done_and_without_a_lock_everybody_does_it(tmp_path: Path) -> None:
    for _ in range(2):
        try:
            with once("a kernel", tmp_path) as mine:
                assert mine
                raise OSError("disk full")
        except OSError:
            pass
    (lock,) = tmp_path.glob("*.once")
    lock.write_bytes(b"half")  # left by whom?
    with once("a kernel", tmp_path) as mine:
        assert mine
    with once("a kernel", tmp_path) as mine:
        assert not mine
    lock.unlink()
    lock.symlink_to("/dev/full")
    with once("a kernel", tmp_path) as mine:
        assert mine, "and a full disk is no error"
    (tmp_path / "file").touch()
    for _ in range(2):
        with once("a kernel", tmp_path / "file") as mine:
            assert mine
