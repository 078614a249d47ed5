#!/usr/bin/env bash
# Train the digits twins on a cluster, one CPU task each:   sbatch slurm/train_digits.sh [flags of bench/train.py]
# A job saves before its time limit and is requeued, until its training clock is full.
#SBATCH --job-name=digits-train
#SBATCH --array=0-1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --time=00:30:00
#SBATCH --signal=USR2@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%x-%A_%a.out
set -euo pipefail

models=(dit fpdm)
cores=${SLURM_CPUS_PER_TASK:-1}
export OMP_NUM_THREADS=$cores
[ -z "${SETUP:-}" ] || . "$SETUP" # a site's modules, if it has any
srun --unbuffered --cpus-per-task="$cores" "${PYTHON:-.venv/bin/python}" slurm/train.py \
    --suite digits --models "${models[$SLURM_ARRAY_TASK_ID]}" "$@"
