#!/usr/bin/env bash
# Train the digits twins on a cluster, one task each:   sbatch slurm/train_digits.sh [flags of bench/train.py]
# A requeued task goes on from its checkpoint until its training clock is full.
#SBATCH --job-name=fpdm-vs-dit-digits
#SBATCH --array=0-1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --time=00:30:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%x-%A_%a.out
set -euo pipefail

models=(dit fpdm)
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
srun --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" "${PYTHON:-.venv/bin/python}" bench/train.py \
    --suite digits --models "${models[$SLURM_ARRAY_TASK_ID]}" "$@"
