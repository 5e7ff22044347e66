import json
import shutil

import pyarrow.parquet as pq
import pytest
from openai_server import completion, serving
from small_run import go

from selfdistill.runs.records import read_records
from selfdistill.training.leniency import FILE, main


@pytest.fixture(scope="module")
def finished(small_run, template, tmp_path_factory):
    """A run of two steps with records."""
    folder = tmp_path_factory.mktemp("finished")
    config = json.loads(json.dumps(template)) | {"steps": 2, "checkpoint": {"every": 5}}
    config |= {"implementation": "rlsd", "records": {"every": 1, "rollouts": 16}, "teacher": {"kind": "live"}}
    config["hints"] = {"source": "gt_cot", "max_tokens": 64}
    return go(config, small_run, folder)["model"].parent


def test_a_critic_is_asked_twice_about_each_wrong_rollout(finished, tmp_path, capsys):
    rows = read_records(finished / "records.parquet", ["problem", "correct"]).to_pylist()
    wrong = [row for row in rows if not row["correct"]]
    assert 0 < len(wrong) < len(rows)

    down = [True]

    def lenient(message, before):
        if down and wrong[0]["problem"].strip() in message:
            return 500, "down"
        blamed = "only its format is to blame" in message
        return completion("Look again.\nVerdict: " + ("right" if blamed else "wrong"))

    with serving(lenient) as server:
        words = [str(finished), str(tmp_path), "kind=server", f"url={server.url}", "model=m", "send_rollouts=true"]
        words += ["tries=1", "pause=0.0"]
        assert main(words) == 0
        assert json.loads((tmp_path / FILE).read_text())["plain"]["failed"] > 0
        down.clear()
        assert main(words) == 0  # what failed is asked about again
        asked = len(server.bodies)
        assert all(any(row["problem"].strip() in message for row in wrong) for message in server.messages)
        assert main(words) == 0
        assert len(server.bodies) == asked  # answers are kept
    found = json.loads((tmp_path / FILE).read_text())
    assert found["rollouts"] == found["only_hedged"] == len(wrong)
    assert (found["plain"]["judged_right"], found["hedged"]["judged_right"], found["only_plain"]) == (0.0, 1.0, 0)
    assert found["hedged"]["low"] == pytest.approx(0.025 ** (1 / len(wrong)))  # of all of n, by hand
    assert found["hedged"]["high"] == 1.0
    assert found["p"] == pytest.approx(2 * 0.5 ** len(wrong)) or len(wrong) == 1
    assert "hedged: judged_right 1.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["kind=rule", "mode=verdict"], "critic.kind is 'rule'; expected one of server, model"),
        (["kind=model", "model=m"], "no folder of the critic's model was given"),
        (["verdict"], "expected key=value"),
        (["kind=server", "model=m", "url=http://127.0.0.1:1/v1"], "send_rollouts: true"),
    ],
)
def test_what_cannot_be_asked_is_told(finished, tmp_path, capsys, words, said):
    assert main([str(finished), str(tmp_path), *words]) == 1
    assert said in capsys.readouterr().err


def test_a_folder_without_a_run_and_a_run_without_wrong_records_are_named(finished, tmp_path, capsys):
    server = ["kind=server", "model=m", "url=http://127.0.0.1:1/v1", "send_rollouts=true"]
    assert main([str(tmp_path / "none"), str(tmp_path / "out"), *server]) == 1
    assert "none: no finished run is there" in capsys.readouterr().err
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    records = pq.read_table(copy / "records.parquet")
    pq.write_table(records.filter(records["correct"]), copy / "records.parquet")
    assert main([str(copy), str(tmp_path / "out"), *server]) == 1
    assert "of a run without hints nothing is recorded" in capsys.readouterr().err
