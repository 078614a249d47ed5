# Train one contender of a suite as a Slurm job. The scripts train_<suite>.sh request resources, then source this file.
#
#     sbatch [options of sbatch] slurm/train_<suite>.sh [flags of bench/train.py]
#
# Each task of the job's array trains one contender: task 0 the first of the suite (or of --models), and so on. Where
# --models names more than the header's array has tasks, task 0 submits the others (array_tasks.py).
# A job saves its checkpoint before its time limit and is requeued, until the training clock reaches the budget.
# Variables, for example through `sbatch --export=ALL,SETUP=FILE`: SETUP is a file that is sourced first (modules of a
# site); PYTHON is the interpreter (.venv/bin/python of the repository).
set -euo pipefail

suite=$1
shift
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cores=${SLURM_CPUS_PER_TASK:-1}
export OMP_NUM_THREADS=$cores
[ -z "${SETUP:-}" ] || . "$SETUP"
srun --unbuffered --cpus-per-task="$cores" --kill-on-bad-exit=1 \
    "${PYTHON:-$root/.venv/bin/python}" "$root/slurm/train.py" --suite "$suite" "$@"
