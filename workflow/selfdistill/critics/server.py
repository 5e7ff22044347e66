"""Asks a critic at an address that speaks OpenAI's protocol, vLLM's own server above all.

Answers come in any order, late, empty or not at all: each request ends with a critique or with the reason why there is
none. Nothing is sent but the messages; a redirect to another address is not followed, and a proxy that the environment
names is passed by unless the settings say otherwise.
"""

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from selfdistill.critics.answers import as_json, bounded, certificates, read_completion, retry_after, words_of_error
from selfdistill.critics.findings import written
from selfdistill.critics.prompts import Asking, Question
from selfdistill.critics.request import Critique, Request
from selfdistill.errors import UserError
from selfdistill.files import sha256_json
from selfdistill.study.critic_settings import CriticSettings
from selfdistill.texts import one_line, reportable, shortened

#: What servers say of a prompt that is too long: vLLM, OpenAI, llama.cpp.
_TOO_LONG = ("context length", "context_length", "maximum context", "too long", "exceeds the available context")
_LONGEST_PAUSE = 30.0
#: A server that says after how many seconds to come again (429 and 503) is given so many, at most.
_LONGEST_RETRY_AFTER = 120.0
#: Characters of a token, at most: a server that writes on past its limit of tokens is cut there.
_CHARACTERS_PER_TOKEN = 20
_DETAIL = 300
#: What stands for a key; of a shorter one ("EMPTY") nobody would know it from a word of a critique.
_STRUCK, _LEAST_KEY = "<secret>", 12


class ServerCritic:
    """Asks a model behind an HTTP address (OpenAI's protocol) for critiques."""

    def __init__(
        self,
        settings: CriticSettings,
        *,
        url: str,
        model: str,
        digest: str = "",
        key: str | None = None,
        more: Sequence[str] = (),
        asking: Question | None = None,
        where: str = "critic",
    ):
        """Send nothing yet.

        Args:
            settings: of the run.
            url: up to and with /v1.
            model: the name that the server knows it by.
            digest: of its weights, where they are known; else its name stands for them.
            key: the server's, where it has one that is in no variable (that of a server of the job's own).
            more: addresses of further servers of the same model, which share the requests.
            asking: what it is asked, where that is not what critics are asked.
            where: the section of its settings, for messages.

        Raises:
            UserError: where `critic.key_variable` names a variable that is not set.
        """
        self._settings, self._asking, self._url, self._model = settings, asking or Asking(settings), url, model
        self._where = where
        self._urls = [url, *more]
        self._key = key or key_of_variable(settings.key_variable, where=where)
        self._identity = sha256_json([settings.kind, digest or model, *self._asking.decides])

    @property
    def identity(self) -> str:
        """Says which model answers and how it is asked, not at which address: a server may move."""
        return self._identity

    def critiques(
        self, requests: Sequence[Request], arrived: Callable[[int, Critique], None] = lambda number, critique: None
    ) -> list[Critique]:
        """Ask about each request, `critic.in_flight` at a time; `arrived` is called from another thread.

        Raises UserError where no further request can succeed either: the key or the model is unknown there.
        """
        if not requests:
            return []
        return _in_own_loop(lambda: self._all(requests, arrived))

    async def _all(self, requests: Sequence[Request], arrived: Callable[[int, Critique], None]) -> list[Critique]:
        clients, room = [self._client(url) for url in self._urls], asyncio.Semaphore(self._settings.in_flight)

        async def one(number: int) -> Critique:
            async with room:
                critique = await self._critique_of(clients[number % len(clients)], requests[number])
            arrived(number, critique)
            return critique

        tasks = [asyncio.ensure_future(one(number)) for number in range(len(requests))]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for client in clients:
                await client.close()

    def _client(self, url: str) -> Any:
        import openai  # a second to import, and most runs have no server

        proxied = self._settings.use_proxy and not self._settings.start
        try:
            trusted = {"trust_env": True} if proxied else {"trust_env": False, "verify": certificates()}
            return openai.AsyncOpenAI(
                base_url=url,
                api_key=self._key or "none",
                max_retries=0,  # ours are counted
                timeout=self._settings.timeout,
                # OPENAI_ORG_ID and OPENAI_PROJECT_ID of the environment are about another server.
                default_headers={"OpenAI-Organization": openai.omit, "OpenAI-Project": openai.omit},
                http_client=openai.DefaultAsyncHttpxClient(
                    follow_redirects=False,
                    timeout=self._settings.timeout,
                    event_hooks={"response": [bounded]},
                    **trusted,
                ),
            )
        except Exception as error:  # of an address, a proxy or certificates, each with its own
            raise UserError(
                f"{self._where}.url {self._url}: cannot be asked ({self._safe(f'{type(error).__name__}: {error}')}); "
                "correct it, or what the environment says of proxies and certificates (HTTPS_PROXY, SSL_CERT_FILE)"
            ) from None

    async def _critique_of(self, client: Any, request: Request) -> Critique:
        """One request, with its further tries."""
        message = self._asking.message(request)
        if message is None:
            return Critique(reason="too_long_input", detail="the response is over critic.max_response_characters")
        began, failure, wanted = time.monotonic(), Critique(reason="unreachable"), 0.0
        for number in range(self._settings.tries):
            if number:
                own = min(self._settings.pause * 2 ** (number - 1), _LONGEST_PAUSE)
                await asyncio.sleep(max(own, min(wanted, _LONGEST_RETRY_AFTER)))
            try:
                answer = await asyncio.wait_for(self._answer(client, message), self._settings.timeout)
                return self._critique(request, answer, time.monotonic() - began)
            except Exception as error:
                failure, again = self._failure(error)
                wanted = retry_after(error)
                if not again:
                    break
        return failure

    async def _answer(self, client: Any, message: str) -> Any:
        """What a server answers, as JSON. Raises ValueError for what is none, or has no end."""
        response = await client.chat.completions.with_raw_response.create(**self._request_body(message))
        return as_json(response.content, response.headers.get("content-type", "no content type"))

    def _request_body(self, message: str) -> dict[str, Any]:
        """The body of a request."""
        settings = self._settings
        told = {} if settings.thinking is None else {"chat_template_kwargs": {"enable_thinking": settings.thinking}}
        # Equal requests draw alike, where a server can.
        seed = int(sha256_json([self._identity, message])[:8], 16) >> 1
        return {
            "model": self._model,
            "messages": [{"role": "user", "content": message}],
            "max_tokens": settings.max_tokens,
            "temperature": settings.temperature,
            **({"seed": seed} if settings.temperature else {}),
            **({"extra_body": told} if told else {}),
        }

    def _critique(self, request: Request, answer: Any, seconds: float) -> Critique:
        """Read an answer. Raises ValueError for one that is none."""
        text, finish, tokens = read_completion(answer)
        if text and self._key and len(self._key) >= _LEAST_KEY:  # a proxy may answer with what it was sent
            text = text.replace(self._key, _STRUCK)
        if text is None or finish == "content_filter":
            return Critique(
                reason="refused", detail="the server refused to answer", tokens=tokens or 0, seconds=seconds
            )
        most = self._settings.max_tokens * _CHARACTERS_PER_TOKEN
        return written(
            request,
            text[:most],
            tokens=len(text.split()) if tokens is None else tokens,
            seconds=seconds,
            truncated=finish == "length" or len(text) > most,
            shown_gold=self._asking.shown_gold,
        )

    def _failure(self, error: Exception) -> tuple[Critique, bool]:
        """Returns what an error counts as, and whether another try may help.

        Raises UserError for an error that all requests would have.
        """
        import openai

        if isinstance(error, asyncio.TimeoutError | openai.APITimeoutError):
            return Critique(reason="timeout", detail=f"no answer within {self._settings.timeout:g} s"), True
        status = getattr(error, "status_code", None)
        if not isinstance(error, openai.APIStatusError) or status is None:
            # No connection, one that broke, an answer that is no JSON or no chat completion.
            why = error.__cause__ or error  # the client's own words are "Connection error."
            detail = self._safe(f"{type(error).__name__}: {why}")
            return Critique(reason="unreachable", detail=detail), True
        said = self._safe(words_of_error(error))
        if status in (401, 402, 403):
            variable = self._settings.key_variable or f"none: {self._where}.key_variable is empty"
            raise UserError(
                f"{self._where}.url {self._url}: answers {status} ({said}), so it does not take this run's key (from "
                f"the variable {variable}), or not any more; set it and start again"
            ) from None
        if status in (404, 405, 410):
            raise UserError(
                f"{self._where}.url {self._url}: answers {status} for model {self._model!r} ({said}); correct "
                f"{self._where}.url (with /v1) or {self._where}.model, and start again"
            ) from None
        detail = f"{status}: {said}"
        if status in (400, 413, 422):
            long = status == 413 or any(word in said.lower() for word in _TOO_LONG)
            return Critique(reason="too_long_input" if long else "refused", detail=detail), False
        if 300 <= status < 400:
            to = self._safe(error.response.headers.get("location", "nowhere"))
            detail = f"{status}: it redirects to {to}, and that is not followed; correct {self._where}.url"
        return Critique(reason="unreachable", detail=detail), status >= 500 or status in (408, 409, 425, 429)

    def _safe(self, said: str) -> str:
        """Returns what a server or client says, without the key, also where its beginning was cut off with the rest."""
        if key := self._key:
            said = said.replace(key, _STRUCK)
            cut = next((n for n in range(len(key) - 1, 3, -1) if said.endswith(key[:n])), 0)
            said = said[: len(said) - cut] + _STRUCK if cut else said
        return shortened(one_line(reportable(said)), _DETAIL)


def key_of_variable(name: str, environment: Mapping[str, str] = os.environ, *, where: str = "critic") -> str | None:
    """Return the key that an environment variable holds; None without a name.

    Raises UserError where it is not set, or holds what no header can.
    """
    if not name:
        return None
    if not (key := environment.get(name, "").strip()):
        raise UserError(f"{where}.key_variable: the environment has no variable {name}, or it is empty; set it")
    if not (key.isascii() and key.isprintable()):
        raise UserError(
            f"{where}.key_variable: the variable {name} holds line breaks or other characters that no key has; set it "
            "to the key alone"
        )
    return key


def _in_own_loop(work: Callable[[], Awaitable[list[Critique]]]) -> list[Critique]:
    """Run a coroutine in a thread with an event loop of its own: the caller may be inside of one already (Ray's)."""
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(asyncio.run(work()))
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=run, name="critic", daemon=True)  # must not hold up a process that ends
    thread.start()
    thread.join()
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]
