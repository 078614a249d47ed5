#!/usr/bin/env bash
# Train the contenders of `fashion-cpu` on one CPU core each, for 45 minutes of training clock. See train_body.sh.
#SBATCH --job-name=fashion-cpu-train
#SBATCH --array=0-1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --time=01:00:00
#SBATCH --signal=USR2@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%x-%A_%a.out
: "${SLURM_JOB_ID:?start this script with sbatch}"
body=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's|.*Command=\(.*/train_\)fashion-cpu.sh.*|\1body.sh|p;T;q')
[ -e "$body" ] || body=$SLURM_SUBMIT_DIR/slurm/train_body.sh # of a copy of this script
[ -e "$body" ] || { echo "error: submit this script from the root of the repository" >&2; exit 2; }
. "$body" fashion-cpu "$@"
