"""vLLM's part of benchmarks/generate.py, run with the Python of verl's environment: seconds, ids and log-probs.

python -P benchmarks/generate_vllm.py WORK RESULT (-P, since other benchmarks have names of modules that vLLM imports,
such as coverage). WORK is JSON with folder, prompts, settings, repetitions and processor_time; RESULT is JSON.
"""

import json
import sys
import time
from pathlib import Path

from selfdistill.models.loading import load_tokenizer
from selfdistill.sampling.interface import SamplingSettings
from selfdistill.sampling.vllm_generate import VllmGenerate


def main(work: Path, result: Path) -> None:
    """Draw all responses once to warm up, and then as often as asked for."""
    asked = json.loads(work.read_text())
    folder, prompts, settings = Path(asked["folder"]), asked["prompts"], SamplingSettings(**asked["settings"])
    longest = max(map(len, prompts)) + settings.max_response_tokens
    sampler = VllmGenerate(folder, load_tokenizer(folder), longest)
    sampler._ends = []  # every response as long as it may be, as for the other engines
    keys = [("benchmark generate", number) for number in range(len(prompts))]
    clock = time.process_time if asked["processor_time"] else time.perf_counter  # as side_by_side.medians has it
    seconds = []
    for _ in range(1 + asked["repetitions"]):
        began = clock()
        rollouts = sampler.sample(prompts, settings, keys)
        seconds.append(clock() - began)
    drawn = [(rollout.response_ids, rollout.logprobs.tolist()) for rollout in rollouts]
    result.write_text(json.dumps({"engine": sampler.description, "seconds": seconds[1:], "drawn": drawn}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
