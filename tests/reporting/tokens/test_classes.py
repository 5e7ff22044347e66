"""Style, task, other."""

import pytest

from selfdistill.reporting.tokens.classes import PARTITIONS, PUBLISHED_CLASSES, published_class, token_class

EXAMPLES = {
    "style": [
        "Wait",
        " wait",
        "Wait,",
        " So",
        "therefore",
        "\n",
        "\n\n",
        ".\n\n",
        "  \n",
        ":\n",
        " **Therefore",
        "Let's",
    ],
    "task": [
        "7",
        " 12",
        "+",
        " =",
        "-",
        " -",
        " - ",
        "\N{MINUS SIGN}",
        "\\times",
        "*=",
        "\\frac",
        " \\boxed{",
        "frac",
        " sqrt",
        "≤",
        "\N{MULTIPLICATION SIGN}",
        "∑",
        "\\",
        "$",
        "x2",
        "^",
        "|",
    ],
    "other": [
        "",
        " ",
        " the",
        "x",
        "{",
        "}",
        "(",
        ".",
        ",",
        " Ava is a knight",
        "<|im_end|>",
        "; ",
        "some\n",
        "left",
        "**",
        " **",
        "** ",
        "*",
        " *",
        "_",
        "_{",
        "__",
        "***",
        "--",
        "---",
        " ---",
        "**:",
        "###",
    ],
}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in EXAMPLES.items() for text in texts])
def test_examples(kind, text):
    assert token_class(text) == kind


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["", " ", "\n", "\n\n", "\t "], "style"),
        (["3", "x1", "=(", "+", "a-b", "<", "\u00d7", "\\frac", "{\\pi", "\\\\", "$\\", "^", "_", " $"], "task"),
        (["mod", " Prime", "sqrt", "boxed", "LAMBDA", "cdot"], "task"),
        ([".", ", ", "!)", "}}", "(", ".\n\n", "\u201c"], "style"),
        (["Therefore", " the", " okay", "Step", "let", "If", "This"], "style"),
        (["five", "subsets", "M", "ex", "x", "Done", ", ok.", "<|im_end|>", "</s>"], "neutral"),
    ],
)
def test_the_published_rules_in_their_order(texts, expected):
    assert [published_class(text) for text in texts] == [expected] * len(texts)
    assert expected in PUBLISHED_CLASSES
    assert PARTITIONS["paper"] is published_class
