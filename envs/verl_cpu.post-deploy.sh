#!/usr/bin/env bash
# What envs/verl_cpu.lock.txt leaves out on purpose.
set -euo pipefail
pip uninstall --yes torchvision torchaudio torchcodec
