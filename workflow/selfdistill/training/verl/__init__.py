"""Trains at scale through verl (Ray, vLLM, FSDP): a plug-in, and its command line without any workflow."""
