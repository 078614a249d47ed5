#!/usr/bin/env bash
# Train the contenders of `fashion` on one GPU each, for ten minutes of training clock. See train_body.sh.
#SBATCH --job-name=fashion-train
#SBATCH --array=0-1
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=4
#SBATCH --time=00:30:00
#SBATCH --signal=USR2@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%x-%A_%a.out
: "${SLURM_JOB_ID:?start this script with sbatch}"
body=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's|.*Command=\(.*/train_\)fashion.sh.*|\1body.sh|p;T;q')
[ -e "$body" ] || body=$SLURM_SUBMIT_DIR/slurm/train_body.sh # of a copy of this script
[ -e "$body" ] || { echo "error: submit this script from the root of the repository" >&2; exit 2; }
. "$body" fashion "$@"
