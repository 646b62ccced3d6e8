"""Ctrl-C that gets through wherever it falls.

Python raises KeyboardInterrupt between any two instructions. In a weak reference's callback or a `__del__` it is
swallowed; between two lines of the import system it can leave the lock of all imports taken.
"""

import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

AGAIN_SECONDS = 0.05  # until a Ctrl-C that could not be raised comes again
MOST_PUT_OFF = 100  # times; an import that takes longer may be one that never ends
_IMPORTING = "<frozen importlib."


@contextmanager
def interrupts_heard() -> Iterator[None]:
    """Within it, or the function that it decorates, a Ctrl-C at such a place is sent again until it is raised.

    Python's own way is kept outside the main thread, and where Ctrl-C is ignored or handled by another.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return
    main = threading.get_ident()
    # Its put() may interrupt itself, as no other lock's holder may; a new thread could not be started there.
    lost: queue.SimpleQueue[bool] = queue.SimpleQueue()
    over = threading.Event()
    put_off = 0
    unraisable_before = sys.unraisablehook

    def send_again() -> None:
        while lost.get():
            time.sleep(AGAIN_SECONDS)
            if not over.is_set():
                signal.pthread_kill(main, signal.SIGINT)

    def interrupt(signum: int, frame: FrameType | None) -> None:
        nonlocal put_off
        importing = frame is not None and frame.f_code.co_filename.startswith(_IMPORTING)
        if importing and put_off < MOST_PUT_OFF:
            put_off += 1
            lost.put(True)
        else:
            put_off = 0
            raise KeyboardInterrupt

    def unraisable(swallowed: Any) -> None:
        if issubclass(swallowed.exc_type, KeyboardInterrupt):
            lost.put(True)
        else:
            unraisable_before(swallowed)

    sender = threading.Thread(target=send_again, name="interrupts", daemon=True)
    sender.start()
    sys.unraisablehook = unraisable
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        over.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.unraisablehook = unraisable_before
        lost.put(False)
        sender.join()
