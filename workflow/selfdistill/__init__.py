"""On-policy self-distillation (RLCSD, arXiv 2606.11709, and its family): signals, objectives, trainers, evaluation."""

__version__ = "0.1.0"
