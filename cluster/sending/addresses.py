"""Where a cluster's job server is, and the token for it: checked before anything is sent."""

import ipaddress
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import ray
import requests

from lab.errors import ConfigError

ADDRESS = "RAY_API_SERVER_ADDRESS"  # Ray's own name for the address of a job server
OVERRULING = (ADDRESS, "RAY_ADDRESS")  # Ray's job client prefers these to the address that it is given
CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 30.0


@dataclass(frozen=True)
class Token:
    """The secret that a cluster asks for. `repr` does not show it."""

    text: str
    place: str  # where it was found

    def __repr__(self) -> str:
        return f"Token(from {self.place})"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.text}"}


def job_server(address: str | None) -> str:
    """The URL of the job server, `http://HOST:PORT`, from `--address` or the environment.

    Raises:
        ConfigError: none is given, or it is no http address.
    """
    address = address or os.environ.get(ADDRESS)
    if not address:
        raise ConfigError(f"--address is needed: the job server, such as http://127.0.0.1:8265 (or set {ADDRESS})")
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"--address: got '{address}': {error}; http://HOST:PORT is needed") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        host = parts.hostname or address.partition(":")[0] or "127.0.0.1"
        raise ConfigError(
            f"--address: got '{address}'; the job server is needed, which answers http: "
            f"did you mean 'http://{host}:8265'?"
        )
    if parts.username or parts.password or parts.query or parts.path.strip("/"):
        raise ConfigError("--address: http://HOST:PORT is needed, without user, password, path or query")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def is_loopback(url: str) -> bool:
    """Whether the address is this machine's own: a tunnel's end, or a cluster here."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def find_token() -> Token | None:
    """The token, looked for where Ray looks: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token.

    None where there is none, or RAY_AUTH_MODE is set to something else than `token`.

    Raises:
        ConfigError: a token's file that others can read, is empty, or cannot be read.
    """
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return None
    if text := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return Token(text, "RAY_AUTH_TOKEN")
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named).expanduser() if named else Path.home() / ".ray" / "auth_token"
    if not named and not path.exists():
        return None
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise ConfigError(f"the token {path} can be read by others (mode {mode:o}): chmod 600 {path}")
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the token {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not text:
        raise ConfigError(f"the token {path} is empty; `ray get-auth-token --generate` makes one")
    return Token(text, str(path))


def check_safe(url: str, token: Token | None, insecure: bool) -> None:
    """Raises ConfigError if jobs would go to another machine without a token."""
    if token is None and not insecure and not is_loopback(url):
        raise ConfigError(
            f"{url} is another machine and there is no token for it (RAY_AUTH_TOKEN_PATH, or ~/.ray/auth_token of mode "
            "600): whoever reaches a cluster without one runs what they like there; --insecure sends all the same"
        )


def check_answers(url: str, token: Token | None) -> None:
    """Raises ConfigError, in one sentence, unless a Ray cluster of our version answers and takes the token."""
    headers = token.headers if token else {}
    try:
        answer = requests.get(f"{url}/api/version", headers=headers, timeout=(CONNECT_SECONDS, ANSWER_SECONDS))
    except requests.RequestException as error:
        tunnel = "; is the tunnel open (`ray dashboard cluster/NAME.yaml`)?" if is_loopback(url) else ""
        raise ConfigError(f"no cluster answers at {url} ({_cause(error)}){tunnel}") from None
    if answer.status_code == 401:
        raise ConfigError(
            f"the cluster at {url} asks for a token and there is none here: name its file in RAY_AUTH_TOKEN_PATH, or "
            "copy it to ~/.ray/auth_token (mode 600)"
        )
    if answer.status_code == 403:
        place = token.place if token else "nowhere"
        raise ConfigError(f"the cluster at {url} does not take the token from {place}: it is another cluster's")
    try:
        there = str(answer.json()["ray_version"])
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"what answers at {url} is no Ray job server (status {answer.status_code})") from None
    if there.split(".")[:2] != ray.__version__.split(".")[:2]:
        raise ConfigError(f"the cluster at {url} runs Ray {there}, this is Ray {ray.__version__}: install the same")


def _cause(error: Exception) -> str:
    """The shortest reason in a chain of wrapped errors."""
    cause: BaseException = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    return getattr(cause, "strerror", None) or (str(cause) or type(cause).__name__).splitlines()[0][:200]
