"""Addresses of results that cannot be one, told before any storage is asked."""

import re

from lab.console.printing import one_line
from lab.errors import nearest

# What pyarrow's file systems read, and Ray's with them.
SCHEMES = ("file", "s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs", "mock")
_BUCKETS = ("s3", "gs", "gcs", "abfs", "abfss")
_FORM = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?P<slashes>/*)(?P<rest>.*)", re.DOTALL)


def without_keys(address: str) -> str:
    """An address as it may be shown."""
    return re.sub(r"//[^/?#]*@", "//...@", address)


def problem_with(address: str) -> str:
    """What is wrong with an address, as the end of a sentence; "" where nothing is."""
    if not address.strip():
        return "a folder or an URL such as s3://BUCKET/FOLDER is needed"
    if re.search(r"[\x00-\x1f\x7f]", address):
        return "it holds control characters"
    form = _FORM.fullmatch(address)
    if form is None:
        return "an URL begins with its scheme, such as s3://BUCKET/FOLDER" if "://" in address else ""
    scheme, slashes, rest = form["scheme"], form["slashes"], form["rest"]
    if len(slashes) < 2:  # a folder may have a colon in its name, but hardly so
        meant = f"{scheme.lower()}://{rest or 'BUCKET'}"
        return f"did you mean {one_line(meant)}?" if scheme.lower() in _BUCKETS else ""
    if scheme not in SCHEMES:
        return f"unknown scheme '{one_line(scheme)}'{nearest(scheme.lower(), SCHEMES)}; allowed: {', '.join(SCHEMES)}"
    if re.match(r"[^:]+://[^/?#]*:[^/?#]*@", address):
        return "no key in an address, which goes on record; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if scheme in _BUCKETS and (len(slashes) > 2 or not re.match(r"[^/?#\s]", rest)):
        return f"it names no bucket; {scheme}://BUCKET/FOLDER is needed"
    return ""
