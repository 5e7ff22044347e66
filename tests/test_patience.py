"""No test fails because this machine is busy."""

import re

import pytest
from repository import ROOT

#: In a test's own code. A bound is in `time.process_time()`; what is waited for has `waiting.SECONDS`.
HASTE = {
    "a bound by the clock": re.compile(r"assert .*\b(monotonic|perf_counter|time\.time)\(\) - \w+ <"),
    "a wait of less than minutes": re.compile(r"\.(run|wait|join|check_output|communicate)\(.*\btimeout=\d{1,2}\b"),
}


@pytest.mark.parametrize("what", HASTE)
def test_no_test_holds_another_process_or_itself_to(what):
    files = [file for file in (ROOT / "tests").rglob("test_*.py") if file.name != "test_patience.py"]
    assert len(files) > 100
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in files
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if HASTE[what].search(line)
    ]
    assert not found
