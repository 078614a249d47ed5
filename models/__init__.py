"""The twins, DiT and FPDM, and the diffusion around them. Pure torch: no files, no datasets, no Slurm."""
