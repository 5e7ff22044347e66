"""The token view in a browser: colours switch, search and keys work, of sixteen thousand tokens too."""

import numpy as np
import pytest
from token_records import page_of, record, run_with, words

from .conftest import LONG, SCREENSHOTS

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("view")
    long = [record(words(LONG, key=i), step=step, prompt=i, key=i) for step in (1, 50) for i in range(2)]
    lone = [record(words(60, key=i), prompt=i, key=i, hints=0, distilled=True, advantage=-0.7) for i in range(2)]
    read = {"critique": "Right so far: 1+1=2.\nNext: <b>", "correct_solution": "", "correct_answer": ""}
    criticised = [record(words(60), hints=0, advantage=-0.7, **read)]
    runs = [
        run_with(folder, long),
        run_with(folder, lone, variant="opsd"),
        run_with(folder, criticised, variant="rlsd"),
    ]
    path = folder / "tokens.html"
    path.write_text(page_of(runs), encoding="utf-8")
    return path


def token(page, number):
    return page.locator("#text span").nth(number)


def text_of(page, element):
    return page.locator(f"#{element}").text_content()


def looks(page):
    return page.evaluate("[...document.querySelectorAll('#text span')].map(each => each.className).join()")


def layer(page):
    return page.locator("#layers [aria-checked=true]").text_content()


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, False), (1280, True)])
def test_it_opens_without_complaints_and_fits(tab, path, width, dark):
    page = tab.open(path, width=width, height=844, dark=dark)
    assert page.locator("#text span").count() == LONG
    token(page, 7).click()
    page.screenshot(path=SCREENSHOTS / f"tokens-{width}{'-dark' * dark}.png")
    assert tab.complaints() == []
    assert tab.overflow() == []


def test_colours_switch_by_key_and_by_button(tab, path):
    page = tab.open(path)
    seen = {}
    for key in "12345":
        page.keyboard.press(key)
        seen[layer(page)] = looks(page)
    assert list(seen) == ["Correct hint", "Wrong hints", "Contrast", "Advantage before", "After the method"]
    assert len(set(seen.values())) == 5
    contrast = page.locator("#layers button").nth(2)
    contrast.click()
    assert looks(page) == seen["Contrast"]
    contrast.press("ArrowLeft")
    assert looks(page) == seen["Wrong hints"]


def shown(value):
    """A number as the page writes it: three digits after the point, or three that count."""
    half = float(np.float16(value))
    return (f"{half:+.3f}" if abs(half) >= 0.1 else f"{half:+#.3g}").replace("-", "\u2212")


def test_small_numbers_keep_their_digits(tab, tmp_path):
    """rlcsd selects tokens whose contrast is above 0.0008 nats."""
    student = np.full(4, -1.0)
    contrasts = np.array([0.00079, -0.00081, 0.0, 20.0])
    row = record(list("abcd"), student_logprobs=student, correct_logprobs=student, wrong_logprobs=[student - contrasts])
    path = tmp_path / "tokens.html"
    path.write_text(page_of([run_with(tmp_path, [row])]), encoding="utf-8")
    page = tab.open(path)
    for number, expected in enumerate(["+0.000790", "\u22120.000810", "0.000", "+20.000"]):
        token(page, number).click()
        assert f"contrast {expected}" in text_of(page, "reading")


def test_a_token_gives_its_numbers(tab, path):
    page = tab.open(path)
    row = record(words(LONG, key=0), step=1, prompt=0, key=0)
    for number in (5, 12_345):
        token(page, number).click()
        gap = row["correct_logprobs"][number] - row["student_logprobs"][number]
        wrong = np.log(np.mean([np.exp(each[number]) for each in row["wrong_logprobs"]]))
        assert f"token {number + 1} of {LONG}" in text_of(page, "reading")
        assert f"correct hint {shown(gap)}" in text_of(page, "reading")
        assert f"contrast {shown(row['correct_logprobs'][number] - wrong)}" in text_of(page, "reading")
    assert f"{sum(row['marked'])} tokens marked" in text_of(page, "facts")
    marked = "[...document.querySelectorAll('#text span')].slice(0, 30).map(each => each.classList.contains('m'))"
    assert page.evaluate(marked) == row["marked"][:30]
    text = page.locator("#text")
    text.press("ArrowRight")
    assert f"token {12_347} of {LONG}" in text_of(page, "reading")
    text.press("ArrowLeft")
    text.press("ArrowLeft")
    assert f"token {12_345} of {LONG}" in text_of(page, "reading")


def test_search_goes_over_the_bounds_of_tokens(tab, path):
    page = tab.open(path)
    text = "".join(words(LONG, key=0))
    query = page.locator("#query")
    query.fill("SO THE")
    count = text.lower().count("so the")
    assert text_of(page, "matches") == f"{count} matches"
    assert page.locator("#text .h").count() == 2 * count  # " so" and " the"
    query.press("Enter")
    query.press("Enter")
    assert text_of(page, "matches") == f"2 of {count}"
    second = text.index(" so the", text.index(" so the") + 1)
    found = next(i for i in range(LONG) if len("".join(words(LONG, key=0)[: i + 1])) > second)
    assert f"token {found + 1} of" in text_of(page, "reading")
    assert page.evaluate("document.querySelector('#text .now').getBoundingClientRect().top") < 900
    query.fill("no such words")
    assert text_of(page, "matches") == "0 matches"


@pytest.mark.parametrize("width", [1280, 390])
def test_what_a_critic_wrote_stands_above_the_response(tab, path, width):
    page = tab.open(path, width=width, height=844)
    assert page.locator("#critique-box").is_hidden()
    page.select_option("#run", index=2)
    assert text_of(page, "critique") == "Right so far: 1+1=2.\nNext: <b>"
    assert page.locator("#critique").is_visible()
    assert page.locator("#correct-hint").is_hidden(), "there is no other hint"
    page.screenshot(path=SCREENSHOTS / f"critique-{width}.png")
    assert tab.complaints() == []
    assert tab.overflow() == []


def test_a_method_that_distils_without_wrong_hints(tab, path):
    page = tab.open(path)
    page.keyboard.press("3")
    page.select_option("#run", index=1)
    assert layer(page) == "Correct hint"
    page.locator("#text").press("2")
    assert layer(page) == "Correct hint"
    page.locator("#text").press("5")
    assert "nats and more" in text_of(page, "legend")
    assert "distilled" in text_of(page, "facts")
    assert "First 1, then 1: </script> 2." in text_of(page, "hint")
    assert tab.complaints() == []


def test_another_step_shows_another_rollout(tab, path):
    page = tab.open(path)
    before = looks(page)
    page.select_option("#step", index=1)
    assert looks(page) != before
    page.select_option("#rollout", index=1)
    assert page.locator("#text span").count() == LONG


def test_what_turns_round_its_neighbours_is_spelt_out(tab, tmp_path):
    """Overrides, isolates and their ends, in tokens and problems; letters that run from right to left stay in place."""
    tokens = ["one ", "\u202e", "two ", "\u2069\u202e", "three ", "\u05d0\u05d1 ", "\u05d2\u05d3 ", "\x1b[0m", "four"]
    path = tmp_path / "tokens.html"
    runs = [run_with(tmp_path, [record(tokens, problem="a \u202e b", correct_solution="c \u2067 d")])]
    path.write_text(page_of(runs), encoding="utf-8")
    page = tab.open(path)
    spans = "[...document.querySelectorAll('#text span')]"
    shown = page.evaluate(f"{spans}.map(each => each.textContent)")
    assert shown == ["one ", "\\u202e", "two ", "\\u2069\\u202e", "three ", *tokens[5:7], "\\u001b[0m", "four"]
    lefts = page.evaluate(f"{spans}.map(each => each.getBoundingClientRect().x)")
    assert lefts == sorted(lefts)
    assert text_of(page, "problem").startswith("a \\u202e b")
    assert text_of(page, "hint").startswith("c \\u2067 d")
    page.locator("#query").fill("three")
    assert text_of(page, "matches") == "1 match"
