"""What Ray would say late, in many lines or not at all: a token that a cluster wants, sockets with long names."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from lab.errors import ConfigError
from lab.machines.answers import check_token
from lab.machines.processes import check_socket_folder


@pytest.fixture
def guarded() -> Iterator[str]:
    """The address of a cluster that wants the token `right`."""

    class Guard(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            def answer(request: bytes, context: Any) -> bytes:
                if ("authorization", "Bearer right") not in [tuple(each) for each in context.invocation_metadata()]:
                    context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
                return b""

            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(ThreadPoolExecutor(2), handlers=[Guard()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


class Loader:
    """Ray's own, with these headers."""

    def __init__(self, **headers: str):
        self.headers = headers

    def instance(self) -> "Loader":
        return self

    def get_token_for_http_header(self, ignore_auth_mode: bool) -> dict[str, str]:
        return self.headers


@pytest.mark.parametrize(("headers", "said"), [
    ({}, "wants a token, and there is none here"), ({"Authorization": "Bearer wrong"}, "and does not take the one"),
])  # fmt: skip
def test_a_token_that_a_cluster_wants(
    headers: dict[str, str], said: str, guarded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.machines.answers.AuthenticationTokenLoader", Loader(**headers))
    with pytest.raises(ConfigError, match=said):
        check_token(guarded)
    monkeypatch.setattr("lab.machines.answers.AuthenticationTokenLoader", Loader(Authorization="Bearer right"))
    check_token(guarded)


def test_a_long_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    check_socket_folder()
    monkeypatch.delenv("RAY_TMPDIR")
    monkeypatch.setenv("TMPDIR", f"/tmp/{'a' * 60}")
    with pytest.raises(ConfigError, match="characters too long for one; set RAY_TMPDIR to a short folder"):
        check_socket_folder()
