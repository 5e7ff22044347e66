"""verl's tests run on a CPU, even next to a GPU: what verl reads from the environment is set before its import."""

import importlib.util
import os

os.environ["VERL_PLATFORM"] = "cpu"
os.environ["VERL_ENGINE_DEVICE"] = "cpu"
os.environ["VERL_ENGINE_VENDOR"] = "selfdistill"

if importlib.util.find_spec("verl"):
    import selfdistill.training.verl.cpu  # noqa: F401  (before anything of verl asks for its platform)
