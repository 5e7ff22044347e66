"""Waits until a Ray cluster is whole: python -m selfdistill.training.verl.ray_nodes ADDRESS NODES GPUS SECONDS.

A process of its own, so that a job holds no connection to a cluster that it only starts and ends.
"""

import sys
import time
from collections.abc import Sequence

import ray


def main(words: Sequence[str]) -> int:
    """Exit status 0 as soon as so many nodes, with so many GPUs in all, are in; 1 after so many seconds."""
    address, (nodes, gpus, seconds) = words[0], map(int, words[1:])
    ray.init(address=address, log_to_driver=False, logging_level="warning")
    end, before = time.monotonic() + seconds, None
    while True:
        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        found = (len(alive), int(sum(resources.get("GPU", 0) for resources in alive)))
        if found != before:
            print(f"Ray: {found[0]} of {nodes} nodes, {found[1]} of {gpus} GPUs", flush=True)
            before = found
        if found[0] >= nodes and found[1] >= gpus:
            return 0
        if time.monotonic() > end:
            return 1
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
