"""What YAML would read as something else than it looks like, and files that no study can be made of."""

import os
import time
from pathlib import Path

import pytest

from selfdistill.errors import UserError
from selfdistill.study.study import load_registered_study
from selfdistill.study.yaml_text import MOST_VALUES, read_settings

ROOT = Path(__file__).parents[2]


def doubling(first: str, following: str, levels: int) -> bytes:
    """Anchors each of which holds the one before it twice: 2 ** levels values in a few lines."""
    lines = [f"a0: &a0 {first}", *(f"a{i}: &a{i} {following.replace('A', f'*a{i - 1}')}" for i in range(1, levels))]
    return "\n".join(lines).encode()


REFUSED = {
    "not UTF-8": (b"a: 1\nb: \xe9\n", r"line 2: byte 9 is no UTF-8 \(0xe9\); save"),
    "octal": (b"matrix: {seeds: [1, 010]}", r"line 1: matrix\.seeds: YAML reads 010 as 8, in base 8; write 10, or 8"),
    "base 60": (b"steps: 1:30", r"line 1: steps: YAML reads 1:30 as 90, in base 60"),
    "list bomb": (doubling("[x, x]", "[A, A]", 40), rf"unfolds to more than {MOST_VALUES:,} values"),
    "mapping bomb": (doubling("{x: 1}", "{x: A, y: A}", 40), "unfolds to more than"),
    "recursive list": (b"a: &x [*x]", "an anchor .* holds an alias .* of itself"),
    "recursive mapping": (b"a: &x {b: {c: *x}}", "an anchor .* holds an alias .* of itself"),
    "deep": (b"[" * 1200 + b"]" * 1200, "nested too deeply"),
    "twice": (b"a:\n  b: 1\n  'b': 2", r"line 3: a\.b stands twice"),
    "twice in JSON with tabs": (b'{\n\t"a": 1,\n\t"a": 2}', "'a' stands twice"),
    "a list as key": (b"? [a]\n: 1", "line 1: a list or mapping is no key"),
    "no YAML": (b"a: [1", r"line 1: not readable as YAML \("),
    "a control character": (b"a: \x00", r"not readable as YAML \("),
    "an object of Python": (b"a: !!python/object:os.system {}", r"line 1: not readable as YAML \("),
    "no day": (
        b"revision: 2026-13-45",
        r"not readable as YAML \(month must be in 1\.\.12.*\); mend the number, or quote",
    ),
    "a number of 5,000 digits": (b"a: " + b"9" * 5000, "not readable"),
}


@pytest.mark.parametrize(("content", "said"), REFUSED.values(), ids=REFUSED)
def test_what_no_study_can_be_made_of_is_refused_in_one_short_line(tmp_path, content, said):
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    began = time.process_time()
    with pytest.raises(UserError, match=said) as caught:
        read_settings(str(file))
    assert time.process_time() - began < 5
    message = str(caught.value)
    assert message.startswith(os.path.relpath(file))
    assert "\n" not in message
    assert len(message) < 500


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"", None),
        (b"\xef\xbb\xbfa: 1", {"a": 1}),
        (b'{\n\t"a": 1}', {"a": 1}),
        (
            b"a: '010'\nb: 0x10\nc: 0\nd: -0.5\ne: '1:30'\nf: 1e-4",
            {"a": "010", "b": 16, "c": 0, "d": -0.5, "e": "1:30", "f": "1e-4"},
        ),
        (b"a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}", {"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2}}),
    ],
)
def test_all_else_is_read(tmp_path, content, value):
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    assert read_settings(str(file)) == value
    file.write_bytes(b"changed: true")
    assert read_settings(str(file)) == {"changed": True}


def test_what_is_given_without_a_file_is_bounded_too():
    shared: dict = {"x": 1}
    for _ in range(40):
        shared = {"x": shared, "y": shared}
    with pytest.raises(UserError, match=r"^--config: unfolds to more than"):
        load_registered_study({"variants": shared}, [], ROOT / "config")
    itself: list = []
    itself.append(itself)
    with pytest.raises(UserError, match=r"^the module: an anchor"):
        load_registered_study({"matrix": {"seeds": itself}}, [], ROOT / "config", elsewhere="the module")


def test_a_registry_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"defaults\.yaml: no such file; this registry belongs to the workflow"):
        load_registered_study({}, [], tmp_path)
