"""Checks before Ray starts what can be known to be wrong: it would cost minutes, and end in an obscure message."""

import os
from pathlib import Path

import torch

from selfdistill.errors import UserError
from selfdistill.models.chat import ChatSettings
from selfdistill.models.loading import load_generation_config
from selfdistill.models.picture_check import check_pictures
from selfdistill.models.template_check import check_prompts
from selfdistill.models.tokenizer_check import read_tokenizer
from selfdistill.study.teacher_settings import TeacherSettings
from selfdistill.training.external_models import check_tokens


def check_model(path: str, longest: int = 0) -> None:
    """Raises UserError where a local model folder is not one, its weights are quantised or an adapter's, its tokenizer
    has ids that the model does not know or would be loaded wrongly by verl, the model fewer positions than the
    `longest` prompt and response have tokens, or rotary frequencies that such lengths would change.

    A model may know more ids than its tokenizer (rows of padding, as Qwen3's): those are never drawn.
    """
    folder = Path(os.path.expanduser(path))
    if not folder.is_dir():
        if folder.is_absolute() or path.startswith((".", "~")):
            raise UserError(f"{path}: no such model folder; expected one as transformers saves it")
        return  # a name on the hub, which verl downloads
    for pattern, what in (("config.json", "model config"), ("*.safetensors", "weights"), ("tokenizer*", "tokenizer")):
        if not any(folder.glob(pattern)):
            raise UserError(f"{folder}: no {what} ({pattern}) found; expected a model folder as transformers saves it")
    from selfdistill.models.first_day import check_lengths
    from selfdistill.models.loading import load_config
    from selfdistill.scoring.lengths import vocabulary_size

    config = load_config(folder)
    try:
        vocabulary = vocabulary_size(config)
    except Exception as error:  # of transformers, which have no common kind
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise UserError(f"{folder}: the model config cannot be read ({reason})") from error
    tokenizer = read_tokenizer(folder, as_others_load_it=True)
    if len(tokenizer) > vocabulary:
        raise UserError(
            f"{folder}: the tokenizer has {len(tokenizer)} ids, but the model knows {vocabulary} (vocab_size in "
            "config.json); they belong to different models, or the embeddings were not resized"
        )
    check_pictures(folder, config, tokenizer)
    check_lengths(config, longest, "data.max_prompt_length or the response limits")


def check_prompts_of(path: str, chat: ChatSettings) -> None:
    """Check tokenizer and chat template of a local model folder; of a name on the hub, verl has them only later.

    Raises UserError for what template_check.check_prompts refuses, and for a tokenizer that verl would load wrongly.
    """
    folder = Path(os.path.expanduser(path))
    if folder.is_dir():
        check_prompts(
            read_tokenizer(folder, as_others_load_it=True), chat, load_generation_config(folder), report=print
        )


def check_external_models(teacher: TeacherSettings, student: str, longest: int) -> None:
    """Check the models that a run reads beside the student's, before anything starts.

    Args:
        teacher: its settings; here they name folders.
        student: folder of the student's model, or its name on the hub, whose tokens are then not known yet.
        longest: tokens of the longest prompt and response.

    Raises:
        UserError: where a folder is none, has other tokens than the student, or too few positions.
    """
    own = Path(os.path.expanduser(student))
    for role, path in teacher.models.items():
        if not Path(path).is_dir():
            raise UserError(
                f"selfdistill.teacher: {path}: no such model folder (the {role}); expected one as transformers saves it"
            )
        check_model(path, longest)
        if own.is_dir():
            check_tokens(role, Path(path), read_tokenizer(own, as_others_load_it=True))


def check_gpus(per_node: int, nodes: int) -> None:
    """Raises UserError where this machine has fewer GPUs than a node is to have; a running Ray cluster has its own."""
    if os.environ.get("RAY_ADDRESS"):
        return
    here = torch.cuda.device_count()
    if nodes > 1:
        raise UserError(
            f"trainer.nnodes is {nodes}, but no Ray cluster is named: start one over these nodes and set RAY_ADDRESS"
        )
    if here < per_node:
        raise UserError(
            f"trainer.n_gpus_per_node is {per_node}, but this machine shows {here} "
            f"(CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')}); ask for more, or lower it"
        )
