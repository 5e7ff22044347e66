"""The token view in a browser: colours switch, search and keys work, sixteen thousand tokens are no burden."""

import time

import numpy as np
import pytest
from token_records import page_of, record, run_with, words

from .conftest import LONG, SCREENSHOTS

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("view")
    long = [record(words(LONG, key=i), step=step, prompt=i, key=i) for step in (1, 50) for i in range(2)]
    lone = [record(words(60, key=i), prompt=i, key=i, hints=0, distilled=True, advantage=-0.7) for i in range(2)]
    runs = [run_with(folder, long), run_with(folder, lone, variant="opsd")]
    path = folder / "tokens.html"
    path.write_text(page_of(runs), encoding="utf-8")
    return path


def choose(tab, select, number):
    tab.evaluate(
        f"(() => {{ const it = document.getElementById({select!r}); it.selectedIndex = {number}; "
        "it.dispatchEvent(new Event('change')); })()"
    )


def search(tab, text):
    tab.evaluate(
        f"(() => {{ const it = document.getElementById('query'); it.value = {text!r}; it.focus(); "
        "it.dispatchEvent(new Event('input')); })()"
    )


def text_of(tab, element):
    return tab.evaluate(f"document.getElementById({element!r}).textContent")


def looks(tab):
    return tab.evaluate("[...document.querySelectorAll('#text span')].map(each => each.className).join()")


def layer(tab):
    return tab.evaluate("document.querySelector('#layers [aria-checked=true]').textContent")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, False), (1280, True)])
def test_it_opens_without_complaints_and_fits(chromium, page, width, dark):
    chromium.open(page, width=width, height=844, dark=dark)
    assert chromium.evaluate("document.querySelectorAll('#text span').length") == LONG
    chromium.evaluate("document.querySelectorAll('#text span')[7].click()")
    chromium.screenshot(SCREENSHOTS / f"tokens-{width}{'-dark' * dark}.png", whole=False)
    assert chromium.complaints() == []
    assert chromium.overflow() == []


def test_colours_switch_by_key_and_by_button(chromium, page):
    chromium.open(page)
    seen = {}
    for key in "12345":
        chromium.press(key, f"Digit{key}")
        seen[layer(chromium)] = looks(chromium)
    assert list(seen) == ["Correct hint", "Wrong hints", "Contrast", "Advantage before", "After the method"]
    assert len(set(seen.values())) == 5
    chromium.evaluate("document.querySelectorAll('#layers button')[2].click()")
    assert looks(chromium) == seen["Contrast"]
    chromium.evaluate("document.querySelectorAll('#layers button')[2].focus()")
    chromium.press("ArrowLeft")
    assert looks(chromium) == seen["Wrong hints"]


def shown(value):
    """A number as the page writes it: three digits after the point, or three that count."""
    half = float(np.float16(value))
    return (f"{half:+.3f}" if abs(half) >= 0.1 else f"{half:+#.3g}").replace("-", "\u2212")


def test_small_numbers_keep_their_digits(chromium, tmp_path):
    """rlcsd selects tokens whose contrast is above 0.0008 nats."""
    student = np.full(4, -1.0)
    contrasts = np.array([0.00079, -0.00081, 0.0, 20.0])
    row = record(list("abcd"), student_logprobs=student, correct_logprobs=student, wrong_logprobs=[student - contrasts])
    path = tmp_path / "tokens.html"
    path.write_text(page_of([run_with(tmp_path, [row])]), encoding="utf-8")
    chromium.open(path)
    for token, expected in enumerate(["+0.000790", "\u22120.000810", "0.000", "+20.000"]):
        chromium.evaluate(f"document.querySelectorAll('#text span')[{token}].click()")
        assert f"contrast {expected}" in text_of(chromium, "reading")


def test_a_token_gives_its_numbers(chromium, page):
    chromium.open(page)
    row = record(words(LONG, key=0), step=1, prompt=0, key=0)
    for token in (5, 12_345):
        chromium.evaluate(f"document.querySelectorAll('#text span')[{token}].click()")
        gap = row["correct_logprobs"][token] - row["student_logprobs"][token]
        wrong = np.log(np.mean([np.exp(each[token]) for each in row["wrong_logprobs"]]))
        assert f"token {token + 1} of {LONG}" in text_of(chromium, "reading")
        assert f"correct hint {shown(gap)}" in text_of(chromium, "reading")
        assert f"contrast {shown(row['correct_logprobs'][token] - wrong)}" in text_of(chromium, "reading")
    assert f"{sum(row['marked'])} tokens marked" in text_of(chromium, "facts")
    marked = "[...document.querySelectorAll('#text span')].slice(0, 30).map(each => each.classList.contains('m'))"
    assert chromium.evaluate(marked) == row["marked"][:30]
    chromium.evaluate("document.getElementById('text').focus()")
    chromium.press("ArrowRight")
    assert f"token {12_347} of {LONG}" in text_of(chromium, "reading")
    chromium.press("ArrowLeft")
    chromium.press("ArrowLeft")
    assert f"token {12_345} of {LONG}" in text_of(chromium, "reading")


def test_search_goes_over_the_bounds_of_tokens(chromium, page):
    chromium.open(page)
    text = "".join(words(LONG, key=0))
    search(chromium, "SO THE")
    count = text.lower().count("so the")
    assert text_of(chromium, "matches") == f"{count} matches"
    assert chromium.evaluate("document.querySelectorAll('#text .h').length") == 2 * count  # " so" and " the"
    chromium.press("Enter")
    chromium.press("Enter")
    assert text_of(chromium, "matches") == f"2 of {count}"
    second = text.index(" so the", text.index(" so the") + 1)
    token = next(i for i in range(LONG) if len("".join(words(LONG, key=0)[: i + 1])) > second)
    assert f"token {token + 1} of" in text_of(chromium, "reading")
    assert chromium.evaluate("document.querySelector('#text .now').getBoundingClientRect().top") < 900
    search(chromium, "no such words")
    assert text_of(chromium, "matches") == "0 matches"


def test_a_method_that_distils_without_wrong_hints(chromium, page):
    chromium.open(page)
    chromium.press("3", "Digit3")
    choose(chromium, "run", 1)
    assert layer(chromium) == "Correct hint"
    chromium.press("2", "Digit2")
    assert layer(chromium) == "Correct hint"
    chromium.press("5", "Digit5")
    assert "nats and more" in text_of(chromium, "legend")
    assert "distilled" in text_of(chromium, "facts")
    assert "First 1, then 1: </script> 2." in text_of(chromium, "hint")
    assert chromium.complaints() == []


def test_another_step_shows_another_rollout(chromium, page):
    chromium.open(page)
    before = looks(chromium)
    choose(chromium, "step", 1)
    assert looks(chromium) != before
    choose(chromium, "rollout", 1)
    assert chromium.evaluate("document.querySelectorAll('#text span').length") == LONG


def test_sixteen_thousand_tokens_switch_at_once(chromium, page):
    chromium.open(page)
    began = time.monotonic()
    for key in "12345":
        chromium.press(key, f"Digit{key}")
    choose(chromium, "step", 1)
    search(chromium, "therefore")
    assert time.monotonic() - began < 10  # a second or less; this machine may be busy


def test_what_turns_round_its_neighbours_is_spelt_out(chromium, tmp_path):
    """Overrides, isolates and their ends, in tokens and problems; letters that run from right to left stay in place."""
    tokens = ["one ", "\u202e", "two ", "\u2069\u202e", "three ", "\u05d0\u05d1 ", "\u05d2\u05d3 ", "\x1b[0m", "four"]
    path = tmp_path / "tokens.html"
    runs = [run_with(tmp_path, [record(tokens, problem="a \u202e b", correct_solution="c \u2067 d")])]
    path.write_text(page_of(runs), encoding="utf-8")
    chromium.open(path)
    spans = "[...document.querySelectorAll('#text span')]"
    shown = chromium.evaluate(f"{spans}.map(each => each.textContent)")
    assert shown == ["one ", "\\u202e", "two ", "\\u2069\\u202e", "three ", *tokens[5:7], "\\u001b[0m", "four"]
    lefts = chromium.evaluate(
        "[...document.querySelectorAll('#text span')].map(each => each.getBoundingClientRect().x)"
    )
    assert lefts == sorted(lefts)
    assert text_of(chromium, "problem").startswith("a \\u202e b")
    assert text_of(chromium, "hint").startswith("c \\u2067 d")
    search(chromium, "three")
    assert text_of(chromium, "matches") == "1 match"
