import random
import socket

from selfdistill.training import free_ports
from selfdistill.training.free_ports import free_port


def test_a_port_is_free_and_none_that_the_kernel_hands_out(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port("127.0.0.1")))
        taken.listen()
        first = taken.getsockname()[1]
        assert first < free_ports._end()
        monkeypatch.setattr(random.SystemRandom, "choices", lambda *_, **__: [first, 10_101, 10_102, 10_103])
        assert free_port("127.0.0.1") in (10_101, 10_102, 10_103)
        monkeypatch.setattr(random.SystemRandom, "choices", lambda *_, **__: [first])
        assert free_port("127.0.0.1") != first  # of the kernel's, where none of these is to be had


def test_where_the_kernel_does_not_say_what_it_hands_out_its_own_range_is_left_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(free_ports, "_RANGE", tmp_path / "none")
    assert free_ports._end() == 32_768
