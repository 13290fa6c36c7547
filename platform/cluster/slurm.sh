#!/usr/bin/env bash
# A sweep on SLURM: sbatch slurm.sh
#
# The first node of the job runs Ray's head and camsweep; every node runs trials. When the job is
# preempted, hits its time limit or is requeued by hand, the same script starts again and the sweep
# goes on: the store remembers. To stop it for good: scancel --batch --signal=TERM JOB; a plain
# scancel loses no result either, but may leave /tmp/ray-JOB behind on the nodes.
#
# Change the lines marked CHANGE (and see `sinfo` for partitions and GPUs):
#SBATCH --job-name=camsweep
#SBATCH --nodes=2                  # CHANGE
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8          # CHANGE
#SBATCH --time=24:00:00            # CHANGE
##SBATCH --gpus-per-node=4         # CHANGE: take one # away where there are GPUs
##SBATCH --partition=PARTITION     # CHANGE: likewise, where the default is not the right one
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
#SBATCH --output=camsweep-%j.log

# The environment, the store, the shards and the weights are seen by all nodes at the same path
# (store and shards may be s3:// or gs:// URLs).
# shellcheck disable=SC2317  # what traps call looks as if nothing did
PYTHON_ENV=${PYTHON_ENV:-/shared/env} # CHANGE: a virtual environment with camsweep
STORE=${STORE:-/shared/results}       # CHANGE
SWEEP=${SWEEP:-cpn/table4 --profile voc12 --data /shared/shards/voc12
    --weights /shared/weights/resnet38.pth} # CHANGE

set -euo pipefail
export PATH="$PYTHON_ENV/bin:$PATH" # pip, too: Ray installs this run's own code with it

# Several jobs may share a node: each has its own port, folder and token.
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 20000))
folder=/tmp/ray-$SLURM_JOB_ID
token=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_ADDRESS="$head:$port" RAY_AUTH_MODE=token RAY_AUTH_TOKEN="$token"
export RAY_USAGE_STATS_ENABLED=0

# What runs in the background ends with this script, however it ends; where the job has been taken
# away already, SLURM ends it.
driver=
step=
cleanup() {
    trap - EXIT
    if [ -n "$driver" ]; then
        kill -INT "$driver" 2>/dev/null || true
        wait "$driver" || true
    fi
    if [ -n "$step" ]; then
        scancel --signal=TERM "$SLURM_JOB_ID.0" 2>/dev/null ||
            kill -TERM "$step" 2>/dev/null || true
        wait "$step" || true
        step=
    fi
}
trap cleanup EXIT

# The time limit is near, or somebody with more right wants the nodes: stop, and queue again.
again=
# shellcheck disable=SC2329  # by trap, below
interrupt() {
    if [ -n "$driver" ]; then
        kill -INT "$driver" 2>/dev/null || true
    fi
}
# shellcheck disable=SC2329
requeue() {
    again=yes
    interrupt
}
trap requeue USR1
trap interrupt TERM

# Runs in the step, on each node: the head is the node that the script runs on.
# shellcheck disable=SC2016  # expanded there
start='
    place=(--address="$RAY_ADDRESS")
    if [ "$SLURM_NODEID" = 0 ]; then
        place=(--head --port="${RAY_ADDRESS##*:}" --include-dashboard=false --temp-dir="$1")
        unset RAY_ADDRESS
    else
        sleep 5
    fi
    ulimit -n "$(ulimit -Hn)"
    ray start "${place[@]}" --dashboard-agent-listen-port=0 --block > "$1.log" 2>&1 \
        --num-cpus="${SLURM_CPUS_PER_TASK:-1}" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" &
    ray=$!
    trap "kill -TERM $ray" TERM
    wait "$ray"
    status=$?
    while kill -0 "$ray" 2>/dev/null; do # told to end: Ray needs a moment
        wait "$ray"
        status=0
    done
    [ "$status" = 0 ] || cat "$1.log"
    rm -rf "$1" "$1.log"
    exit "$status"
'
srun --ntasks-per-node=1 --ntasks="$SLURM_JOB_NUM_NODES" --kill-on-bad-exit=0 \
    bash -c "$start" start "$folder" &
step=$!

# All nodes are awaited, so that a sweep that needs many is not refused for want of them.
there='
import sys, ray
ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
sys.exit(sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[1]))
'
joined=
for _ in $(seq 60); do
    if timeout 60 python -c "$there" "$SLURM_JOB_NUM_NODES" 2>/dev/null; then
        joined=yes
        break
    fi
    if ! kill -0 "$step" 2>/dev/null; then
        echo "slurm.sh: Ray has ended, or was never started; the reason is above" >&2
        exit 1
    fi
    sleep 5
done
if [ -z "$joined" ]; then
    echo "slurm.sh: some of the $SLURM_JOB_NUM_NODES nodes have not joined; going on without" >&2
fi

# In the background, as bash handles a signal only while it waits; Ctrl-C reaches it nevertheless.
# shellcheck disable=SC2086  # several words
setsid env --default-signal=INT camsweep run $SWEEP --store "$STORE" --address auto &
driver=$!
status=0
wait "$driver" || status=$?
while kill -0 "$driver" 2>/dev/null; do # the wait was ended by a signal, not by the driver
    status=0
    wait "$driver" || status=$?
done
driver=

if [ -n "$again" ] && [ "$status" -ne 0 ]; then
    echo "slurm.sh: stopped with status $status; queued again"
    cleanup
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
