#!/usr/bin/env bash
# Runs a search or study on a Slurm allocation: Ray's head on the first node, a worker on each other, the study's command
# as the driver beside the head.
#
#   bash cluster/setup.sh venv                                             once, on a node with network
#   sbatch cluster/slurm.sh search --preset etth1-h96 --gpus-per-trial 0.25
#   sbatch --nodes=8 --partition=gpu cluster/slurm.sh ablations signals
#
# Submitted again, the same command goes on where it stood. DYNONET_REQUEUE=1 does that by itself when time runs out.
# Storage is named in cluster/storage.env: here usually the path of a parallel file system. Keys (WANDB_API_KEY) come
# from the environment of sbatch. The dashboard is on the first node's loopback; its address, a tunnel's command and the
# file that holds the token are printed at the start.
#
#SBATCH --job-name=dynonet
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@180
#SBATCH --no-kill
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=dynonet-%j.log
set -euo pipefail
set -m # each background job is a process group of its own, and hears SIGINT

case "${1:-}" in
  search | ablations) ;;
  *) echo "slurm.sh: got '${1:-}', allowed: search, ablations, then its arguments" >&2; exit 2 ;;
esac
[ -n "${SLURM_JOB_ID:-}" ] || { echo "slurm.sh: not in a Slurm job; submit it with sbatch" >&2; exit 2; }

# sbatch runs a copy of this file, so the project is where sbatch was called.
root="${DYNONET_ROOT:-${SLURM_SUBMIT_DIR:-$PWD}}"
[ -f "$root/cluster/env.sh" ] || { echo "slurm.sh: no cluster/env.sh in $root; call sbatch in the project's folder" >&2; exit 2; }
# shellcheck source=cluster/env.sh
. "$root/cluster/env.sh"

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head="${nodes[0]}"
on() { # on NODE COMMAND...: one step on one node, with all that the job has there; always called in a subshell
  local node="$1"
  shift
  exec srun --nodes=1 --ntasks=1 --nodelist="$node" --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --export=ALL "$@"
}

# The job's own token, readable by its owner alone, in a folder that all nodes see. It is on no command line.
umask 077
private="$HOME/.dynonet/slurm-$SLURM_JOB_ID"
mkdir -p "$private"
export RAY_AUTH_TOKEN_PATH="$private/auth_token"
unset RAY_AUTH_TOKEN
python -c 'import secrets; print(secrets.token_hex(32), end="")' >"$RAY_AUTH_TOKEN_PATH"

# Ports and a folder of the job's own: nodes may be shared. A socket's path must be short.
offset=$((SLURM_JOB_ID % 1000))
port="${DYNONET_PORT:-$((20000 + offset))}"
dashboard="${DYNONET_DASHBOARD_PORT:-$((21000 + offset))}"
agent="$((22000 + offset))"
client="$((23000 + offset))"
temporary="${DYNONET_RAY_TMP:-/tmp/ray-$SLURM_JOB_ID}"
# shellcheck disable=SC2016  # $1 is the other shell's
# The address that the node's name stands for, unless that is loopback (as Debian writes it); then the first it has.
ip="$(on "$head" bash -c 'getent ahostsv4 "$1"; hostname --all-ip-addresses | xargs -n1' address "$head" |
  grep -oE '^[0-9]+(\.[0-9]+){3}' | grep -m1 -v '^127\.' || true)"
[ -n "$ip" ] || { echo "slurm.sh: node $head has no IPv4 address" >&2; exit 1; }
export RAY_ADDRESS="$ip:$port"
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0 # at the end all nodes go, and nothing is left to drain
options=(--num-cpus="${SLURM_CPUS_PER_TASK:-1}" --dashboard-agent-listen-port="$agent")
[ -z "${SLURM_GPUS_ON_NODE:-}" ] || options+=(--num-gpus="$SLURM_GPUS_ON_NODE")

steps=()
driver=""
reason=""
finish() {
  trap - EXIT USR1 TERM INT
  [ -z "$driver" ] || kill -KILL "$driver" 2>/dev/null || true
  for step in "${steps[@]}"; do kill -TERM -- "-$step" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$private"
}
# The driver stops between two steps, with everything on record. Then this script goes on below.
stop() {
  reason="$1"
  [ -z "$driver" ] || kill -INT "$driver" 2>/dev/null || true
}
trap finish EXIT
trap 'stop time' USR1
trap 'stop signal' TERM INT

ulimit -n 65536 2>/dev/null || true
# What a step leaves running ends with it, so MPS is started within each (DYNONET_MPS=1).
# shellcheck disable=SC2016  # what stands in single quotes is the other shell's
mps='[ "${DYNONET_MPS:-0}" != 1 ] || python -P -m lab.machines.card.mps start'
# shellcheck disable=SC2016
on "$head" bash -c "$mps"'; exec ray start "$@"' head --head --block --node-ip-address="$ip" --port="$port" --dashboard-host=127.0.0.1 \
  --dashboard-port="$dashboard" --ray-client-server-port="$client" --temp-dir="$temporary" "${options[@]}" \
  >"$root/dynonet-$SLURM_JOB_ID-head.log" 2>&1 &
steps+=($!)

# Whether so many nodes are alive within so many seconds; with none given, the head alone.
alive() {
  python - "$1" "$2" <<'PYTHON'
import sys
import time

import ray
from ray.exceptions import RaySystemError

need, deadline = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
found = 0
while found < need and time.monotonic() < deadline:
    try:
        if not ray.is_initialized():
            ray.init(log_to_driver=False, logging_level="CRITICAL")
        found = sum(node["Alive"] for node in ray.nodes())
    except (ConnectionError, RaySystemError, RuntimeError, ValueError):
        ray.shutdown()
    time.sleep(0.5)
print(found)
sys.exit(found < need)
PYTHON
}
wait_seconds="${DYNONET_WAIT:-120}"
if ! alive 1 "$wait_seconds" >/dev/null 2>&1; then
  echo "slurm.sh: Ray's head on $head did not come up within $wait_seconds s:" >&2
  tail -n 20 "$root/dynonet-$SLURM_JOB_ID-head.log" >&2
  exit 1
fi
for node in "${nodes[@]:1}"; do
  # A worker that was cut off leaves; it is started again as long as the job runs.
  on "$node" bash -c "$mps"'; trap "kill -TERM \$!; wait; exit" TERM; while :; do ray start --block "$@" & wait $!; sleep 5; done' worker \
    --address="$RAY_ADDRESS" "${options[@]}" >"$root/dynonet-$SLURM_JOB_ID-$node.log" 2>&1 &
  steps+=($!)
done
if ! found="$(alive ${#nodes[@]} "$wait_seconds" 2>/dev/null)"; then
  echo "slurm.sh: ${found:-0} of ${#nodes[@]} nodes joined within $wait_seconds s; going on, late ones are used when they come" >&2
fi
echo "Ray: $RAY_ADDRESS, nodes: ${nodes[*]}; token: $RAY_AUTH_TOKEN_PATH"
echo "dashboard: ssh -L 8265:127.0.0.1:$dashboard $head, then http://localhost:8265"

code=0
if [ -z "$reason" ]; then
  (cd "$root" && exec python cluster/entry.py "$@") &
  driver=$!
  wait "$driver" || code=$?
  while kill -0 "$driver" 2>/dev/null; do # a signal ended the wait, not the driver
    code=0
    wait "$driver" || code=$?
  done
  driver=""
fi
case "$reason" in
  time)
    if [ "${DYNONET_REQUEUE:-0}" = 1 ]; then
      echo "slurm.sh: time is up; queued again" >&2
      scontrol requeue "$SLURM_JOB_ID"
    else
      echo "slurm.sh: time is up; sbatch the same command again, it goes on where it stood" >&2
    fi
    ;;
  signal) echo "slurm.sh: stopped; sbatch the same command again, it goes on where it stood" >&2 ;;
esac
exit "$code"
