"""One response to one prompt, by verl's agent loop."""

from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopOutput
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop

from selfdistill.models.chat import ChatSettings, render, turn_end
from selfdistill.models.tokenizer_check import token_ids
from selfdistill.randomness import Key, seed_of
from selfdistill.tasks.prompts import Message
from selfdistill.training.verl.reward import TRUNCATED


class SingleTurn(SingleTurnAgentLoop):
    """verl's single turn with the prompts of this library, the row's own limit and a seed for every response.

    A run that goes on after an interruption, or is repeated, so draws the same responses from the same weights,
    whatever else shares its batches (up to rounding, which depends on them). agent_loops.yaml names this class to verl.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._chat = ChatSettings(**(self.config.selfdistill.get("chat") or {}))
        self._turn_end = turn_end(self.tokenizer, self._chat)

    async def ct_build_initial_tokens(self, messages: list[dict[str, str]], **_media: Any) -> list[int]:
        """The prompt as teachers and evaluation render it; verl's own rendering would tell templates the clock.

        Its length is ProblemDataset's to check, and there are no images.
        """
        chat = [Message(message["role"], message["content"]) for message in messages]
        return token_ids(self.tokenizer, render(self.tokenizer, chat, self._chat))

    async def run(self, sampling_params: dict[str, Any], priority: int = 0, **row: Any) -> AgentLoopOutput:
        """See SingleTurnAgentLoop.run; `row` is of ProblemDataset, with verl's global_steps and session_id."""
        own = {
            "max_tokens": int(row["max_response_tokens"]),
            "seed": seed_of(*draw_key(self.config.selfdistill.seed, row)),
        }
        # Beside what vLLM takes from generation_config.json and the tokenizer.
        if self._turn_end not in (None, self.tokenizer.eos_token_id):
            own["stop_token_ids"] = [self._turn_end]
        output = await super().run({**sampling_params, **own}, priority, **row)
        ids, ends = output.response_ids, (self._turn_end, self.tokenizer.eos_token_id)
        output.extra_fields[TRUNCATED] = len(ids) >= own["max_tokens"] and ids[-1] not in ends  # for the reward
        return output


def draw_key(seed: int, row: dict[str, Any]) -> tuple[Key, ...]:
    """The random stream of a response (randomness.generator).

    In validation it is the same at every step: curves differ by the weights, not by the draws.
    """
    session = int(row["session_id"])
    if row["purpose"] == "validation":
        return seed, "validation", str(row["extra_info"]["problem_id"]), session
    return seed, "rollout", int(row["global_steps"]), int(row["index"]), session
