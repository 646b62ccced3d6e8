"""The name of an object that says what it holds: `stem-CHECKSUM.ext`, from 32 hex digits of BLAKE2b over all its bytes.

A name is published by the same single write as the bytes, so a kill leaves no object without its checksum and none with
another's. Objects of before have plain names; they are read as they are.
"""

import hashlib
import re

_DIGITS = 32
_NAMED = re.compile(rf"(?:(?P<stem>.+)-)?(?P<sum>[0-9a-f]{{{_DIGITS}}})(?P<end>\.[A-Za-z0-9]+)")


def checksum(data: bytes) -> str:
    """Accidents do not get past 128 bits; whoever forges an object can forge its name, too."""
    return hashlib.blake2b(data, digest_size=_DIGITS // 2).hexdigest()


def named(path: str, data: bytes) -> str:
    """The path with the checksum of the object that will lie there: `a/x.pt` becomes `a/x-CHECKSUM.pt`."""
    folder, slash, name = path.rpartition("/")
    stem, dot, end = name.rpartition(".")
    return f"{folder}{slash}{stem}{'-' if stem else ''}{checksum(data)}{dot}{end}"


def claimed(path: str) -> str | None:
    """The checksum that a path states; None where it states none."""
    match = _NAMED.fullmatch(path.rsplit("/", 1)[-1])
    return match["sum"] if match else None


def plain(path: str) -> str:
    """The path without its checksum: what the object was called by whoever put it there."""
    folder, slash, name = path.rpartition("/")
    match = _NAMED.fullmatch(name)
    return f"{folder}{slash}{match['stem'] or ''}{match['end']}" if match else path
