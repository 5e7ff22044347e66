"""Templates of one's own: what is refused, while a study is planned, and what of them is in a run's settings."""

import contextlib

import pytest
from configurations import merged, refusal, resolved

from selfdistill.errors import UserError
from selfdistill.study.study import config_hash, load_study
from selfdistill.study.teacher_settings import TEMPLATES
from selfdistill.study.templates import PARTS, SHOWN, question_text, read_text, read_wording, shown_parts
from selfdistill.tasks.contexts import ContextTemplate, Hint
from selfdistill.tasks.prompts import asked, context_template

WHOLE = "Q: {problem}\n\\boxed{{}} [{solution}] A: {answer}\nBegin."


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text: str | bytes, name="own.txt") -> str:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return name

    return write


def test_a_whole_message_is_filled_to_the_byte_and_alike_on_both_sides(file):
    template = context_template(file(WHOLE + "\n"))
    assert template.prompt("-", "1+1? ", Hint("{s}", "{a}")) == "Q: 1+1?\n\\boxed{} [{s}] A: {a}\nBegin."
    marks = "\0s\0", "\0a\0"
    common = template.prompt("-", "Why?", Hint(*marks))
    for hint in (Hint("right", "7"), Hint("wrong {problem}", "\\boxed{8}")):
        filled = common.replace(marks[0], hint.solution).replace(marks[1], hint.answer)
        assert template.prompt("-", "Why?", hint) == filled


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{solution} {answer}", r"body does not ask anything; give it a slot {prompt} or {problem}"),
        ("{problem} {problem} {answer}", r"has slots {problem} and {problem}, expected the problem once"),
        ("{problem} {prompt} {answer}", r"has slots {problem} and {prompt}, expected the problem once"),
        ("{problem} {answer} {answer}", r"has the slot {answer} 2 times, expected once"),
        ("{problem} {answr}", r"unknown slot {answr}; expected one of {prompt}, {problem}, {solution}, {answer}"),
        ("{problem} {answer!r}", r"slot {answer} has a format or a conversion"),
        ("{problem} \\boxed{}", r"unknown slot {}; expected one of .*a brace that is no slot's is doubled"),
        ("{problem} }", r"Single '}' encountered.*write a brace that is no slot's as {{ or }}"),
        (b"{problem}\n\xff", r"line 2 holds bytes that are no UTF-8; save it as UTF-8"),
        (b"\xef\xbb\xbf{problem}", r"line 1 holds the character U\+FEFF.*byte order mark"),
        (b"{problem}\r\n{answer}", r"line 1 holds the character U\+000D.*carriage returns"),
        (b"{problem}\n\n\0", r"line 3 holds the character U\+0000"),
        (b"x" * 100_001, r"has 100,001 bytes, expected at most 100,000"),
    ],
)
def test_a_message_that_cannot_be_one_is_refused_by_file_and_place(file, text, said):
    with pytest.raises(UserError, match=said) as error:
        read_wording(file(text))
    assert "own.txt" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [("absent.txt", "No such file"), (".", "Is a directory"), ("a\0b", "null"), ("", "No such")],
)
def test_a_file_that_cannot_be_read_is_named(file, name, said):
    with pytest.raises(UserError, match=f"here: .*cannot be read .*{said}.*expected the path of a text file"):
        read_text(name, "here")
    with pytest.raises(UserError, match="here: /dev/zero: has 100,001 bytes"):
        read_text("/dev/zero", "here")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{problem} {problem}", r"chat.template has the slot {problem} 2 times, expected once"),
        ("{problem} {answer}", r"chat.template: unknown slot {answer}; expected one of {problem}"),
        ("own.txt", r"chat.template: own.txt has the slot {problem} 0 times"),
        ("absent.txt", r"chat.template: absent.txt: cannot be read"),
    ],
)
def test_a_student_template_without_just_its_slot_is_refused(file, given, said):
    file("Solve.")
    with pytest.raises(UserError, match=said):
        question_text(given)


def test_a_student_reads_the_template_and_its_braces(file):
    text = question_text(file("Solve {problem}\ninto \\boxed{{}}.\n"))
    for training in (True, False):
        assert asked("{x}? ", training=training, template=text) == "Solve {x}?\ninto \\boxed{}."


def test_parts_are_those_of_a_hint():
    assert tuple(vars(Hint())) == PARTS

    def shown(source, mode="solution", right="none", **others):
        return shown_parts({"source": source, "mode": mode, **others}, right)

    assert shown("gt_cot", "solution_answer") == ("solution", "answer")
    assert shown("self_rollout", "answer_only", feedback="always") == ("answer", "feedback")
    assert shown("none", feedback="always") == ("feedback",)
    assert shown("critique") == ("critique",)
    assert shown("critique", right="praise", attempt=True) == ("critique", "praise", "attempt")


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("part", PARTS)
def test_the_librarys_templates_show_what_planning_takes_them_to(name, part):
    with contextlib.nullcontext() if part in SHOWN[name] else pytest.raises(UserError, match="has no section for"):
        context_template(name).check(part)


def hinted(path: str) -> str:
    return f"overrides: {{methods: {{rlcsd: {{hints: {{template: {path}}}}}}}}}"


def test_a_teacher_template_is_checked_while_the_study_is_planned(file):
    for text, said in (
        ("{problem} {answer}", "has no section for solution, which the run's teacher is to read"),
        ("{problem} {solution} {answer} {hint}", "unknown slot {hint}"),
        ("{problem}", "(this one shows none)"),
    ):
        told = refusal(hinted(file(text)))
        assert told.startswith("run arithmetic/tiny_qwen3/rlcsd: hints.template: own.txt: ")
        assert said in told
    assert "run arithmetic/tiny_qwen3/rlcsd: hints.template: absent.txt: cannot be read" in refusal(
        hinted("absent.txt")
    )
    assert context_template(file(WHOLE)).prompt("", "q", Hint("s", "a")) == ContextTemplate.read("own.txt").prompt(
        "", "q", Hint("s", "a")
    )


def test_a_student_template_is_in_the_settings_as_its_text_wherever_the_file_lies(file):
    text = "overrides: {all: {chat: {template: NAME}}}"
    first, second, other = (
        text.replace("NAME", name)
        for name in (file("Solve {problem}"), file("Solve {problem}", "b.txt"), file("Find {problem}", "c.txt"))
    )
    assert resolved(first)["chat"]["template"] == "Solve {problem}"
    assert resolved(first) == resolved(second)
    hashes = {config_hash(resolved(each)) for each in (first, other)} | {config_hash(resolved())}
    assert len(hashes) == 3
    cell = ("arithmetic", "tiny_qwen3", "base", 0)
    evaluations = {load_study(merged(*each)).evaluation_hash(*cell) for each in ((), (first,), (second,), (other,))}
    assert len(evaluations) == 3  # the untrained model is asked alike
    assert "chat.template: absent.txt: cannot be read" in refusal(text.replace("NAME", "absent.txt"))
