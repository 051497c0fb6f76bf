#!/usr/bin/env bash
# Train under SLURM, a process a GPU, and go on after a preemption or the end of the job's time:
#
#   GPUS=16 GPUS_PER_NODE=8 tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of tools/train.py]
#
# CPUS_PER_TASK (5) and SBATCH_ARGS ("--time=24:00:00 --account=...") go to sbatch. GRACE (120) seconds before the end SLURM
# sends SIGUSR1: the run finishes its step, saves and leaves, and the job is put back into the queue, where it begins with
# the last checkpoint of its work dir.
set -euo pipefail

if [ "${1:-}" != --in-job ]; then
    if [ $# -lt 3 ]; then
        sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
        exit 2
    fi
    partition=$1 name=$2
    shift 2
    gpus=${GPUS:-8} per_node=${GPUS_PER_NODE:-8}
    [ "$gpus" -ge "$per_node" ] || per_node=$gpus
    # shellcheck disable=SC2086  # several arguments in one variable
    exec sbatch --partition="$partition" --job-name="$name" --requeue --open-mode=append \
        --signal="B:USR1@${GRACE:-120}" --ntasks="$gpus" --ntasks-per-node="$per_node" \
        --gres="gpu:$per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" ${SBATCH_ARGS:-} \
        "$(readlink -f "$0")" --in-job "$(readlink -f "$(dirname "$0")")" "$@"
fi

# Inside of the job: SLURM runs a copy of this file, so the folder of the tools was handed over.
tools=$2 config=$3
shift 3
marks=$(mktemp -d)
export INTERNGV_STOPPED=$marks/stopped # the run makes this file where a signal, from anybody, has stopped it
srun --kill-on-bad-exit=1 "${PYTHON:-python}" -u "$tools/train.py" "$config" --launcher slurm --resume "$@" &
run=$! cancelled=no interrupted=yes
trap 'interrupted=yes; kill -USR1 "$run" 2>/dev/null || true' USR1
trap 'interrupted=yes cancelled=yes' TERM # goes to the whole job: it is to end, or SLURM puts it back by itself
while [ "$interrupted" = yes ]; do # a signal ends the wait, not the run
    interrupted=no status=0
    wait "$run" || status=$?
done
stopped=no
[ ! -e "$INTERNGV_STOPPED" ] || stopped=yes
rm -r "$marks"
if [ "$stopped" = yes ] && [ "$cancelled" = no ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
