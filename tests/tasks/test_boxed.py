import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfdistill.tasks.boxed import last_boxed


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"so \boxed{7}", "7"),
        (r"\boxed{ 7 }", "7"),
        (r"first \boxed{1}, then \boxed{2}.", "2"),
        (r"\boxed{\frac{1}{2}} and words }", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{a \} b}", r"a \} b"),
        (r"\boxed{3} but \boxed{4", "3"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{\boxed{5}", "5"),
        (r"\boxed{}", ""),
        (r"\fbox{3}", None),
        (r"boxed{3}", None),
        (r"\boxed 3", None),
        (r"\boxed{3", None),
        (r"\boxed{3\}", None),
        ("", None),
    ],
)
def test_examples(text, content):
    assert last_boxed(text) == content


balanced = st.recursive(
    st.text(alphabet="ab1 +$", max_size=4),
    lambda inner: st.lists(inner, max_size=3).map(lambda s: "{" + "".join(s) + "}"),
)


@given(st.text(alphabet="ab{} ", max_size=20), balanced, st.text(alphabet="ab} ", max_size=10))
def test_content_is_found_in_any_surroundings(before, content, after):
    assert last_boxed(f"{before}\\boxed{{{content}}}{after}") == content.strip()


def slow_last_boxed(text: str) -> str | None:
    """From the last opening back: the shortest rest in which as many plain braces close as open."""
    for opening in reversed(list(re.finditer(r"\\boxed\{", text))):
        rest = text[opening.end() :]
        for end in range(len(rest)):
            tokens = re.findall(r"\\.|.", rest[: end + 1], re.DOTALL)  # an escaped brace is no brace
            if tokens.count("{") + 1 == tokens.count("}"):
                return rest[:end].strip()
    return None


@given(st.lists(st.sampled_from(["\\boxed{", "{", "}", "\\", "a", " "]), max_size=14).map("".join))
def test_any_text_against_trying_every_end(text):
    assert last_boxed(text) == slow_last_boxed(text)
