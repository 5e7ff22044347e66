"""Exports trained weights from verl's shards, as transformers loads them."""

from pathlib import Path

import torch
import torch.distributed
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from verl.workers.config import HFModelConfig

from selfdistill.files import atomic_path
from selfdistill.models.finite import refuse_not_finite
from selfdistill.models.loading import empty_model, load_config, load_generation_config, load_tokenizer
from selfdistill.models.pictures import processor_files, write_processor_files
from selfdistill.models.saving import check_tensors, plain_generation_config, write_generation_config
from selfdistill.scoring.pictures import reads_pictures


def export(module: torch.nn.Module, model: HFModelConfig, folder: Path) -> None:
    """Write model and tokenizer, safetensors, in the precision that the base model's config names, and read them back.

    To be called on every rank; the first one writes. `module` may be sharded by FSDP2, or not at all.

    Raises UserError where weights are not finite, and where what was written is not what was to be written.
    """
    weights = get_model_state_dict(module, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if torch.distributed.get_rank() == 0:
        dtype = model.hf_config.dtype or torch.float32
        refuse_not_finite(folder, weights.items(), "the training diverged: lower actor_rollout_ref.actor.optim.lr")
        with torch.device("meta"):
            shell = empty_model(model.hf_config, dtype)
        recommended = load_generation_config(Path(model.local_path))
        with atomic_path(folder) as temporary:
            tied = shell.all_tied_weights_keys if model.hf_config.tie_word_embeddings else ()
            kept = {name: value for name, value in weights.items() if name not in tied}
            cast = {name: value.to(dtype) if value.is_floating_point() else value for name, value in kept.items()}
            with plain_generation_config(shell):
                shell.save_pretrained(temporary, state_dict=cast)
            write_generation_config(recommended, temporary)
            model.tokenizer.save_pretrained(temporary)
            if reads_pictures(model.hf_config):
                write_processor_files(processor_files(Path(model.local_path)), temporary)
            check_tensors(temporary, cast)
            load_config(temporary)
            load_tokenizer(temporary)
