import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow.parquet import ParquetFile

from selfdistill.tasks import prompts
from selfdistill.tasks.prompts import INSTRUCTION, PROBLEM_PREFIX, Hint, student_prompt, teacher_prompt
from selfdistill.tasks.schema import read_problems

S, A = "\x00solution\x00", "\x00answer\x00"
texts = st.text(max_size=40)
hints = st.builds(Hint, texts, texts)


@given(
    texts, hints, hints, st.sampled_from(["solution_answer", "answer_only"]), st.sampled_from(list(prompts.FRAMINGS))
)
def test_correct_and_wrong_hints_share_every_byte_but_their_own(problem, right, wrong, mode, framing):
    template = teacher_prompt(problem, Hint(S, A), mode=mode, framing=framing)
    for hint in (right, wrong):
        filled = template.replace(S, hint.solution).replace(A, hint.answer)
        assert teacher_prompt(problem, hint, mode=mode, framing=framing) == filled


@pytest.mark.parametrize("framing", prompts.FRAMINGS)
def test_the_teacher_prompt_has_its_parts_in_order(framing):
    prompt = teacher_prompt("What is 1+1?", Hint(S, A), framing=framing)
    parts = ["Problem: What is 1+1?\n", prompts.FRAMINGS[framing], S + "\n\n", "correct final answer", A, INSTRUCTION]
    places = [prompt.index(part) for part in parts]
    assert places == sorted(places)
    assert prompt.endswith(INSTRUCTION)
    assert all(prompt.count(part) == 1 for part in parts)


def test_the_answer_only_mode_leaves_the_solution_out():
    prompt = teacher_prompt("What is 1+1?", Hint(S, A), mode="answer_only")
    assert S not in prompt
    assert teacher_prompt("What is 1+1?", Hint(S, A)) == prompt.replace(
        "The correct final answer is: ", f"{S}\n\nThe correct final answer is: "
    )


def test_framings_differ_in_their_sentence_only():
    rendered = {f: teacher_prompt("p", Hint(S, A), framing=f).replace(t, "") for f, t in prompts.FRAMINGS.items()}
    assert len(set(rendered.values())) == 1
    assert len(set(prompts.FRAMINGS.values())) == len(prompts.FRAMINGS)


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match=r"'steps'.*solution_answer, answer_only, solution"):
        teacher_prompt("p", Hint(S, A), mode="steps")


@given(texts)
def test_the_instruction_is_there_once(problem):
    for training in (True, False):
        prompt = student_prompt(problem, training=training)
        assert prompt.endswith(INSTRUCTION)
        assert prompt.count(INSTRUCTION) == problem.count(INSTRUCTION) + (not problem.rstrip().endswith(INSTRUCTION))
        assert student_prompt(prompt, training=False) == prompt, "it is not repeated"


def test_training_prompts_alone_carry_the_prefix():
    assert student_prompt("Why?", training=True) == f"Problem: Why?\n\n{INSTRUCTION}"
    assert student_prompt("Why?", training=False) == f"Why?\n\n{INSTRUCTION}"
    assert student_prompt("Why?", training=True) == PROBLEM_PREFIX + student_prompt("Why?", training=False)


@pytest.mark.parametrize("name", ["maths", "knights", "knights-train"])
def test_prompts_of_the_real_files_are_rebuilt(name, real):
    """To the byte, but for white space at the end of a problem, which ours drop."""
    stored = [row["prompt"][-1]["content"] for row in ParquetFile(real(name)).read().to_pylist()]
    for problem, prompt in zip(read_problems(real(name)), stored, strict=True):
        body = prompt.removesuffix(f"\n\n{INSTRUCTION}")
        assert body != prompt
        assert student_prompt(problem.problem, training=False) == f"{body.rstrip()}\n\n{INSTRUCTION}"
        assert student_prompt(prompt, training=False) == prompt, "the instruction that is there is not repeated"
