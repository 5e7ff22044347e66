"""What a reward function says of a response reaches the training step, as in the local trainer."""

import numpy as np
import pytest
import torch

verl = pytest.importorskip("verl")
pytestmark = pytest.mark.verl

from verl.utils.tensordict_utils import list_of_dict_to_tensordict

from selfdistill.tasks.graders import grade_response
from selfdistill.tasks.schema import Problem
from selfdistill.training.verl.drawn import FIELDS, rollouts_of, rows_of_fields
from selfdistill.training.verl.reward import compute_score

REFERENCE = '[{"Action": "look_up", "Action_Input": "{\\"word\\": \\"owl\\"}"}]'
RIGHT = 'Thought: t\nAction: look_up\nAction Input: {"word": "owl"}'
WRONG = 'Thought: t\nAction: look_up\nAction Input: {"word": "elk"}'


def queued(responses, grader, truth):
    """Rows as verl's agent loop puts them into its queue."""
    rows = []
    for number, text in enumerate(responses):
        said = compute_score("words", text, truth, {"problem_id": "words/0", "index": 0}, grader=grader)
        score = torch.zeros(number + 1)
        score[-1] = said["score"]
        rows.append(
            {
                "prompts": torch.arange(3),
                "responses": torch.arange(number + 1),
                "rollout_log_probs": -torch.ones(number + 1),
                "rm_scores": score,
                "extra_info": {"problem_id": "words/0", "problem": "?", "answer": truth, "solution": "s", "index": 0},
                "data_source": "words",
                "extra_fields": {"reward_extra_info": said, "turns": 1},
            }
        )
    return list_of_dict_to_tensordict(rows).select(*FIELDS)


@pytest.mark.parametrize(
    ("grader", "truth", "texts"),
    [("tool_use", REFERENCE, [RIGHT, WRONG, "no call"]), ("maths", "5", [r"\boxed{5}", r"\boxed{6}", "5"])],
)
def test_rollouts_are_as_the_local_trainer_grades_them(grader, truth, texts):
    rollouts = rollouts_of(rows_of_fields(queued(texts, grader, truth)), texts, [False] * 3)
    problem = Problem("words/0", "words", "?", truth, "s", "", 0, "")
    expected = [grade_response(text, problem, grader) for text in texts]
    assert rollouts.problems == [problem] * 3
    assert rollouts.correct == [each.correct for each in expected] == [True, False, False]
    assert rollouts.answers == [each.answer for each in expected]
    said = [each.feedback for each in expected]
    assert rollouts.feedback == (said if any(said) else None)
    assert (grader == "tool_use") == (rollouts.feedback is not None)
    assert rollouts.topics == [each.topic for each in expected]
    assert rollouts.scores is None
    assert [len(each) for each in rollouts.logprobs] == [1, 2, 3]
    assert isinstance(rollouts.logprobs[0], np.ndarray)


def test_a_reward_function_that_says_a_number_alone_is_enough():
    data = queued([r"\boxed{5}", r"\boxed{6}"], "maths", "5")
    rows = rows_of_fields(data)
    for row in rows:
        row["said"] = {}
    rollouts = rollouts_of(rows, [r"\boxed{5}", r"\boxed{6}"], [False, True])
    assert (rollouts.answers, rollouts.correct, rollouts.feedback) == (["5", "6"], [True, False], None)
