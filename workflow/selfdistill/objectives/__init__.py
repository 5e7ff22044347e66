"""What is optimised: advantages, losses and the table of methods. Pure functions of tensors; no trainer, no I/O."""
