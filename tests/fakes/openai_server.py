"""A server on the loopback that speaks as much of OpenAI's protocol as a critic asks for, with faults by request."""

import contextlib
import http.server
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from waiting import SECONDS


def completion(text: Any, *, finish: str = "stop", tokens: int = 3, **message: Any) -> dict[str, Any]:
    """A chat completion with one choice."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
    usage = {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1}
    return {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}


@dataclass(frozen=True)
class Raw:
    """An answer as it stands: its body, status and headers."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Server:
    """What the server answers, and what it was asked.

    Attributes:
        answer: of the user's message and how often it came before: a completion, or a fault: an HTTP status (with a
            text), "stall", "hang up", "no json", "redirect", or a Raw answer.
        bodies, headers: of all requests.
        running, most: requests at a time, now and at the most.
        barrier: so many requests wait for one another before any is answered, the last one first, and each when the one
            before it is `taken`; 0: none waits.
    """

    answer: Callable[[str, int], Any]
    barrier: int = 0
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    redirected: list[str] = field(default_factory=list)
    running: int = 0
    most: int = 0
    times: Counter = field(default_factory=Counter)
    released: threading.Event = field(default_factory=threading.Event)
    turn: threading.Condition = field(default_factory=threading.Condition)
    left: int = 0

    @property
    def messages(self) -> list[str]:
        """The user's messages, in the order in which they came."""
        return [body["messages"][0]["content"] for body in self.bodies]

    def in_turn(self, place: int) -> None:
        """Wait until `barrier` requests are here and those that came after this one were answered and `taken`."""
        with self.turn:
            self.turn.wait_for(lambda: len(self.bodies) >= self.barrier and self.left <= place + 1, timeout=SECONDS)

    def taken(self) -> None:
        """An answer is with whoever asked: the next one may go."""
        with self.turn:
            self.left -= 1
            self.turn.notify_all()


class Listening(http.server.ThreadingHTTPServer):
    """Answers each request in a thread, and does not wait for those that it lets hang."""

    daemon_threads = True
    request_queue_size = 128  # of the five that are the default, a busy machine resets some of many that come at once


@contextlib.contextmanager
def serving(answer: Callable[[str, int], Any], **more: Any) -> Iterator[Server]:
    """Run a server for the block; what stalls is released at its end."""
    server = Server(answer, **more)
    server.left = server.barrier
    httpd = Listening(("127.0.0.1", 0), _handler(server))
    server.url = f"http://127.0.0.1:{httpd.server_address[1]}/v1"
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        httpd.shutdown()
        thread.join()
        httpd.server_close()


def _handler(server: Server) -> type:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path != "/v1/chat/completions":
                server.redirected.append(self.path)
                return self.send(404, b"{}")
            with server.turn:
                server.running += 1
                server.most = max(server.most, server.running)
                server.bodies.append(json.loads(body))
                server.headers.append({name.lower(): value for name, value in self.headers.items()})
                message = server.messages[-1]
                before = server.times[message]
                server.times[message] += 1
                server.turn.notify_all()
                place = len(server.bodies) - 1
            if server.barrier:
                server.in_turn(place)
            try:
                self.reply(server.answer(message, before))
            finally:
                with server.turn:
                    server.running -= 1

        def reply(self, answer: Any) -> None:
            if answer == "stall":
                server.released.wait(SECONDS)
                self.close_connection = True
            elif answer == "hang up":
                self.close_connection = True
                self.connection.close()
            elif answer == "no json":
                self.send(200, b'{"choices": [')
            elif answer == "redirect":
                self.send(307, b"", Location="/elsewhere")
            elif isinstance(answer, Raw):
                self.send(answer.status, answer.body, **answer.headers)
            elif isinstance(answer, tuple):
                status, said = answer
                self.send(status, json.dumps({"error": {"message": said}}).encode())
            else:
                self.send(200, json.dumps(answer).encode())

        def send(self, status: int, content: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *words: Any) -> None:
            pass

    return Handler
