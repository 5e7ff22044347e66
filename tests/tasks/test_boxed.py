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


@given(st.text(alphabet="a\\{}boxed", max_size=60))
def test_any_text_gives_a_box_that_is_there_or_nothing(text):
    content = last_boxed(text)
    if content is None:
        return
    assert "\\boxed{" in text
    assert content in text
    assert content.replace("\\{", "").replace("\\}", "").count("{") >= 0
