"""Reads and grades the data of RLSD's paper (arXiv 2604.03128): a training set and five benchmarks with pictures."""
