"""Keeps the life of a run: its state, lock, logs, records, provenance and publishing."""
