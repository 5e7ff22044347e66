"""Methods with their registered settings, and a grader that gives groups both outcomes, for tests of the trainers."""

import zlib

from selfdistill.methods.catalogue import shipped_entries
from selfdistill.tasks.boxed import last_boxed
from selfdistill.tasks.graders import Graded

REGISTRY = shipped_entries()


def registered(method, **changes):
    """A method's entry in the registry, for a vocabulary of some hundred ids; `changes` go into its sections."""
    entry = {key: REGISTRY[method][key] for key in ("implementation", "objective", "optimizer", "update")}
    entry |= {key: REGISTRY[method][key] for key in ("teacher", "hints") if key in REGISTRY[method]}
    if "top_k" in entry["objective"]:
        entry["objective"] = entry["objective"] | {"top_k": 8}
    return {key: {**entry.get(key, {}), **changes.get(key, {})} for key in {*entry, *changes} - {"implementation"}} | {
        "implementation": entry["implementation"]
    }


def coin(response, problem):
    """As good as tossed, but the same for equal responses: nearly every group has both outcomes."""
    answer = last_boxed(response)
    return Graded(answer, answer is not None and zlib.crc32(response.encode()) % 2 == 0)
