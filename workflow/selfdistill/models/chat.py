"""Renders every prompt of a run, as text and as token ids, and knows the ids that end a response."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from selfdistill.errors import UserError
from selfdistill.models.tokenizer_check import token_ids
from selfdistill.scoring.prompts import PromptPicture, expanded
from selfdistill.study.run_settings import ChatSettings
from selfdistill.tasks.pictures import PLACEHOLDER
from selfdistill.tasks.prompts import Message

#: The spelling of a token that is added to a vocabulary as a mark: <|user|>, [INST], <end_of_turn>.
_MARK = re.compile(r"(?:<.*>|\[.*\]|\{.*\}|\uff5c.*\uff5c)", re.DOTALL)
#: The settings of a run that names none.
DEFAULT = ChatSettings()
#: A message that every template can show.
PLAIN = "What is 17 + 4?"
REMEDY = "correct chat_template.jinja (chat_template in tokenizer_config.json), or use another instruction-tuned model"


def encode_chat(tokenizer: PreTrainedTokenizerBase, user_message: str, chat: ChatSettings = DEFAULT) -> list[int]:
    """Token ids of one user message in the tokenizer's chat template, ready for the response.

    Args:
        tokenizer: with a chat template (template_check.check_prompts says whether it is a usable one).
        user_message: the message's text.
        chat: the run's settings.

    Raises:
        UserError: for a template that cannot be rendered or leaves out what it is given, and for a tokenizer that
            makes no tokens of the prompt.
    """
    return encode_messages(tokenizer, [Message("user", user_message)], chat)


def encode_messages(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    chat: ChatSettings = DEFAULT,
    pictures: Sequence[PromptPicture] = (),
) -> Sequence[int]:
    """Token ids of a chat that ends with the user's message, ready for the response; as `encode_chat`.

    Args:
        tokenizer: with a chat template.
        messages: the chat; with pictures, each PLACEHOLDER in it is the place of one.
        chat: the run's settings.
        pictures: in the order of their places.

    Returns:
        A list, or, with pictures, a `scoring.prompts.Prompt`.

    Raises:
        UserError: as `encode_chat`, for a template that leaves out a system message, an earlier turn or a picture, and
            for another number of places than of pictures.
    """
    shown: Sequence[Message] = messages
    if pictures:
        places = sum(message.content.count(PLACEHOLDER) for message in messages)
        if places != len(pictures):
            raise UserError(
                f"a prompt has {places} times {PLACEHOLDER} for {len(pictures)} pictures; a template of one's own must "
                "show the problem once, and add none"
            )
        spelt = tokenizer.convert_ids_to_tokens(pictures[0].token)
        if any(spelt in message.content for message in messages):
            raise UserError(
                f"a prompt has {spelt} in its text, which the tokenizer takes for a picture's place; take it out of "
                f"the problem, or write {PLACEHOLDER} where a picture is meant"
            )
        shown = [message._replace(content=_parts(message.content)) for message in messages]
    text = render(tokenizer, shown, chat)
    for place, message in enumerate(messages):
        # A template may take something out of a message (marks of thinking, say), but not all of it.
        if not all(shows(text, part) for part in _texts(message.content, pictures)):
            plain = [*shown[:place], message._replace(content=PLAIN), *shown[place + 1 :]]
            if not shows(render(tokenizer, plain, chat), PLAIN):
                raise leaves_out(tokenizer, message, text)
    if not (ids := token_ids(tokenizer, text)):
        raise UserError(f"{tokenizer.name_or_path}: the tokenizer makes no tokens of the prompt {_shortened(text)}")
    return expanded(ids, pictures) if pictures else ids


def message_parts(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return a chat whose messages are lists of parts, of text and of images, cut at each PLACEHOLDER."""
    return [{"role": message.role, "content": _parts(message.content)} for message in messages]


def _parts(content: str) -> list[dict[str, str]]:
    parts: list[dict[str, str]] = []
    for number, text in enumerate(content.split(PLACEHOLDER)):
        parts += [{"type": "image"}] if number else []
        parts += [{"type": "text", "text": text}] if text else []
    return parts


def _texts(content: str, pictures: Sequence[PromptPicture]) -> list[str]:
    return content.split(PLACEHOLDER) if pictures else [content]


def shows(text: str, message: str) -> bool:
    """Returns whether a prompt has the message in it, as it stands or as JSON, whatever was made of its white space."""
    found = " ".join(text.split())
    as_json = (json.dumps(message, ensure_ascii=ascii)[1:-1] for ascii in (True, False))
    return any(" ".join(spelt.split()) in found for spelt in (message, *as_json))


def leaves_out(tokenizer: PreTrainedTokenizerBase, message: Message, text: str) -> UserError:
    """Return the error for a template that renders a message as this text, which does not have it."""
    which = {"user": "the user's message", "system": "the system message"}.get(message.role, "an earlier answer")
    return UserError(
        f"{tokenizer.name_or_path}: the chat template leaves out {which}: {_shortened(message.content)} is rendered "
        f"as {_shortened(text)} (templates for lists of text and images drop plain text); {REMEDY}"
    )


def _prompt(tokenizer: PreTrainedTokenizerBase, message: str, chat: ChatSettings) -> str:
    return render(tokenizer, [Message("user", message)], chat)


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:40]} ... {text[-40:]}")


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    chat: ChatSettings = DEFAULT,
    *,
    answered: bool = False,
    variables: Mapping[str, Any] | None = None,
) -> str:
    """Return the text of a chat in the tokenizer's template.

    Args:
        tokenizer: with a chat template.
        messages: role and content of each turn.
        chat: the run's settings.
        answered: whether the last message is the answer, so that no further one is begun.
        variables: what the template is told in place of chat.variables.

    Raises:
        UserError: where the template cannot be rendered.
    """
    told = {**(chat.variables if variables is None else variables), "strftime_now": chat.strftime_now}
    try:
        return tokenizer.apply_chat_template(
            [message._asdict() for message in messages], add_generation_prompt=not answered, tokenize=False, **told
        )
    except Exception as error:  # a template is a program: Jinja's errors, and any that its expressions can have
        said = f"{type(error).__name__}: {error}".strip().partition("\n")[0]
        roles = ", ".join(message.role for message in messages)
        what = "one user message" if len(messages) == 1 else f"the turns {roles}"
        raise UserError(
            f"{tokenizer.name_or_path}: the chat template cannot be rendered for a conversation of {what} ({said}); "
            f"{REMEDY} (of several templates, one must be named 'default')"
        ) from error


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, chat: ChatSettings = DEFAULT) -> list[int]:
    """Ids after which a response is over, in ascending order: the generation config's, the tokenizer's, and the token
    with which the chat template ends an assistant's turn.

    Raises UserError where neither generation config nor tokenizer names any.
    """
    return end_ids_of(model.generation_config, tokenizer, chat)


def end_ids_of(
    generation_config: GenerationConfig | None, tokenizer: PreTrainedTokenizerBase, chat: ChatSettings = DEFAULT
) -> list[int]:
    """Returns `end_ids` without a model, by its generation config."""
    ids = configured_ends(generation_config, tokenizer)
    if not ids:
        raise UserError(
            f"{tokenizer.name_or_path}: neither generation_config.json nor the tokenizer has an eos token; name the "
            "one that ends an answer, as eos_token of tokenizer_config.json"
        )
    turn = turn_end(tokenizer, chat)
    return sorted({*ids, *([] if turn is None else [turn])})


def pad_id(tokenizer: PreTrainedTokenizerBase, ends: Sequence[int]) -> int:
    """Return the id that fills up a batch: the tokenizer's, or the first of the ends where it has none."""
    own = tokenizer.pad_token_id
    return int(own) if isinstance(own, int) else ends[0]


def configured_ends(generation_config: GenerationConfig | None, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Return the ends that generation config and tokenizer name."""
    configured = generation_config.eos_token_id if generation_config is not None else None
    ids = configured if isinstance(configured, list) else [configured]
    return {i for i in [*ids, tokenizer.eos_token_id] if i is not None}


def turn_end(tokenizer: PreTrainedTokenizerBase, chat: ChatSettings = DEFAULT) -> int | None:
    """Return the control token with which the chat template ends an assistant's turn; None where it shows none.

    A model that was taught by the template ends its answers with it, whatever the folder names as its end of sequence
    (base models of Qwen name another one).
    """
    question, answer = "Which number is it?", "It is number 17."
    turns = [Message("user", question), Message("assistant", answer)]
    try:
        text = render(tokenizer, turns, chat, answered=True)
    except UserError:  # made for a first turn alone: it shows no end
        return None
    _, shown, after = text.rpartition(answer)
    ids = token_ids(tokenizer, after.lstrip()) if shown else []
    return ids[0] if ids and ids[0] in {**control_tokens(tokenizer), **_marks(tokenizer)} else None


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Id -> spelling of all control tokens: those that tokenizer.json marks as special, whether or not a field of
    tokenizer_config.json names them.
    """
    added = {i: token.content for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return {**added, **dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))}


def turn_marks(tokenizer: PreTrainedTokenizerBase, chat: ChatSettings = DEFAULT) -> dict[int, str]:
    """Id -> spelling of the added tokens with which the chat template sets its turns apart.

    Some folders add them as tokens that are not special (`<|im_start|>` of some fine-tunes): in a text they begin a
    turn all the same.
    """
    turns = [Message(role, PLAIN) for role in ("user", "assistant", "user")]
    try:
        text = render(tokenizer, turns, chat, answered=True)
    except UserError:  # made for a first turn alone
        text = _prompt(tokenizer, PLAIN, chat)
    written = set(token_ids(tokenizer, text))
    return {i: spelling for i, spelling in _marks(tokenizer).items() if i in written}


def _marks(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Added tokens in brackets, special or not; others are runs of spaces and the like."""
    return {i: token.content for i, token in tokenizer.added_tokens_decoder.items() if _MARK.fullmatch(token.content)}
