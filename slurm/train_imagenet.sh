#!/usr/bin/env bash
# Train the contenders of `imagenet` on 8 V100s each, for four days of training clock. See train_body.sh.
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
body=${SLURM_SUBMIT_DIR:?start this script with sbatch}/slurm/train_body.sh
[ -e "$body" ] ||
    body=$(scontrol show job $SLURM_JOB_ID | sed -n 's|.*Command=\(.*/train_\)imagenet.sh.*|\1body.sh|p;T;q')
. "${body:?submit this script from the root of the repository}" imagenet "$@"
