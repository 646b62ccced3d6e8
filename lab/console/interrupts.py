"""Ctrl-C that gets through wherever it falls; and SIGTERM and SIGHUP that end a command as it does.

Python raises KeyboardInterrupt between any two instructions. In a weak reference's callback or a `__del__` it is
swallowed; between two lines of the import system it can leave the lock of all imports taken.
"""

import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

# What ends a command: Ctrl-C, a service manager or a container's, a terminal that is gone.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AGAIN_SECONDS = 0.05  # until a signal that could not be raised comes again
MOST_PUT_OFF = 100  # times; an import that takes longer may be one that never ends
_IMPORTING = "<frozen importlib."


class Ended(KeyboardInterrupt):
    """Raised by one of ENDING, wherever the command is."""

    def __init__(self, signum: int):
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """As a shell says it: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.

    A library may have raised a KeyboardInterrupt of its own in place of ours, as Ray does while it waits.
    """
    return 128 + (interrupt.signum if isinstance(interrupt, Ended) else heard() or signal.SIGINT)


class Background(threading.Thread):
    """A daemon that leaves the signals of ENDING to the main thread, also while that one has them blocked."""

    def __init__(self, target: Callable[[], Any], name: str):
        super().__init__(target=target, name=name, daemon=True)

    def run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        super().run()


_heard: list[int] = []


def heard() -> int | None:
    """The last signal of ENDING that this process got."""
    return _heard[-1] if _heard else None


@contextmanager
def handled(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Within it each signal of ENDING is the handler's, but for one that is ignored, as by nohup.

    Nothing is changed outside the main thread, which alone hears signals.
    """
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {each: found for each in ENDING if (found := signal.getsignal(each)) not in (signal.SIG_IGN, None)}

    def noted(signum: int, frame: FrameType | None) -> None:
        _heard.append(signum)
        handler(signum, frame)

    for each in before:
        signal.signal(each, noted)
    try:
        yield
    finally:
        for each, found in before.items():
            signal.signal(each, found)


@contextmanager
def interrupts_heard() -> Iterator[None]:
    """Within it, or the function that it decorates, each signal of ENDING raises Ended. One at a place where that would
    be lost is sent again until it is raised.

    Python's own way is kept outside the main thread, and where Ctrl-C is handled by another.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) not in (
        signal.default_int_handler,
        signal.SIG_IGN,
    ):
        yield
        return
    main = threading.get_ident()
    # Its put() may interrupt itself, as no other lock's holder may; a new thread could not be started there.
    lost: queue.SimpleQueue[int] = queue.SimpleQueue()
    over = threading.Event()
    put_off = 0
    unraisable_before = sys.unraisablehook
    terminals = [descriptor for descriptor in (1, 2) if os.isatty(descriptor)]

    def send_again() -> None:
        while signum := lost.get():
            time.sleep(AGAIN_SECONDS)
            if not over.is_set():
                signal.pthread_kill(main, signum)

    def interrupt(signum: int, frame: FrameType | None) -> None:
        nonlocal put_off
        if signum == signal.SIGHUP:
            _let_go_of(terminals)
        importing = frame is not None and frame.f_code.co_filename.startswith(_IMPORTING)
        if importing and put_off < MOST_PUT_OFF:
            put_off += 1
            lost.put(signum)
        else:
            put_off = 0
            raise Ended(signum)

    def unraisable(swallowed: Any) -> None:
        if issubclass(swallowed.exc_type, KeyboardInterrupt):
            lost.put(getattr(swallowed.exc_value, "signum", signal.SIGINT))
        else:
            unraisable_before(swallowed)

    sender = Background(send_again, "interrupts")
    sender.start()
    sys.unraisablehook = unraisable
    try:
        with handled(interrupt):
            yield
    finally:
        over.set()
        sys.unraisablehook = unraisable_before
        lost.put(0)
        sender.join()


def leave(code: int) -> NoReturn:
    """Ends this process without what Python, torch and Ray do at an end, which takes seconds on a loaded machine."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code)


def end_at_once() -> None:
    """For the last moments of a process that has nothing left to do or to say: each signal of ENDING, but for one that
    is ignored, ends it with its own exit code."""
    if threading.current_thread() is threading.main_thread():
        for each in ENDING:
            if signal.getsignal(each) not in (signal.SIG_IGN, None):
                signal.signal(each, lambda signum, frame: leave(exit_code(Ended(signum))))


def _let_go_of(terminals: list[int]) -> None:
    """What is written to a terminal that has gone is dropped, so that a last word to it is no error of its own."""
    for descriptor in terminals:
        with suppress(OSError):
            if not os.isatty(descriptor):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
