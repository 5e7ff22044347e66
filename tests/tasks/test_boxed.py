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
        (r"\boxed{}", None),
        (r"\boxed{5}. Put your final answer within \boxed{}.", "5"),
        (r"\boxed{5} \boxed{ \text{} $~\, $}", "5"),
        (r"\boxed{\boxed{}}", None),
        (r"\boxed{\{\}}", r"\{\}"),
        (r"\boxed {3}", "3"),
        ("\\boxed\n {3}", "3"),
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
    assert last_boxed(f"{before}\\boxed{{{content}}}{after}") == (content.strip() if content.strip(" {}$") else None)


def slow_last_boxed(text: str) -> str | None:
    """From the last opening back: the shortest rest in which as many plain braces close as open, and which says more
    than braces, white space and boxes in turn."""
    for opening in reversed(list(re.finditer(r"\\boxed\{", text))):
        rest = text[opening.end() :]
        for end in range(len(rest)):
            tokens = re.findall(r"\\.|.", rest[: end + 1], re.DOTALL)  # an escaped brace is no brace
            if tokens.count("{") + 1 == tokens.count("}"):
                content = rest[:end].strip()
                if re.sub(r"\\+boxed\{|(?:\\\\)+|\\ |[{} ]", "", re.sub(r"\\[{}]", "x", content)):
                    return content
                break
    return None


@given(st.lists(st.sampled_from(["\\boxed{", "{", "}", "a", " ", r"\{", r"\}"]), max_size=14).map("".join))
def test_any_text_against_trying_every_end(text):
    assert last_boxed(text) == slow_last_boxed(text)


@pytest.mark.parametrize("piece", ["\\", "\\boxed{", "\\boxed ", "{", " ", "\\text", "$a", "\\boxed{}"])
def test_time_is_linear_in_the_text(piece, growth):
    assert growth(last_boxed, piece) < 9
