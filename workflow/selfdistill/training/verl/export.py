"""Trained weights out of verl's shards, as transformers loads them."""

from pathlib import Path

import torch
import torch.distributed
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from transformers import AutoModelForCausalLM, GenerationConfig
from verl.workers.config import HFModelConfig

from selfdistill.files import atomic_path


def export(module: torch.nn.Module, model: HFModelConfig, folder: Path) -> None:
    """Write model and tokenizer, safetensors, in the precision that the base model's config names.

    To be called on every rank; the first one writes. `module` may be sharded by FSDP2, or not at all.
    """
    weights = get_model_state_dict(module, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if torch.distributed.get_rank() == 0:
        dtype = model.hf_config.dtype or torch.float32
        with torch.device("meta"):
            shell = AutoModelForCausalLM.from_config(model.hf_config, dtype=dtype)
        if (Path(model.local_path) / "generation_config.json").exists():
            shell.generation_config = GenerationConfig.from_pretrained(model.local_path)
        with atomic_path(folder) as temporary:
            tied = shell.all_tied_weights_keys if model.hf_config.tie_word_embeddings else ()
            kept = {name: value for name, value in weights.items() if name not in tied}
            cast = {name: value.to(dtype) if value.is_floating_point() else value for name, value in kept.items()}
            shell.save_pretrained(temporary, state_dict=cast)
            model.tokenizer.save_pretrained(temporary)
