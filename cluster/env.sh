# shellcheck shell=bash
# Read, not run, by every shell that starts or uses Ray on a node: . ~/dynonet/cluster/env.sh

set -a
# shellcheck source=cluster/storage.env
. "$(dirname "${BASH_SOURCE[0]}")/storage.env"
set +a

# No process of Ray's talks to one that does not know the token (~/.ray/auth_token, or RAY_AUTH_TOKEN_PATH).
export RAY_AUTH_MODE=token

# The head gives up a node that is silent for some 15 s (Ray's own settings: more than a minute).
export RAY_health_check_initial_delay_ms=5000
export RAY_health_check_period_ms=1000
export RAY_health_check_timeout_ms=2000
export RAY_health_check_failure_threshold=5

# Where `setup.sh venv` installed; in a container the image's own Python is used.
DYNONET_VENV="${DYNONET_VENV:-$HOME/.dynonet/venv}"
if [ -x "$DYNONET_VENV/bin/python" ]; then
  export PATH="$DYNONET_VENV/bin:$PATH"
fi

# With DYNONET_MPS=1 (storage.env) the files of this folder start CUDA MPS before Ray (python -m lab.machines.card.mps
# start): here it is, for CUDA to find. Then searches may ask for --gpu-sharing mps.
if [ "${DYNONET_MPS:-0}" = 1 ]; then
  export CUDA_MPS_PIPE_DIRECTORY="${TMPDIR:-/tmp}/dynonet-mps-$(id -u)/pipe"
  export CUDA_MPS_LOG_DIRECTORY="${CUDA_MPS_PIPE_DIRECTORY%/pipe}/log"
fi
