"""Computes advantages, losses and targets of all methods. Pure functions of tensors: no trainer, no I/O."""
