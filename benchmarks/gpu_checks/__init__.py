"""Sections of benchmarks/gpu.py: each yields lines, on whatever device there is, at real or at tiny sizes."""
