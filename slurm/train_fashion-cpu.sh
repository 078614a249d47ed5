#!/usr/bin/env bash
# Train the smaller Fashion-MNIST twins, 45 minutes on a core each:
#     sbatch slurm/train_fashion-cpu.sh [flags of bench/train.py]
# A job saves before its time limit and is requeued, until its training clock is full.
#SBATCH --job-name=fashion-cpu-train
#SBATCH --array=0-1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --time=01:00:00
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
    --suite fashion-cpu --models "${models[$SLURM_ARRAY_TASK_ID]}" "$@"
