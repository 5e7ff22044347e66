"""Draws text and its log-probs: one interface over an own decode loop, transformers and vLLM."""
