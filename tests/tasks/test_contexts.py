"""The texts of teachers' prompts, to the byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfdistill.errors import UserError
from selfdistill.study.templates import Template
from selfdistill.tasks.contexts import SECTIONS, ContextTemplate, Hint, Message
from selfdistill.tasks.prompts import context_template, student_prompt, teacher_prompt
from selfdistill.tasks.thinking import without_thinking

PROMPT = "Which one?\nA: x\nB: y"
REQUEST = "\n\nNow solve the original question correctly."
SOLUTION = "\nA correct solution:\n\n"
FEEDBACK = "\nFeedback on your earlier attempt, which failed:\n\n"


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (Hint(solution="It is A."), PROMPT + SOLUTION + "It is A." + REQUEST),
        (Hint(feedback="Not B."), PROMPT + FEEDBACK + "Not B." + REQUEST),
        (Hint(solution="It is A.", feedback="Not B."), f"{PROMPT}{SOLUTION}It is A.{FEEDBACK}Not B.{REQUEST}"),
        (Hint(), PROMPT),
        (Hint(answer="A"), f"{PROMPT}\nThe correct final answer:\n\nA{REQUEST}"),
        (
            Hint(critique="Hm."),
            f"{PROMPT}\nA reviewer's remarks on your earlier attempt, which failed:\n\nHm.{REQUEST}",
        ),
        (Hint(solution="", feedback="{x} {{ }}"), f"{PROMPT}{SOLUTION}{FEEDBACK}{{x}} {{{{ }}}}{REQUEST}"),
    ],
    ids=lambda case: repr(case)[:40],
)
def test_sections_to_the_byte(hint, expected):
    assert SECTIONS.prompt(PROMPT, "the bare question", hint) == expected


def test_system_message_and_earlier_turns_are_kept():
    chat = [("system", "Be brief."), ("user", "Hello"), ("assistant", "Yes?"), ("user", PROMPT)]
    messages = [Message(*each) for each in chat]
    found = SECTIONS.messages(messages, "", Hint(solution="A"))
    assert found[:3] == messages[:3]
    assert found[3:] == [Message("user", PROMPT + SOLUTION + "A" + REQUEST)]
    assert SECTIONS.messages(messages, "", Hint()) == messages


def test_the_reference_template_to_the_byte():
    """What teachers have read since the first release."""
    instruction = student_prompt("", training=False).strip()
    head = "Problem: Why?\nHere is a reference solution to this problem.\n=== Reference solution begins ===\n"
    tail = (
        "The correct final answer is: 7\n=== Reference solution ends ===\n\n"
        "Make sure that you understand the reasoning behind each step of the reference solution.\n" + instruction
    )
    assert teacher_prompt("Why?\n ", Hint("3+4", "7")) == f"{head}3+4\n\n{tail}"
    assert teacher_prompt("Why?", Hint("", "7")) == f"{head}\n\n{tail}"
    assert teacher_prompt("Why?", Hint("3+4", "7"), mode="answer_only") == head + tail
    own = context_template("reference", own_prompts=True).prompt(PROMPT, "bare", Hint("3+4", "7"))
    assert own == (head + "3+4\n\n" + tail).replace("Problem: Why?", PROMPT).removesuffix("\n" + instruction)


@given(st.text(), st.text(), st.text(), st.text())
def test_values_are_inserted_as_they_are(prompt, solution, feedback, critique):
    found = SECTIONS.prompt(prompt, "", Hint(solution, feedback=feedback, critique=critique))
    pieces = [prompt, SOLUTION, solution, FEEDBACK, feedback, critique, REQUEST]
    assert found.startswith(prompt + SOLUTION + solution + FEEDBACK + feedback)
    assert found.endswith(critique + REQUEST)
    assert len(found) == sum(map(len, pieces)) + len(
        "\nA reviewer's remarks on your earlier attempt, which failed:\n\n"
    )


def test_a_template_of_ones_own(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(
        'body: "{problem} {{set}}{solution}{feedback} Go."\nsolution: " <{solution}>"\nfeedback: "!{feedback}"'
    )
    own = context_template(str(path))
    assert own.prompt("-", "Why? ", Hint(solution="{a}")) == "Why? {set} <{a}> Go."
    assert own.phrases == [" {set}", " Go.", " <", ">", "!"]
    with pytest.raises(UserError, match=r"own.yaml: has no section for answer.*hints.template.*solution, feedback"):
        own.prompt("-", "Why?", Hint(answer="7"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("body: '{prompt}{answr}'\nanswer: '{answer}'", r"body: unknown slot {answr}; expected one of .*{answer}"),
        ("body: '{prompt}{answer!r}'\nanswer: '{answer}'", r"body: slot {answer} has a format.*remove"),
        ("body: '{prompt} {'", r"body: .*write a brace"),
        ("body: '{prompt}'\nhint: '{hint}'", r"unknown part 'hint'; expected body and some of solution, answer"),
        ("body: '{prompt}'\nanswer: '{answer}'", r"body has the slot {answer} 0 times, expected once"),
        ("body: '{prompt}{answer}'\nanswer: 'none'", r"answer has the slot {answer} 0 times"),
        ("body: '{prompt}{answer}{answer}'\nanswer: '{answer}'", r"body has the slot {answer} 2 times"),
        ("body: '{prompt}{prompt}{answer}'\nanswer: '{answer}'", r"{prompt} and {prompt}, expected the problem once"),
        ("body: 'Go.'", r"body does not ask anything"),
        ("solution: '{solution}'", r"key 'body' is missing"),
        ("body: [1]", r"body: expected text"),
    ],
)
def test_what_is_no_template_is_refused(tmp_path, text, said):
    (path := tmp_path / "own.yaml").write_text(text)
    with pytest.raises(UserError, match=said) as error:
        ContextTemplate.read(str(path))
    assert "own.yaml" in str(error.value)
    with pytest.raises(UserError, match="cannot be read"):
        ContextTemplate.read(str(tmp_path / "absent.yaml"))


def test_a_template_tells_its_slots_and_literals():
    template = Template("a {x} b {{y}} {x}", ("x",), "here")
    assert (template.slots, "".join(template.literals)) == (["x", "x"], "a  b {y} ")
    assert template.fill(x="{z}") == "a {z} b {y} {z}"
    assert ContextTemplate("{prompt}", {}).prompt("p", "", Hint()) == "p"


def test_thoughts_without_end_are_read_in_linear_time():
    text = "<think>" * 200_000
    assert without_thinking(text, "remove_closed") == text
    assert without_thinking(f"a</think> {text}", "remove") == ""


@pytest.mark.parametrize(
    ("text", "closed", "every"),
    [
        ("<think>a</think>\n\n b", "b", "b"),
        ("x <think>a</think> y <think>b</think>z", "x y z", "x y z"),
        ("<think>never ends", "<think>never ends", ""),
        ("answer <think>never ends", "answer <think>never ends", "answer "),
        ("opened by the template</think>\n b", "opened by the template</think>\n b", "b"),
        ("<think>a</think>b <think>c", "b <think>c", "b "),
        ("no thought", "no thought", "no thought"),
    ],
)
def test_thinking_is_taken_out(text, closed, every):
    assert without_thinking(text, "keep") == text
    assert without_thinking(text, "remove_closed") == closed
    assert without_thinking(text, "remove") == every
    with pytest.raises(ValueError, match=r"'none'.*keep, remove_closed, remove"):
        without_thinking(text, "none")
