"""The trainer at scale: a plug-in for verl (Ray, vLLM, FSDP), and its command line for use without any workflow."""
