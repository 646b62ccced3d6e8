"""Whether a Ray cluster answers, and takes our token.

Ray itself tries for minutes, a line a second, and then says that nobody answers.
"""

import os
import socket

import grpc
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

from lab.console.printing import one_line
from lab.errors import ConfigError

SECONDS = 10.0  # for the address to answer, and then for the cluster
_WAYS = "RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token, with RAY_AUTH_MODE=token"


def check_token(address: str) -> None:
    """Raises ConfigError if the cluster at `host:port` wants a token, and the one that Ray finds here is not it."""
    if os.environ.get("RAY_USE_TLS", "0") != "0":  # asked in another way
        return
    try:
        found = AuthenticationTokenLoader.instance().get_token_for_http_header(ignore_auth_mode=False)
    except Exception as error:  # a file that is named and is not there
        raise ConfigError(f"the token of the Ray cluster: {one_line(str(error).partition('. ')[0])}") from None
    headers = [(name.lower(), value) for name, value in found.items()]
    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary("/ray.rpc.NodeInfoGcsService/CheckAlive")(b"", timeout=SECONDS, metadata=headers)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:  # anything else Ray says better
                has = "and does not take the one that is here" if headers else "and there is none here"
                raise ConfigError(f"the Ray cluster at '{address}' wants a token, {has}; give it as {_WAYS}") from None


def check_answers(address: str) -> None:
    """Raises ConfigError if nobody listens at `[scheme://]host:port`, where Ray itself would try for minutes, or if one
    does that takes another token than ours."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS).close()
        except (OSError, OverflowError) as error:
            raise ConfigError(f"no Ray cluster answers at '{address}': {error}") from None
        check_token(f"{host}:{port}")
