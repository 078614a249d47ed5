#!/usr/bin/env bash
# Train the ImageNet twins for 4 days each on 8 V100s:   sbatch slurm/train_imagenet.sh [flags of bench/train.py]
# Options of sbatch come before the script's name, such as --account, --partition, --constraint, --export=ALL,SETUP=FILE.
# A job saves before its time limit and is requeued, until its training clock is full.
#SBATCH --job-name=imagenet-train
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
set -euo pipefail

models=(dit fpdm)
cores=${SLURM_CPUS_PER_TASK:-1}
export OMP_NUM_THREADS=$cores
[ -z "${SETUP:-}" ] || . "$SETUP" # a site's modules, if it has any
srun --unbuffered --cpus-per-task="$cores" --kill-on-bad-exit=1 "${PYTHON:-.venv/bin/python}" slurm/train.py \
    --suite imagenet --models "${models[$SLURM_ARRAY_TASK_ID]}" "$@"
