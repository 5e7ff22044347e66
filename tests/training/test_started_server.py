import re
import sys

import pytest
from waiting import SECONDS, is_running

from selfdistill.errors import UserError
from selfdistill.study.critic_settings import CriticSettings
from selfdistill.training import started_server
from selfdistill.training.run_critic import Address, address_told
from selfdistill.training.started_server import LOG, split_devices

SETTINGS = CriticSettings(kind="server", model="m", start=True, gpus=0)
#: Stands in for vLLM: answers who it is, and nothing else.
SERVER = """
import http.server, json, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        right = self.headers["Authorization"] == "Bearer " + os.environ["VLLM_API_KEY"]
        self.send_response(200 if right else 401); self.end_headers()
        self.wfile.write(json.dumps({"data": [{"id": "critic"}] if right else []}).encode())
print("GPUs", repr(os.environ["CUDA_VISIBLE_DEVICES"]), "process", os.getpid(), flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def program(monkeypatch):
    def instead(code):
        monkeypatch.setattr(
            started_server, "_words", lambda settings, folder, port: [sys.executable, "-c", code, str(port)]
        )

    return instead


def started(tmp_path, **more):
    return started_server.started_server(SETTINGS, tmp_path, tmp_path, print, **more)


def test_a_server_has_its_gpus_its_key_and_its_log_and_ends_with_the_block(program, tmp_path):
    program(SERVER)
    with started(tmp_path, gpus="2,3", patience=SECONDS) as address:
        assert address.url.startswith("http://127.0.0.1:")
        assert len(address.key) > 20
        assert "GPUs '2,3'" in (tmp_path / LOG).read_text()
        assert address.key not in (tmp_path / LOG).read_text()
    assert not is_running(int(re.search(r"process (\d+)", (tmp_path / LOG).read_text())[1]))


def test_a_server_that_ends_or_never_answers_is_told_with_its_last_words(program, tmp_path):
    program("print('no such model'); raise SystemExit(3)")
    with pytest.raises(UserError, match=r"(?s)ended with exit status 3; the end of .*no such model"), started(tmp_path):
        pass
    program("import time; time.sleep(3600)")
    late = pytest.raises(UserError, match=r"(?s)did not answer within 1 s; the end of .*no such model")
    with late, started(tmp_path, patience=1.0):
        pass


@pytest.mark.parametrize(
    ("seen", "total", "own", "expected"),
    [
        ("0,1,2,3", 4, 1, ("0,1,2", "3")),
        ("4,5,6,7", 3, 2, ("4,5", "6,7")),
        (None, 3, 1, ("0,1", "2")),
        ("", 3, 1, ("0,1", "2")),
        ("0,1", 2, 0, ("0,1", None)),
        (None, 1, 0, (None, None)),
    ],
)
def test_the_servers_gpus_are_the_last_ones(seen, total, own, expected):
    environment = {} if seen is None else {"CUDA_VISIBLE_DEVICES": seen}
    assert split_devices(environment, total, own) == expected


def test_too_few_gpus_are_refused():
    with pytest.raises(UserError, match=r"the job sees 2 GPUs .* but needs 3, of which 1"):
        split_devices({"CUDA_VISIBLE_DEVICES": "0,1"}, 3, 1)


def test_another_process_is_told_of_the_server_by_its_environment():
    address = Address("http://127.0.0.1:1/v1", "critic", "a-key")
    assert address_told(address.variables) == address
    with pytest.raises(UserError, match="was not started by one"):
        address_told({})


def test_vllm_is_asked_for_what_the_settings_say(tmp_path):
    words = started_server._words(CriticSettings(kind="server", start=True, model="m", gpus=2), tmp_path, 8001)
    said = dict(zip(words[3::2], words[4::2], strict=True))
    assert said["--model"] == str(tmp_path)
    assert (said["--host"], said["--port"], said["--served-model-name"]) == ("127.0.0.1", "8001", "critic")
    assert (said["--max-num-seqs"], said["--tensor-parallel-size"]) == ("64", "2")
    assert "--enforce-eager" not in words
    assert "--enforce-eager" in started_server._words(SETTINGS, tmp_path, 8001)
