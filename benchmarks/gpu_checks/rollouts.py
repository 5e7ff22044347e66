"""Tokens a second of the own decode loop, by size of model."""

from collections.abc import Iterator
from functools import partial

import torch

from gpu_checks.lines import Line
from gpu_checks.models import SHAPES, peak_of, random_qwen3, seconds_of, tokens
from selfdistill.sampling.decode import DecodeLoop
from selfdistill.sampling.interface import SamplingSettings

#: Prompts of eight responses, tokens of a prompt and of a response.
GROUPS, PROMPT, RESPONSE = 16, 256, 256
#: Ends no response: no token has this id.
NO_END = -1


def lines(device: torch.device, tiny: bool) -> Iterator[Line]:
    """Draw eight responses to each prompt, all of one length."""
    groups, prompt, response = (2, 8, 5) if tiny else (GROUPS, PROMPT, RESPONSE)
    for shape in ("tiny",) if tiny else ("0.6B", "1.7B", "4B"):
        model = random_qwen3(shape, torch.float32 if device.type == "cpu" else torch.bfloat16, device)
        prompts = [tokens(prompt, SHAPES[shape].vocabulary, "prompt", i // 8) for i in range(8 * groups)]
        keys = [("gpu checks", i) for i in range(len(prompts))]
        loop = DecodeLoop(model, 0, [NO_END])
        loop.sample(prompts, SamplingSettings(4, top_k=20, top_p=0.95), keys)
        drawing = partial(loop.sample, prompts, SamplingSettings(response, top_k=20, top_p=0.95), keys)
        peak, (seconds, drawn) = peak_of(partial(seconds_of, drawing))
        count = sum(len(each.response_ids) for each in drawn)
        note = f"{len(prompts)} rows of {prompt} + {response} tokens in {seconds:.2f} s, peak {peak:.1f} GiB"
        yield Line(f"{shape}: own decode loop", count / seconds, "tokens/s", note=note)
        del model, loop, drawing
        if device.type == "cuda":
            torch.cuda.empty_cache()
