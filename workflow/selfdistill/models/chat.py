"""Chat prompts as token ids, and the ids that end a response."""

from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from selfdistill.errors import UserError


def encode_chat(tokenizer: PreTrainedTokenizerBase, user_message: str) -> list[int]:
    """Token ids of one user message in the tokenizer's chat template, thinking enabled, ready for the response."""
    messages = [{"role": "user", "content": user_message}]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False, enable_thinking=True)
    return tokenizer(text, add_special_tokens=False).input_ids


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids after which a response is over: the generation config's and the tokenizer's, in ascending order.

    Raises UserError where neither names any.
    """
    return end_ids_of(model.generation_config, tokenizer)


def end_ids_of(generation_config: GenerationConfig | None, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The same without a model: by its generation config."""
    configured = generation_config.eos_token_id if generation_config is not None else None
    ids = configured if isinstance(configured, list) else [configured]
    ids = [i for i in [*ids, tokenizer.eos_token_id] if i is not None]
    if not ids:
        raise UserError(f"{tokenizer.name_or_path}: neither generation_config.json nor the tokenizer has an eos token")
    return sorted(set(ids))
