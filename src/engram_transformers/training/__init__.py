"""Training banks: `EngramTrainer`, its optimiser, its checkpoints and what it tells."""
