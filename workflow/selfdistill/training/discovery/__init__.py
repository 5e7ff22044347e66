"""Searches for an answer to one question at test time: sampling, a dialogue, or training on the question."""
