"""What a .wandb file holds, read back: W&B's log of a run that was written offline.

After a seven-byte header it is a LevelDB log: blocks of 32 KiB, in which each record is whole or in pieces, each piece
after its crc32, length and kind.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HEADER, BLOCK, PIECE = 7, 32 << 10, 7  # bytes
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


@dataclass
class Written:
    """What a file tells of its run."""

    steps: list[int] = field(default_factory=list)  # of every row of history, in order
    ended: bool = False  # it was written to its end


def records(data: bytes) -> Iterator[bytes]:
    """The records of a log, up to where it was torn off."""
    place, parts = HEADER, b""
    while place + PIECE <= len(data):
        room = BLOCK - place % BLOCK
        if room < PIECE:  # too little for a piece: the rest of the block is empty
            place += room
            continue
        size, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        piece = data[place + PIECE : place + PIECE + size]
        if len(piece) < size or kind not in (_FULL, _FIRST, _MIDDLE, _LAST):
            return
        parts = piece if kind in (_FULL, _FIRST) else parts + piece
        if kind in (_FULL, _LAST):
            yield parts
        place += PIECE + size


def read_back(folder: Path) -> Written:
    """Of the run in a folder. Raises OSError where it holds no file that can be read."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    written = Written()
    for path in folder.glob("run-*.wandb"):
        for content in records(path.read_bytes()):
            record = Record.FromString(content)
            kind = record.WhichOneof("record_type")
            if kind == "history":
                written.steps.append(record.history.step.num)
            elif kind == "exit":
                written.ended = True
    return written
