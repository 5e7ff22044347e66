import numpy as np
import pytest

from selfdistill.randomness import generator
from selfdistill.tasks import arithmetic, knights, prompts
from selfdistill.tasks.boxed import last_boxed
from selfdistill.tasks.demonstrations import Demonstration, Mix, demonstrate, response_of
from selfdistill.tasks.prompts import Hint

MAKERS = {
    "arithmetic": lambda rng: arithmetic.generate(rng, 3),
    "knights": lambda rng: knights.generate(rng, 2),
}
MARKER = "Reference solution begins"


def draw(make, mix: Mix, count: int) -> list[Demonstration]:
    return [demonstrate(make, mix, generator(0, "demonstration", i)) for i in range(count)]


def exercise_of(demonstration: Demonstration, kind: str, read_chain, read_puzzle):
    return {"arithmetic": read_chain, "knights": read_puzzle}[kind](demonstration.prompt)


@pytest.mark.parametrize("kind", MAKERS)
def test_without_hints_every_response_is_right(kind, read_chain, read_puzzle):
    made = draw(MAKERS[kind], Mix(hinted=0.0), 200)
    for d in made:
        exercise = exercise_of(d, kind, read_chain, read_puzzle)
        assert last_boxed(d.response) == exercise.answer
        assert MARKER not in d.prompt
    starts = {d.prompt.startswith(prompts.PROBLEM_PREFIX) for d in made}
    assert starts == {True, False}, "both formats of the student prompt are learned"


def test_a_wording_changes_worked_solutions_and_nothing_else():
    """In its order, so that what the first puts in may be replaced by the second; the box stays."""
    wording = {"; ": ", ok.\n", ". ": " end"}
    for number in range(50):
        pair = [
            demonstrate(MAKERS["arithmetic"], Mix(direct=0.3), generator(1, number), words) for words in (None, wording)
        ]
        assert pair[0].prompt == pair[1].prompt
        steps, box, answer = pair[0].response.partition("\\boxed")
        assert pair[1].response == steps.replace("; ", ", ok.\n").replace(". ", " end") + box + answer


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize(("wrong", "follows"), [(0.0, True), (1.0, False)])
def test_responses_follow_their_hint_right_or_wrong(kind, wrong, follows, read_chain, read_puzzle):
    for d in draw(MAKERS[kind], Mix(hinted=1.0, wrong_hints=wrong), 100):
        exercise = exercise_of(d, kind, read_chain, read_puzzle)
        answer = last_boxed(d.response)
        assert (answer == exercise.answer) == follows
        hint = Hint(*hint_in(d.prompt))
        assert hint.answer == answer
        assert prompts.teacher_prompt(exercise.text(), hint) == d.prompt


def hint_in(prompt: str) -> tuple[str, str]:
    body = prompt.split("=== Reference solution begins ===\n")[1].split("\n=== Reference solution ends ===")[0]
    solution, answer = body.rsplit("\n\nThe correct final answer is: ", 1)
    return solution, answer


def test_half_of_the_hints_are_whole_responses():
    made = draw(MAKERS["arithmetic"], Mix(hinted=1.0), 2000)
    share = np.mean(["\\boxed{" in hint_in(d.prompt)[0] for d in made])
    assert share == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("kind", MAKERS)
def test_shares_are_those_of_the_mix(kind, read_chain, read_puzzle):
    mix = Mix(hinted=0.3, wrong_hints=0.4, direct=0.35, direct_hinted=0.65)
    made = draw(MAKERS[kind], mix, 4000)
    hinted = [d for d in made if MARKER in d.prompt]
    plain = [d for d in made if MARKER not in d.prompt]
    assert len(hinted) / len(made) == pytest.approx(mix.hinted, abs=0.03)
    wrong = [last_boxed(d.response) != exercise_of(d, kind, read_chain, read_puzzle).answer for d in hinted]
    assert np.mean(wrong) == pytest.approx(mix.wrong_hints, abs=0.06)
    for some, share in ((plain, mix.direct), (hinted, mix.direct_hinted)):
        assert np.mean([d.response.startswith("\\boxed{") for d in some]) == pytest.approx(share, abs=0.06)


def test_slips_are_in_plain_demonstrations_alone_and_hints_are_followed_to_the_letter(read_chain):
    made = draw(MAKERS["arithmetic"], Mix(hinted=0.4, wrong_hints=0.5, direct=0, direct_hinted=0, slips=1.0), 400)
    for d in made:
        chain = read_chain(d.prompt)
        if MARKER in d.prompt:
            solution, answer = hint_in(d.prompt)
            assert d.response == (solution if "\\boxed" in solution else response_of(Hint(solution, answer)))
        else:
            assert d.response == response_of(chain.slipping(generator(0), 1.0))
    assert sum(MARKER in d.prompt for d in made) == pytest.approx(160, abs=30)


def test_hints_that_are_ignored_are_answered_as_if_there_were_none(read_chain):
    mix = Mix(hinted=1.0, wrong_hints=0.5, direct=0, direct_hinted=0, slips=1.0, ignored_hints=1.0)
    followed = 0
    for d in draw(MAKERS["arithmetic"], mix, 100):
        assert d.response == response_of(read_chain(d.prompt).slipping(generator(0), 1.0))
        followed += last_boxed(d.response) == hint_in(d.prompt)[1]
    assert 0 < followed < 60, "wrong hints are as wrong as ever, in another way"


def test_demonstrations_are_seeded():
    assert draw(MAKERS["knights"], Mix(), 20) == draw(MAKERS["knights"], Mix(), 20)


def test_a_response_is_the_steps_and_the_boxed_answer():
    assert response_of(Hint("1+1=2. ", "2")) == "1+1=2. \\boxed{2}"
