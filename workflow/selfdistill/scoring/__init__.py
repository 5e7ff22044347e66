"""Computes log-probs of given text, sharing the work on common prefixes."""
