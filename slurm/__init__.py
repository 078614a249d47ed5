"""Training and evaluation as Slurm jobs, through sbatch and submitit. README.md says how to use them."""
