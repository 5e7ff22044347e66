"""Registers CPUs as a platform in every process of verl that is told so (VERL_USE_EXTERNAL_MODULES)."""

import os

if os.environ.get("VERL_PLATFORM") == "cpu":
    import selfdistill.training.verl.cpu  # noqa: F401  (registers the platform)
