"""Style, task, other."""

import pytest

from selfdistill.reporting.tokens.classes import token_class

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
