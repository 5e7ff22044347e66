"""Trains in one process, on a CPU or one GPU, with any causal model of transformers."""
