"""selfdistill: on-policy self-distillation methods, their signals, trainers and evaluation (arXiv 2606.11709 and its family)."""

__version__ = "0.1.0"
