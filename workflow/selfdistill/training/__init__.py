"""Trainers over the same objectives and signals, and the toy's base models."""
