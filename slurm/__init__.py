"""The same work on a cluster: Slurm jobs through sbatch and submitit."""
