"""Every part of every cluster file left out or put as something else: the checks say so, line by line, or it may be."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import checks
from cluster.checking.common import ROOT
from cluster.sending.request import default_out
from lab.errors import ConfigError

FOLDER = ROOT / "cluster"
LAUNCHERS = ("aws.yaml", "gcp.yaml", "local.yaml")
KUBERAY = ("kuberay/raycluster.yaml", "kuberay/rayjob.yaml")
VALUES: tuple[Any, ...] = (None, 1, True, "", "x", [], [1], [[]], {}, {"a": 1})

# Where a value of another kind may stand: numbers for texts that are numbers, lists and structures that may be empty.
MAY_BE = re.compile(
    r"resources(\.(requests|limits))?(\.[\w./]+)?=|rayStartParams=\{\}|(run_options|rsync_exclude|commands)=\[\]"
    r"|worker_ips=\[\]|gpu\.docker=\{\}|upscaling_speed=|idle_timeout_minutes=|diskSizeGb="
)


@pytest.fixture(autouse=True)
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").touch(mode=0o600)


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if place:
        yield place
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*place, key))


def mutants(documents: list[Any]) -> Iterator[tuple[str, bool, list[Any]]]:
    """(place and value, whether it is of another kind, documents with it); kind "left out" is no other kind."""
    for place in places(documents):
        old = documents
        for key in place:
            old = old[key]
        for value in ("LEFT OUT", *VALUES):
            changed = copy.deepcopy(documents)
            at = changed
            for key in place[:-1]:
                at = at[key]
            if value == "LEFT OUT":
                del at[place[-1]]
            else:
                at[place[-1]] = value
            another = value != "LEFT OUT" and type(value) is not type(old)
            yield f"{'.'.join(map(str, place))}={value!r}", another, changed


@pytest.mark.parametrize("name", [*LAUNCHERS, *KUBERAY])
def test_nothing_of_another_kind_is_fine_and_nothing_ends_in_a_traceback(name: str) -> None:
    text = (FOLDER / name).read_text().replace(checks.UNFILLED, "example")
    documents = list(yaml.load_all(text, yaml.CSafeLoader))
    documents = yaml.load(yaml.dump(documents, Dumper=Plain), yaml.CSafeLoader)  # no part is another's, too
    assert checks.check_documents(documents) == []
    fine, count = [], 0
    for what, another, changed in mutants(documents):
        count += 1
        lines = checks.check_documents(changed)
        assert all(isinstance(line, str) and "\n" not in line for line in lines), what
        if another and not lines and not MAY_BE.search(what):
            fine.append(what)
    assert not fine and count > 300, fine[:20]


class Plain(yaml.CSafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("storage.env", b"DYNONET_RESULTS=s3://b/x\r\nDYNONET_DATASETS=ETTh1\r\n", "line 1: ends as on Windows (CRLF)"),
        ("storage.env", b"DYNONET_RESULTS=/a\nDYNONET_RESULTS=/b\n", "line 2: 'DYNONET_RESULTS' is given twice, first"),
        ("storage.env", b"DYNONET_RESULTS=/a\nDYNONET_MPS=yes\n", "DYNONET_MPS: got 'yes'; 0 or 1 is needed"),
        ("storage.env", b"DYNONET_RESULTS=/a\nDYNONET_DATASET=ETTh1\n", "did you mean 'DYNONET_DATASETS'?"),
        ("storage.env", b"DYNONET_RESULTS=s3://\n", "got 's3://', allowed: s3://..., gs://... or an absolute path"),
        ("storage.env", b"\xef\xbb\xbfDYNONET_RESULTS=/a\n", "line 1: begins with a byte order mark"),
        ("storage.env", b"DYNONET_RESULTS=/a\x00b\n", "line 1: holds a NUL byte"),
        ("storage.env", b"DYNONET_RESULTS=/a\x0bB=c\n", "allowed: NAME=value without blanks"),
        ("storage.env", "DYNONET_RESULTS=/b\u00fccher\n".encode("latin-1"), "line 1: it is no UTF-8 text (byte 0xfc)"),
        ("aws.yaml", "cluster_name: b\u00fccher\n".encode("latin-1"), "line 1: it is no UTF-8 text (byte 0xfc)"),
        ("aws.yaml", bytes(range(256)), "it is no UTF-8 text"),
        ("setup.sh", b"echo a\r\n", "line 1: ends as on Windows (CRLF)"),
        ("Dockerfile", b"RUN true\n", "no FROM"),
        ("env.sh", b"export RAY_DEDUP_LOGS=0\n", "no 'export RAY_AUTH_MODE=token'"),
        ("job.sh", b"#!/bin/bash\n#SBATCH --nodes=2\nsrun true\n", "no 'ray start': there would be no cluster"),
        (
            "raycluster.yaml",
            b"apiVersion: ray.io/v1\nkind: RayCluster\nmetadata: {name: a}\n",
            "no 'spec', which is nee",
        ),
        ("aws.yaml", b"provider: {type: aws}\navailable_node_types: [1]\n", "types: got '[1]' (list), names with"),
        ("aws.yaml", b"provider: 1\n", "provider: got '1' (int), names with their values are needed"),
        *((name, b" \n", "the file is empty") for name in ("a.yaml", "storage.env", "env.sh", "Dockerfile")),
    ],
)
def test_a_damaged_file_is_said(
    name: str, content: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert checks.main([str(path)]) == 1
    told = capsys.readouterr()
    assert said in told.err and "fine" not in told.out, told.err
    assert all(line.startswith((f"{path}: ", "error: cannot read")) for line in told.err.splitlines())


def test_two_places_for_results_are_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shells would take the last, and whoever reads from the top the first."""
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "storage.env").write_text("DYNONET_RESULTS=/a\nDYNONET_RESULTS=/b\n")
    monkeypatch.setattr("cluster.sending.request.ROOT", tmp_path)
    monkeypatch.delenv("DYNONET_RESULTS", raising=False)
    with pytest.raises(ConfigError, match=r"DYNONET_RESULTS is given 2 times; python -m cluster\.checks"):
        default_out()
