#!/usr/bin/env bash
# Test under SLURM, a process a GPU; it waits for the end:
#
#   GPUS=16 GPUS_PER_NODE=8 tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of tools/test.py]
#
# CPUS_PER_TASK (5) and SRUN_ARGS ("--time=1:00:00 --account=...") go to srun.
set -euo pipefail

if [ $# -lt 4 ]; then
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
partition=$1 name=$2
shift 2
gpus=${GPUS:-8} per_node=${GPUS_PER_NODE:-8}
[ "$gpus" -ge "$per_node" ] || per_node=$gpus
# shellcheck disable=SC2086  # several arguments in one variable
exec srun --partition="$partition" --job-name="$name" --ntasks="$gpus" --ntasks-per-node="$per_node" \
    --gres="gpu:$per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$(dirname "$0")/test.py" "$@" --launcher slurm
