"""Files from elsewhere (draws.source): one error names file and key or row, or they are read.

What is merely odd (null, NaN, half pairs of surrogates, line separators in texts) is read.
"""

import dataclasses
import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from token_records import record, run_with, words

from selfdistill.errors import UserError
from selfdistill.evaluation.draws import read_draws, read_matrix
from selfdistill.reporting.pages.results import results_page
from selfdistill.reporting.read.health import health, health_remarks
from selfdistill.reporting.read.runs import RunFiles, read_metrics, series
from selfdistill.reporting.render.html import environment
from selfdistill.reporting.tables.behaviour import behaviour_table
from selfdistill.reporting.tables.costs import costs_table
from selfdistill.reporting.tokens.summaries import summarise
from selfdistill.runs.metrics import NONFINITE, SKIPPED
from selfdistill.runs.records import SCHEMA, read_records

DEEP = "[" * 100_000 + "]" * 100_000
BAD_FACTS = {
    "hardware as text": ('{"hardware": "8 x H100"}', "hardware is '8 x H100', expected an object"),
    "hardware as list": ('{"hardware": ["H100"]}', "hardware is .*, expected an object"),
    "gpu as number": ('{"hardware": {"gpu": 8}}', "hardware.gpu is 8, expected a text"),
    "memory as number": ('{"peak_memory_gib": 80}', "peak_memory_gib is 80, expected an object"),
    "host memory as text": ('{"peak_memory_gib": {"host": "80"}}', "peak_memory_gib.host is '80', expected a number"),
    "wall time as text": ('{"wall_seconds": "3600 s"}', "wall_seconds is '3600 s', expected a number"),
    "wall time below 0": ('{"wall_seconds": -1}', "wall_seconds is -1, expected a number of 0 or more"),
    "wall time without bounds": ('{"wall_seconds": 1e999}', "wall_seconds is inf, expected a number"),
    "steps of 400 digits": (f'{{"steps": {"9" * 400}}}', "steps is 999"),
    "hours as truth": ('{"gpu_hours": true}', "gpu_hours is True, expected a number"),
    "steps as list": ('{"steps": [1, 2]}', r"steps is \[1, 2\], expected a number"),
    "tokens as text": ('{"tokens": "many"}', "tokens is 'many', expected a number"),
    "a list": ("[]", "expected a JSON object, found list"),
    "no JSON": ("{", "not JSON"),
    "deep": (f'{{"a": {DEEP}}}', "not JSON that can be read|nested deeper"),
    "rather deep": ('{"a": ' * 60 + "1" + "}" * 60, "nested deeper than 50 levels"),
    "digits": (f'{{"steps": {"9" * 5000}}}', "not JSON that can be read"),
    "not UTF-8": (b'{"git_commit": "\xff"}', "cannot read it"),
}


def a_run(tmp_path, **files) -> RunFiles:
    for name, content in files.items():
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        files[name] = path
    return RunFiles("maths", "tiny", "grpo", 0, "grpo", {}, **files)


@pytest.mark.parametrize("name", BAD_FACTS)
@pytest.mark.parametrize("kind", ["provenance", "account"])
def test_facts_of_other_types_name_file_and_key(tmp_path, kind, name):
    content, complaint = BAD_FACTS[name]
    with pytest.raises(UserError, match=rf"{kind}: .*({complaint})") as error:
        costs_table([a_run(tmp_path, **{kind: content})])
    assert len(str(error.value)) < 4100


def test_a_machine_may_have_any_name(tmp_path):
    name = "=1|<b>\u202e\ud800" + "x" * 3_000_000
    (row,) = costs_table([a_run(tmp_path, account=json.dumps({"hardware": {"cpu": name}}))]).to_dict("records")
    assert row["hardware"].startswith("=1|<b>\\u202e\\ud800xxx")
    assert len(row["hardware"]) < 300


@pytest.mark.parametrize(
    "content", ["{}", '{"wall_seconds": null, "hardware": null, "tokens": NaN, "peak_memory_gib": {}}', '{"steps": 2}']
)
def test_facts_that_say_nothing_are_missing(tmp_path, content):
    (row,) = costs_table([a_run(tmp_path, account=content)]).to_dict("records")
    assert pd.isna(row["wall_seconds"])
    assert pd.isna(row["tokens_generated"])
    assert pd.isna(row["hardware"])


BAD_METRICS = {
    "text": ('{"step": 1, "reward/mean": "high"}', "line 1: reward/mean is 'high', expected a number"),
    "truth": ('{"step": 1, "val/x/mean@1": true}', "line 1: val/x/mean@1 is True, expected a number"),
    "list": ('{"step": 0}\n{"step": 1, "tokens/generated": [1]}', "line 2: tokens/generated is"),
    "deep": (DEEP, "line 1: (not JSON that can be read|nested deeper)"),
    "digits": (f'{{"step": {"9" * 5000}}}', "line 1: not JSON that can be read"),
    "not UTF-8": (b'{"step": 1, "a": "\xff"}', "cannot read the metrics"),
    "megabytes": (f'{{"step": 1, "a/b": "{"x" * 3_000_000}"}}', "a/b is 'xxx.*characters left out"),
}


@pytest.mark.parametrize("name", BAD_METRICS)
def test_metrics_that_are_no_numbers_name_file_and_line(tmp_path, name):
    content, complaint = BAD_METRICS[name]
    with pytest.raises(UserError, match=f"metrics(, line 1)?.*{complaint}"):
        read_metrics(a_run(tmp_path, metrics=content).metrics)


def test_lines_end_at_line_feeds_only(tmp_path):
    lines = [json.dumps({"step": i, "note": "a\u2028b\u2029c\x85d", "a/b": i}, ensure_ascii=False) for i in range(3)]
    for content in ("\n".join(lines), "\n".join(lines) + "\n", "\r\n".join(lines)):
        assert series(read_metrics(a_run(tmp_path, metrics=content).metrics), "a/b") == {0: 0, 1: 1, 2: 2}


#: Metrics, and what `health` says of them: skipped, not finite, steps with a metric that is none.
HEALTH = {
    "all well": ([{"a/b": 1}] * 5, (0, 0, 0)),
    "not finite": ([{"a/b": None}, {"a/b": float("nan")}, {"a/b": float("inf")}, {"a": None}], (0, 0, 3)),
    "skipped": ([{SKIPPED: 2, NONFINITE: 1}, {SKIPPED: 1}], (3, 1, 0)),
}


@pytest.mark.parametrize("name", HEALTH)
def test_what_is_wrong_with_a_runs_numbers_is_told(tmp_path, name):
    steps, expected = HEALTH[name]
    content = "".join(json.dumps({"step": i} | step) + "\n" for i, step in enumerate(steps, 1))
    run = a_run(tmp_path, metrics=content)
    assert dataclasses.astuple(health(read_metrics(run.metrics))) == expected
    remarks = health_remarks([run])
    assert bool(remarks) == any(expected[1:])
    if expected[1]:
        assert remarks == ["maths/tiny/grpo/seed0: 1 update was skipped as not finite"]
        main = pd.DataFrame(
            [{"benchmark": "average", "task": "maths", "model": "tiny", "variant": "grpo", "value": 1.0}]
        )
        (row,) = behaviour_table(main, [run]).to_dict("records")
        assert (row["skipped_updates"], row["nonfinite_updates"]) == (3, 1)


BAD_CONFIGS = {
    "list": ("- a\n- b\n", "expected keys and their values"),
    "text": ("a", "expected keys and their values"),
    "broken": ("a: [", "not YAML"),
    "no date": ("a: 2024-13-45", "not YAML"),
    "endless": ("a: &a {b: *a}", "more than 10000 values"),
    "bomb": (
        "\n".join(["a0: &a0 [x, x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))]),
        "more than 10000 values",
    ),
    "deep": (DEEP, "not YAML"),
    "python": ("!!python/object/apply:os.system ['true']", "not YAML"),
    "not UTF-8": (b"a: \xff", "cannot read it"),
}


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_configs_that_are_none_are_named(tmp_path, name):
    content, complaint = BAD_CONFIGS[name]
    run = a_run(tmp_path, config=content)
    with pytest.raises(UserError, match=f"config: {complaint}"):
        results_page([run], pd.DataFrame(), pd.DataFrame(), pd.DataFrame(), demonstration=False, remake=None)


ROW = record(words(4))
BAD_RECORDS = {
    "token null": ({"tokens": ["a", None, "b", "c"]}, "'tokens' has an entry without value in row 1"),
    "tokens null": ({"tokens": None}, "'tokens' has no value in row 1"),
    "ragged": ({"correct_logprobs": [-0.5] * 3}, "'correct_logprobs' is not as long as 'tokens' in row 1"),
    "weights shorter": ({"weights": [1.0]}, "'weights' is not as long as 'tokens' in row 1"),
    "marks longer": ({"marked": [True] * 5}, "'marked' is not as long as 'tokens' in row 1"),
    "log-prob null": ({"student_logprobs": [-0.5, None, -1.0, -1.0]}, "'student_logprobs' has an entry without value"),
    "wrong hints ragged": ({"wrong_logprobs": [[-1.0] * 4, [-1.0] * 3]}, "'wrong_logprobs' is not as long as 'tokens'"),
    "wrong hint null": ({"wrong_logprobs": [[-1.0] * 4, None]}, "'wrong_logprobs' has an entry without value in row 1"),
    "wrong log-prob null": ({"wrong_logprobs": [[-1.0, None, -1.0, -1.0]]}, "'wrong_logprobs' has an entry without"),
    "reward null": ({"reward": None}, "'reward' has no value in row 1"),
    "reward NaN": ({"reward": float("nan")}, "'reward' is no finite number in row 1"),
    "advantage infinite": ({"advantage": float("inf")}, "'advantage' is no finite number in row 1"),
    "problem null": ({"problem": None}, "'problem' has no value in row 1"),
    "answers fewer": ({"wrong_answers": ["1"]}, "'wrong_answers' is not as long as 'wrong_solutions' in row 1"),
}


@pytest.mark.parametrize("name", BAD_RECORDS)
def test_records_that_do_not_fit_name_column_and_row(tmp_path, name):
    change, complaint = BAD_RECORDS[name]
    path = run_with(tmp_path, [ROW, ROW | change, ROW]).records
    with pytest.raises(UserError, match=rf"records\.parquet: column {complaint}"):
        read_records(path)


@pytest.mark.parametrize("name", ["token null", "tokens null", "ragged", "log-prob null", "wrong hints ragged"])
def test_no_reader_of_some_columns_stumbles_over_them(tmp_path, name):
    path = run_with(tmp_path, [ROW, ROW | BAD_RECORDS[name][0]]).records
    with pytest.raises(UserError, match=r"records\.parquet: column"):
        summarise(path)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("tokens", ["abcd"]),
        ("student_logprobs", [["a", "b", "c", "d"]]),
        ("reward", ["high"]),
        ("step", [2**40]),
        ("correct", ["maybe"]),
    ],
)
def test_records_of_other_types_are_refused(tmp_path, column, values):
    path = run_with(tmp_path, [ROW]).records
    table = pq.read_table(path)
    pq.write_table(table.set_column(SCHEMA.get_field_index(column), column, pa.array(values)), path)
    with pytest.raises(UserError, match=r"records\.parquet: cannot be read as records"):
        read_records(path)


def test_draws_that_are_not_utf8_are_refused(tmp_path, study):
    good = next(iter(study.runs[0].draws.values()))
    table = pq.read_table(good)
    size = len(table)
    half = b"\xed\xa0\x80"  # half a surrogate pair
    offsets = b"".join((3 * i).to_bytes(4, "little") for i in range(size + 1))
    bad = pa.Array.from_buffers(pa.string(), size, [None, pa.py_buffer(offsets), pa.py_buffer(half * size)])
    for column in ("problem_id", "response"):
        path = tmp_path / f"{column}.parquet"
        pq.write_table(table.set_column(table.schema.get_field_index(column), column, bad), path)
        with pytest.raises(UserError, match=r"parquet: cannot be read as a parquet file of draws .*UTF"):
            read_draws(path)
    with pytest.raises(UserError, match=r"problem_id\.parquet: cannot be read"):
        read_matrix(tmp_path / "problem_id.parquet")


def test_draws_with_a_column_twice_are_refused(tmp_path, study):
    table = pq.read_table(next(iter(study.runs[0].draws.values())))
    path = tmp_path / "twice.parquet"
    pq.write_table(pa.table([*table.columns, table["correct"]], names=[*table.column_names, "correct"]), path)
    for read in (read_draws, read_matrix):
        with pytest.raises(UserError, match=r"twice\.parquet: column 'correct' is there twice"):
            read(path)


def test_pages_spell_out_what_is_not_seen_and_strike_out_secrets():
    page = (
        environment()
        .from_string("<p>{{ text }}</p>{{ list | join(', ') }}")
        .render(text="a\u202e<b>\ud800\x00 https://me:secret@host/x\r\nnext", list=["\u2066", "b"])
    )
    expected = "<p>a\\u202e&lt;b&gt;\\ud800\\u0000 https://&lt;secret&gt;@host/x\nnext</p>\\u2066, b"
    assert page == expected
    page.encode("utf-8")
