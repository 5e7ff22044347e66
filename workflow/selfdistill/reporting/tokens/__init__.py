"""Summarises recorded rollouts token by token."""
