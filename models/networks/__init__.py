"""The networks: DiT and FPDM over shared transformer blocks, with fast CPU kernels, checkpointing and compilation.

Read `patch_network`, `blocks` and `fpdm` first.
"""
