#!/usr/bin/env bash
# Train the Fashion-MNIST twins for ten minutes each on a GPU:   sbatch slurm/train_fashion.sh [flags of bench/train.py]
# Options of sbatch come before the script's name, such as --account, --partition, --constraint, --export=ALL,SETUP=FILE.
# A job saves before its time limit and is requeued, until its training clock is full.
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
set -euo pipefail

models=(dit fpdm)
cores=${SLURM_CPUS_PER_TASK:-1}
export OMP_NUM_THREADS=$cores
[ -z "${SETUP:-}" ] || . "$SETUP" # a site's modules, if it has any
srun --unbuffered --cpus-per-task="$cores" "${PYTHON:-.venv/bin/python}" slurm/train.py \
    --suite fashion --models "${models[$SLURM_ARRAY_TASK_ID]}" "$@"
