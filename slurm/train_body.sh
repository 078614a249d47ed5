# Train one contender of a suite as a Slurm job. The scripts train_<suite>.sh request resources, then source this file.
#
#     sbatch [options of sbatch] slurm/train_<suite>.sh [flags of bench/train.py]
#
# Each task of the job's array trains one contender: task 0 the first of the suite (or of --models), and so on. Where
# --models names more than the header's array has tasks, task 0 submits the others (array_tasks.py).
# A job saves its checkpoint before its time limit and is requeued, until the training clock reaches the budget.
# Relative paths in the flags are looked up in the folder of submission; the default folders are the repository's.
# Variables, for example through `sbatch --export=ALL,SETUP=FILE`: SETUP is a file that is sourced first (modules of a
# site); PYTHON is the interpreter (.venv/bin/python of the repository).
set -euo pipefail

suite=$1
shift
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cores=${SLURM_CPUS_PER_TASK:-1}
export OMP_NUM_THREADS=$cores
[ -z "${SETUP:-}" ] || . "$SETUP"
python=${PYTHON:-$root/.venv/bin/python}
command -v "$python" >/dev/null || {
    echo "error: $python: no such program; run \`make install\`, or name another with --export=ALL,PYTHON=PATH" >&2
    exit 2
}
# In a job that was submitted from inside another, the other's kind of memory may stand beside its own, which srun
# refuses. Without any, srun gets the job's memory.
case ${SLURM_MEM_PER_NODE:+1}${SLURM_MEM_PER_CPU:+1}${SLURM_MEM_PER_GPU:+1} in
    11*) unset SLURM_MEM_PER_NODE SLURM_MEM_PER_CPU SLURM_MEM_PER_GPU ;;
esac
srun --unbuffered --cpus-per-task="$cores" --kill-on-bad-exit=1 --export=ALL \
    "$python" "$root/slurm/train.py" --suite "$suite" --results "$root/results" --prepared "$root/prepared" "$@"
