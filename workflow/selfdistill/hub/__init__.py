"""Fetches files of the Hugging Face hub, and holds them to commits and digests."""
