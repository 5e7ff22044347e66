"""Measures before any training what a base model makes of the contexts that its teacher will read."""
