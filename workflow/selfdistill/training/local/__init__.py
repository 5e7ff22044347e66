"""The local trainer: one process, CPU or one GPU, any transformers causal model."""
