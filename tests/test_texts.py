"""Texts of any origin: secrets, unseen characters, megabytes, cells that a spreadsheet would run."""

import pytest

from selfdistill.errors import UserError
from selfdistill.texts import (
    LONGEST_LINE,
    from_spreadsheet_cell,
    one_line,
    shortened,
    spreadsheet_cell,
    visible,
    without_secrets,
)

#: What a variable of the environment holds, a text, and what must not be left of it.
SECRETS = {
    "hub address": (
        {"HF_ENDPOINT": "https://me:s3cretpw@hub.example"},
        "no answer of https://me:s3cretpw@hub.example/x",
    ),
    "its password alone": ({"HF_ENDPOINT": "https://me:s3cretpw@hub.example"}, "wrong password s3cretpw"),
    "quoted password": ({"HTTPS_PROXY": "http://me:s3%21cretpw@proxy:80"}, "user me, password s3!cretpw"),
    "proxy without scheme": ({"https_proxy": "me:s3cretpw@proxy:8080"}, "proxy me:s3cretpw@proxy:8080 is down"),
    "any other URL": ({}, "data.source ftp://me:s3cretpw@files.example/a.parquet: no such file"),
    "an at sign in it": ({}, "https://me:s3cre@tpw@hub.example/x"),
    "several indexes": (
        {"PIP_EXTRA_INDEX_URL": "https://a.example https://me:s3cretpw@b.example/simple"},
        "ERROR: https://me:s3cretpw@b.example/simple/p/ and s3cretpw",
    ),
    "a token in place of a user": ({"PIP_INDEX_URL": "https://s3cretpw0123456789@c.example"}, "got s3cretpw0123456789"),
    "hub token": ({"HF_TOKEN": "hf_s3cretpw"}, "token hf_s3cretpw is refused"),
    "hub token of a file": ({}, "token hf_s3cretpwABCDEFGHIJKLM is refused"),
    "another service's": ({"WANDB_API_KEY": "s3cretpw"}, "wandb: s3cretpw"),
    "header": ({}, "headers: {'authorization': 'Bearer s3cretpw123'}"),
    "a slash in it": ({"HF_ENDPOINT": "https://me:s3cre/tpw@hub.example"}, "https://me:s3cre/tpw@hub.example/x"),
    "quoted in an address": ({"HF_TOKEN": "s3cre/tpw"}, "https://hub.example/?t=s3cre%2Ftpw"),
    "names without a line": ({"PGPASSWORD": "s3cretpw"}, "connecting with s3cretpw"),
    "a key": ({"WANDB_KEY": "s3cretpw"}, "wandb: s3cretpw"),
    "address in JSON": ({}, r'{"url": "https:\/\/me:s3cretpw@hub.example"}'),
    "basic header": ({}, "Authorization: Basic s3cretpw0123=="),
    "key header": ({}, "{'X-Api-Key': 's3cretpw123'}"),
    "option": ({}, "pip --token s3cretpw0123 --password=s3cretpw0123"),
    "of GitHub": ({}, "git clone with ghp_s3cretpw0123456789ABCDEFGHIJ"),
    "shared access": ({}, "https://blobs.example/f?sv=1&sig=s3cretpw&se=2"),
    "signed address": ({}, "https://cdn.example/f?X-Amz-Signature=s3cretpw&b=1"),
}


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_are_struck_out_of_errors_too(monkeypatch, name):
    variables, text = SECRETS[name]
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    for told in (without_secrets(text), str(UserError(text))):
        assert "s3cre" not in told
        assert "<secret>" in told
        assert without_secrets(told) == told


@pytest.mark.parametrize(
    "text",
    [
        "https://hub.example/a@b, or git@host:me/x",
        "mean@4 of http://host:80/p",
        "TOKENIZERS_PARALLELISM is false",
        "1 @ 2",
        "basic arithmetic, task-specific; eos_token: <|im_end|>, the key=value pairs of /home/me",
    ],
)
def test_what_is_no_secret_stays(monkeypatch, text):
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    monkeypatch.setenv("SHORT_TOKEN", "a")
    monkeypatch.setenv("OLDPWD", "/home/me")
    monkeypatch.setenv("GIT_AUTHOR_EMAIL", "example@host")
    assert without_secrets(text) == text


def test_unseen_characters_are_spelt_out():
    assert visible("a\u202eb\u2066\x1b[0m\ud800\u2028é日\n\t") == "a\\u202eb\\u2066\\u001b[0m\\ud800\\u2028é日\n\t"
    assert visible("a\u200fb\u061c\u200b\U000e0041") == "a\\u200fb\\u061c\\u200b\\udb40\\udc41"
    assert (
        visible("\U0001f469\u200d\U0001f680 \u0645\u06cc\u200c\u062e")
        == "\U0001f469\u200d\U0001f680 \u0645\u06cc\u200c\u062e"
    )
    assert one_line("a\r\nb\u2029c\td\x85e\x07") == "a b c d e\\u0007"


def test_megabytes_are_shortened():
    value = "x" * 3_000_000
    error = str(UserError(f"config/tasks.yaml: draws is {value!r}, expected a number"))
    assert len(error) < LONGEST_LINE + 100
    assert error.startswith("config/tasks.yaml: draws is 'xxx")
    assert error.endswith("x', expected a number")
    assert "characters left out" in error
    assert shortened("a" * 10, 10) == "a" * 10


@pytest.mark.parametrize(
    "text",
    [
        "=cmd|' /C calc'!A0",
        "+1+1",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\rx",
        " =1",
        '"=1',
        "'=1",
        "''=1",
        "-",
        "-0.5x",
        "\uff1d1",
        "\u201c=1",
    ],
)
def test_cells_that_a_spreadsheet_would_run_come_back_as_they_were(text):
    cell = spreadsheet_cell(text)
    assert cell == f"'{text}"
    assert from_spreadsheet_cell(cell) == text


@pytest.mark.parametrize("text", ["", "a=1", "-0.5", "+3", "-1e-7", "'", "'a", "it's", "'-0.5 of", ".5"])
def test_other_cells_stay(text):
    cell = spreadsheet_cell(text)
    assert from_spreadsheet_cell(cell) == text
    assert cell == text or text == "'-0.5 of"
