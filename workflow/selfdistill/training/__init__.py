"""Trains runs: trainers over the same objectives and signals, and the jobs around them."""
