"""Addresses of results that cannot be one."""

import pytest

from lab.results import main
from lab.store.objects.storage import StorageError, open_storage


@pytest.mark.parametrize(("address", "said"), [
    ("s3://", "it names no bucket; s3://BUCKET/FOLDER is needed"),
    ("gs:///folder", "it names no bucket"),
    ("s3:", "did you mean s3://BUCKET?"),
    ("s3:/bucket", "did you mean s3://bucket?"),
    ("S3://bucket", "unknown scheme 'S3'; did you mean 's3'?"),
    ("s4://me:secret@bucket", "unknown scheme 's4'; did you mean 's3'?"),
    ("://bucket", "an URL begins with its scheme"),
    ("", "a folder or an URL such as s3://BUCKET/FOLDER is needed"),
    ("a\tb", "it holds control characters"),
])  # fmt: skip
def test_an_address_that_cannot_be_one(address: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StorageError, match=r"cannot open storage '.*"):
        open_storage(address)
    assert main(["list", "--results", address]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: cannot open storage '") and said in line and line.count("\n") == 1
    assert "secret" not in line
