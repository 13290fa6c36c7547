#!/usr/bin/env bash
# A fixed set of machines, started over SSH without Ray's launcher.
#
#   bash static.sh start      Ray on the head and on every worker
#   bash static.sh run        the sweep, on the head; again after anything has died: it goes on
#   bash static.sh status     what the store has
#   bash static.sh stop       the end of Ray on all of them
#
# Change the next lines. The environment, the store, the shards and the weights are seen by all
# machines at the same path (store and shards may be in S3 or GCS), and `ssh MACHINE` asks nothing.
# A token keeps others on the network out: whoever reaches Ray's ports can run code there.

HEAD=head.example.org                                # CHANGE: a machine, by a name that all know
WORKERS=(worker1.example.org worker2.example.org)    # CHANGE: the others
ENVIRONMENT=/shared/env                              # CHANGE: a virtual environment with camsweep
STORE=/shared/results                                # CHANGE
TOKEN_FILE=/shared/ray-token                         # CHANGE: is made; only you may read it
SWEEP=(cpn/table4 --profile voc12 --data /shared/shards/voc12
    --weights /shared/weights/resnet38.pth) # CHANGE
PORT=6379

set -euo pipefail

# Runs its words on a machine, in the environment, with the token.
on() {
    local machine=$1
    shift
    local words
    words=$(printf '%q ' "$@")
    # shellcheck disable=SC2029  # expanded here on purpose
    ssh -o BatchMode=yes "$machine" "
        export PATH=$(printf %q "$ENVIRONMENT/bin"):\$PATH
        export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$(printf %q "$TOKEN_FILE")
        export RAY_ADDRESS=$HEAD:$PORT
        ulimit -n 65536
        $words"
}

start() {
    # shellcheck disable=SC2016  # expanded there
    local make='umask 077; test -s "$1" || od -An -N32 -tx1 /dev/urandom | tr -d " \n" > "$1"'
    on "$HEAD" bash -c "$make" make "$TOKEN_FILE"
    on "$HEAD" env -u RAY_ADDRESS ray start --head --port="$PORT" --include-dashboard=false \
        --disable-usage-stats
    local worker
    for worker in "${WORKERS[@]}"; do
        on "$worker" ray start --address="$HEAD:$PORT" --disable-usage-stats
    done
}

stop() {
    local machine
    for machine in "${WORKERS[@]}" "$HEAD"; do
        on "$machine" ray stop || echo "static.sh: $machine: Ray could not be stopped" >&2
    done
}

case ${1:-} in
start) start ;;
run) on "$HEAD" camsweep run "${SWEEP[@]}" --store "$STORE" --address auto ;;
status) on "$HEAD" camsweep status --store "$STORE" ;;
stop) stop ;;
*)
    echo "use: bash static.sh start | run | status | stop" >&2
    exit 2
    ;;
esac
