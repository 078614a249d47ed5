#!/usr/bin/env bash
# Train the contenders of `ffhq` on 8 V100s each, for a day of training clock. See train_body.sh.
#SBATCH --job-name=ffhq-train
#SBATCH --array=0-1
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=4
#SBATCH --constraint=v100-32g
#SBATCH --time=24:00:00
#SBATCH --signal=USR2@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%x-%A_%a.out
: "${SLURM_JOB_ID:?start this script with sbatch}"
body=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's|.*Command=\(.*/train_\)ffhq.sh.*|\1body.sh|p;T;q')
[ -e "$body" ] || body=$SLURM_SUBMIT_DIR/slurm/train_body.sh # of a copy of this script
[ -e "$body" ] || { echo "error: submit this script from the root of the repository" >&2; exit 2; }
. "$body" ffhq "$@"
