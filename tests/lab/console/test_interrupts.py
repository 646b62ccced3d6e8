"""Ctrl-C at the places where Python itself would lose it."""

import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable

import pytest

from lab.console import interrupts
from lab.console.interrupts import exit_code, interrupts_heard
from tests.processes import Thing, press_ctrl_c, press_where_it_is_lost


class Dying:
    def __del__(self) -> None:
        press_ctrl_c()


@pytest.mark.parametrize("place", [press_where_it_is_lost, Dying, press_ctrl_c])
def test_ctrl_c_gets_through(place: Callable[[], object]) -> None:
    hook, handler = sys.unraisablehook, signal.getsignal(signal.SIGINT)
    assert handler is signal.default_int_handler
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), interrupts_heard():
        place()
        time.sleep(60)
    assert time.monotonic() - started < 30
    assert sys.unraisablehook is hook and signal.getsignal(signal.SIGINT) is handler
    assert "interrupts" not in [thread.name for thread in threading.enumerate()]


def test_the_import_system_is_never_cut_off() -> None:
    """There a lock is taken in one line and let go from the next on."""
    places: dict[str, object] = {"kill": os.kill, "pid": os.getpid(), "SIGINT": signal.SIGINT}
    source = "kill(pid, SIGINT)\nfor _ in range(1000):\n    pass\nthrough = True"
    with pytest.raises(KeyboardInterrupt), interrupts_heard():
        exec(compile(source, "<frozen importlib._bootstrap>", "exec"), places)
        time.sleep(60)
    assert places["through"]


def test_an_import_that_never_ends_can_be_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "MOST_PUT_OFF", 3)
    places: dict[str, object] = {"kill": os.kill, "pid": os.getpid(), "SIGINT": signal.SIGINT}
    source = "kill(pid, SIGINT)\nwhile True:\n    pass"
    with pytest.raises(KeyboardInterrupt), interrupts_heard():
        exec(compile(source, "<frozen importlib._bootstrap>", "exec"), places)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_what_ends_a_command_beside_ctrl_c(signum: signal.Signals, code: int) -> None:
    with pytest.raises(KeyboardInterrupt) as ended, interrupts_heard():
        thing = Thing()  # in whose callback it is lost, and sent again
        reference = weakref.ref(thing, lambda _: [os.kill(os.getpid(), signum), time.sleep(0.01)])
        del thing
        assert reference() is None
        time.sleep(60)
    assert exit_code(ended.value) == code
    assert signal.getsignal(signum) is signal.SIG_DFL
    with pytest.raises(KeyboardInterrupt) as other, interrupts_heard():
        try:
            os.kill(os.getpid(), signum)
            for _ in range(1000):
                pass
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None  # as Ray does
    assert type(other.value) is KeyboardInterrupt and exit_code(other.value) == code


def test_what_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with interrupts_heard():
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.05)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_ctrl_c_of_another_handler_is_left_alone() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda signum, frame: heard.append(signum))
    try:
        with interrupts_heard():
            press_where_it_is_lost()
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [signal.SIGINT]


def test_other_exceptions_of_callbacks_are_reported_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda swallowed: seen.append(swallowed.exc_type))
    with interrupts_heard():
        thing = Thing()
        reference = weakref.ref(thing, lambda _: 1 / 0)
        del thing
    assert reference() is None and seen == [ZeroDivisionError]
