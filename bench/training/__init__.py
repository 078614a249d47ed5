"""Training for equal seconds: trainer, training step, turns, ranks, checkpoints, log."""
