"""What every process of verl imports (VERL_USE_EXTERNAL_MODULES): on a CPU, its platform."""

import os

if os.environ.get("VERL_PLATFORM") == "cpu":
    import selfdistill.training.verl.cpu  # noqa: F401  (registers the platform)
