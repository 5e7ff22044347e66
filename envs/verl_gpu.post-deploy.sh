#!/usr/bin/env bash
# What envs/verl_gpu.lock.txt leaves out on purpose, and what has to be compiled.
set -euo pipefail
pip uninstall --yes torchcodec
pip install --no-deps --no-build-isolation flash-attn==2.8.3
