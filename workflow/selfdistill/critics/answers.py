"""Reads what comes back from an address that speaks OpenAI's protocol, whatever it is."""

import email.utils
import json
import os
import ssl
import time
from typing import Any

#: Bytes of an answer, unpacked, that are read at most: more are no critique.
MOST_BYTES = 2**24
_SHOWN = 300
#: How servers (vLLM, SGLang) end what they gave up: the text is a part that nobody cut at a limit.
_GIVEN_UP = ("abort", "error")
_MOST_TOKENS = 2**31


async def bounded(response: Any) -> None:
    """Read an answer as the HTTP library does, but no further than MOST_BYTES. Raises ValueError for a longer one."""
    said = bytearray()
    async for part in response.aiter_bytes():
        said += part
        if len(said) > MOST_BYTES:
            raise ValueError(f"it answers with more than {MOST_BYTES} bytes")
    response._content = bytes(said)


def as_json(said: bytes, kind: str) -> Any:
    """Parse an answer of a content type. Raises ValueError, which shows its beginning, where it is no JSON."""
    try:
        return json.loads(said)
    except ValueError:
        begin = said[:_SHOWN].decode(errors="replace")
        raise ValueError(f"it answers what is no JSON ({kind}): {begin or 'nothing'}") from None


def read_completion(answer: Any) -> tuple[str | None, str, int | None]:
    """Return the text of a chat completion, None for a refusal; why it ended; and its tokens, where they are told.

    Raises ValueError for what is no chat completion.
    """
    if not isinstance(answer, dict) or answer.get("error") or not isinstance(choices := answer.get("choices"), list):
        told = answer.get("error", answer) if isinstance(answer, dict) else answer
        raise ValueError(f"it answers no chat completion: {json.dumps(told)[:_SHOWN]}")
    usage = answer.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    tokens = int(tokens) if isinstance(tokens, int | float) and 0 <= tokens < _MOST_TOKENS else None
    choice = choices[0] if choices else {"message": {}}
    message = choice.get("message") if isinstance(choice, dict) else None
    finish = str(choice.get("finish_reason")) if isinstance(choice, dict) else ""
    if finish in _GIVEN_UP:
        raise ValueError(f"it gave up while it answered (finish_reason {finish}): {json.dumps(choice)[:_SHOWN]}")
    if not isinstance(message, dict):
        raise ValueError(f"it answers a choice without a message: {json.dumps(choice)[:_SHOWN]}")
    content = message.get("content") or ""
    if isinstance(content, list):  # some servers have parts
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(text for text in texts if isinstance(text, str))
    if not isinstance(content, str):
        raise ValueError(f"it answers a message whose content is no text: {json.dumps(content)[:_SHOWN]}")
    # JSON may spell half a surrogate pair, which no file and no tokenizer takes.
    text = content.encode(errors="replace").decode()
    return None if message.get("refusal") else text, finish, tokens


def words_of_error(error: Any) -> str:
    """Return what a server says of a request that it does not answer: its own message, or the beginning of a page."""
    body = error.body
    if isinstance(body, dict):
        body = body.get("message") or body.get("detail") or json.dumps(body)
    return str(body or error)


def retry_after(error: Exception) -> float:
    """Return the seconds after which a server wants to be asked again; 0 where it does not say."""
    headers = getattr(getattr(error, "response", None), "headers", {})
    said = headers.get("retry-after", "")
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(said).timestamp() - time.time()
        except ValueError:
            return 0.0
    return seconds if seconds > 0 else 0.0  # not a number neither


def certificates() -> ssl.SSLContext | bool:
    """Whom to trust: the environment's certificates, else those of the HTTP library."""
    file, folder = (os.environ.get(name) or None for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    return ssl.create_default_context(cafile=file, capath=folder) if file or folder else True
