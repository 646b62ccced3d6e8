#!/usr/bin/env bash
# Makes a machine ready, the same way on every kind of cluster: installs the project with what it needs at the versions
# of constraints.txt, then fetches the data and checks it. Run again, it does what is left to do.
#
#   setup.sh image   into the Python that comes first on PATH: that of a container
#   setup.sh venv    into ~/.dynonet/venv (or DYNONET_VENV), made with python3.11 (or DYNONET_PYTHON)
set -euo pipefail

fail() {
  echo "setup: $*" >&2
  exit 1
}

kind="${1:-}"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
token="${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}"
wanted="$(sed -n 's/^#.*on Python \([0-9]*\.[0-9]*\).*/\1/p' "$root/constraints.txt")"
[ -n "$wanted" ] || fail "constraints.txt does not say which Python it is for ('on Python X.Y')"

if [ -e "$token" ]; then
  # With another owner the image's user cannot read it: the ssh user of the machine must have the same number (1000).
  [ -r "$token" ] || fail "user $(id -un) ($(id -u)) cannot read the token $token, which is of user $(stat -c %u "$token")"
  [ "$(stat -c %a "$token")" = 600 ] || chmod 600 "$token"
fi

mkdir -p "$HOME/.dynonet"
exec 9>"$HOME/.dynonet/setup.lock"
flock 9 # nodes with one home folder between them take turns

case "$kind" in
  image) ;;
  venv)
    venv="${DYNONET_VENV:-$HOME/.dynonet/venv}"
    if [ ! -x "$venv/bin/python" ]; then
      base="${DYNONET_PYTHON:-python$wanted}"
      command -v "$base" >/dev/null || fail "no '$base' on $(hostname); set DYNONET_PYTHON to a Python $wanted"
      "$base" -m venv "$venv"
    fi
    export PATH="$venv/bin:$PATH"
    ;;
  *) fail "got '$kind', allowed: image, venv" ;;
esac

found="$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
[ "$found" = "$wanted" ] || fail "Python $found on $(hostname), but constraints.txt is for Python $wanted"

# What is installed is a copy: a folder that the launcher mounted is only read.
mounted=(lab dynonet forecasters tune ablations cluster scripts pyproject.toml constraints.txt README.md LICENSE)
for each in "${mounted[@]}"; do
  [ -e "$root/$each" ] || fail "$root/$each is missing; mount it (file_mounts) or copy it (Dockerfile)"
done
stamp="$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/dynonet-tune.installed"
content="$(cd "$root" && find "${mounted[@]}" -type f ! -path '*/__pycache__/*' -print0 | sort -z | xargs -0 sha256sum | sha256sum)"
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$content" ]; then
  build="$(mktemp -d)"
  trap 'rm -rf "$build"' EXIT
  (cd "$root" && cp -r "${mounted[@]}" "$build")
  python -m pip install --quiet --disable-pip-version-check -c "$build/constraints.txt" "$build"
  echo "$content" >"$stamp"
fi

# A shell of `ray submit`, `ray exec` and `ray attach` knows what Ray's own processes know.
line=". $root/cluster/env.sh"
grep -qxF "$line" "$HOME/.bashrc" 2>/dev/null || echo "$line" >>"$HOME/.bashrc"

# shellcheck source=cluster/env.sh
. "$root/cluster/env.sh"
cd "$HOME"
python -P - "${DYNONET_DATASETS:-}" <<'PYTHON'
import sys

from lab.errors import ConfigError, DataError
from lab.series import load_series
from lab.settings.data import DataConfig

for name in filter(None, sys.argv[1].split(",")):
    try:
        series = load_series(DataConfig(dataset=name.strip()))
    except (ConfigError, DataError, ValueError) as error:
        sys.exit(f"setup: data: {error}")
    print(f"data: {series.source}, identity {series.identity[:12]}")
PYTHON
python -P -c 'import platform, ray, torch; print(f"ready: Python {platform.python_version()}, ray {ray.__version__}, torch {torch.__version__}")'
