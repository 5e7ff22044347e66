"""Programs on digits: what they compute, how they are asked and graded, and what the toy's warm start shows."""

import itertools

import pytest

from selfdistill.errors import UserError
from selfdistill.models.tiny_model import build_tokenizer
from selfdistill.randomness import generator
from selfdistill.tasks import programs
from selfdistill.tasks.datasets import generate_problems
from selfdistill.tasks.exercises import exercise_kind, is_training
from selfdistill.tasks.graders import grade_response
from selfdistill.tasks.program_demonstrations import ProgramDemonstrations, ProgramMix
from selfdistill.tasks.programs import OPERATIONS, Pair, Programming, read_program, run, written

RECIPE = {"exercise": "programs", "seed": 0}
TRAIN = {**RECIPE, "dataset": "programs_3", "problems": 12, "sizes": [3]}
VAL = {**RECIPE, "benchmarks": {"programs-3": {"size": 3, "problems": 12}}}


def made_by(digits):
    """A question whose program is +1; *3; max 2 and whose inputs are tested in this order."""
    return Programming((("+", 1), ("*", 3), ("max ", 2)), tuple(digits))


def asked(split="train"):
    return generate_problems(TRAIN if split == "train" else VAL, split)


def test_there_are_as_many_programs_and_functions_as_counted():
    assert len(OPERATIONS) == 33
    tables = {each: tuple(run([each], digit) for digit in range(10)) for each in OPERATIONS}
    functions = {tuple(range(10))}
    sizes = []
    for _ in range(3):
        functions = {tuple(table[digit] for digit in f) for f in functions for table in tables.values()}
        sizes.append(len(functions))
    assert sizes[1:] == [659, 8334]


def test_operations_are_applied_one_after_the_other():
    for digit in range(10):
        assert run([("+", 7), ("*", 3), ("max ", 4), ("min ", 6)], digit) == min(max((digit + 7) % 10 * 3 % 10, 4), 6)


def test_a_written_program_is_read_back():
    for operations in itertools.product(OPERATIONS[::5], repeat=2):
        assert read_program(written(operations)) == list(operations)
    assert read_program("+1;*2") == [("+", 1), ("*", 2)]
    for other in ("", "+0", "max 9", "*1", "+1; ", "+1, *2", "+12", "max5"):
        assert read_program(other) is None


def test_a_training_set_asks_the_benchmarks_questions_with_half_of_their_tests():
    halves, wholes = asked("train"), asked("val")
    assert [p.problem for p in halves] == [p.problem for p in wholes]
    for half, whole in zip(halves, wholes, strict=True):
        seen, every = programs.read_tests(half.answer), programs.read_tests(whole.answer)
        assert seen == every[:5]
        assert sorted(pair.given for pair in every) == list(range(10))
        assert all(str(pair) in half.problem for pair in seen[:2])
        assert not any(str(pair) in half.problem for pair in every[2:])
        assert grade_response(whole.solution, whole, "programs").correct


def test_evaluated_functions_are_never_shown_by_the_warm_start():
    draw = exercise_kind("programs").make
    for i in range(50):
        exercise = draw(generator(i), 3)
        same = Programming(exercise.operations, tuple(reversed(exercise.order)))
        assert is_training(exercise) == is_training(same)
        assert grade_response(exercise.reference(generator(0)).solution, problem_of(exercise), "programs").correct
        assert not grade_response(exercise.mistake(generator(i)).solution, problem_of(exercise), "programs").correct


def problem_of(exercise, answer=None):
    from selfdistill.tasks.schema import Problem

    return Problem("p/0", "p", exercise.text(), answer or exercise.answer, "", "code", 0, "val")


def test_the_first_failing_test_is_said_in_the_notation_of_the_question():
    exercise = made_by([0, 5, 9, 1, 2, 3, 4, 6, 7, 8])
    problem = problem_of(exercise, exercise.searched_answer)
    # 0 -> 3, 5 -> 8, 9 -> 2, 1 -> 6, 2 -> 9; without the last operation 9 -> 0 is the only one that fails.
    graded = grade_response(r"\boxed{+1; *3; +0}", problem, "programs")
    assert graded.feedback == "The program cannot be read."
    graded = grade_response(r"\boxed{+1; *3; max 1}", problem, "programs")
    assert (graded.correct, graded.score, graded.feedback) == (False, 0.8, "9 -> 2 (not 1)")
    graded = grade_response(r"\boxed{+1; *3; max 2}", problem, "programs")
    assert (graded.correct, graded.score, graded.feedback) == (True, 1.0, "")
    assert grade_response(r"\boxed{max 1; +1; *3}", problem, "programs", grading={"feedback": "verdict"}).feedback == (
        "A test fails."
    )
    assert grade_response(r"\boxed{+1; *3}", problem, "programs").feedback == (
        "The program has another number of operations."
    )
    assert grade_response("+1", problem, "programs").feedback == "There is no boxed program."
    assert grade_response("+1", problem, "programs", truncated=True).feedback == "The answer was cut for its length."
    assert grade_response("+1", problem, "programs", grading={"feedback": "none"}).feedback == ""


def test_what_cannot_be_graded_is_refused():
    exercise = made_by(range(10))
    with pytest.raises(UserError, match=r"p/0: its tests cannot be read: no JSON list of pairs"):
        grade_response("x", problem_of(exercise, "5"), "programs")
    with pytest.raises(UserError, match="reads questions for programs on digits"):
        grade_response("x", asked()[0].__class__("q", "q", "What?", exercise.answer, "", "", 0, ""), "programs")


def test_demonstrations_tell_the_truth_and_have_a_token_for_every_phrase():
    def draw(rng):
        return exercise_kind("programs").make(rng, 3)

    tokenizer = build_tokenizer(exercise_kind("programs").phrases)
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))
    make, kinds = ProgramDemonstrations(draw, ProgramMix(0.3, 0.4, 3)), set()
    for i in range(60):
        demonstration = make(generator("demonstration", i))
        operations = read_program(demonstration.response.removeprefix(r"\boxed{").removesuffix("}"))
        for pair in pairs_in(demonstration.prompt):
            assert run(operations, pair.given) == pair.result
        ids = tokenizer(demonstration.prompt + demonstration.response).input_ids
        assert tokenizer.unk_token_id not in ids
        kinds.add(("Earlier attempts" in demonstration.prompt, "Feedback on" in demonstration.prompt))
    assert kinds == {(True, False), (False, True), (False, False)}


def pairs_in(text):
    words = text.replace(";", " ").replace(".", " ").split()
    return [Pair(int(words[i - 1]), int(words[i + 1])) for i, word in enumerate(words) if word == "->"]
