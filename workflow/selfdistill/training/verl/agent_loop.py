"""One response to one prompt, by verl's agent loop."""

from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopOutput
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop

from selfdistill.randomness import Key, seed_of


class SingleTurn(SingleTurnAgentLoop):
    """verl's single turn with the row's own limit and a seed of its own for every response.

    A run that goes on after an interruption, or is repeated, so draws the same responses from the same weights,
    whatever else shares its batches (up to rounding, which depends on them). agent_loops.yaml names this class to verl.
    """

    async def run(self, sampling_params: dict[str, Any], priority: int = 0, **row: Any) -> AgentLoopOutput:
        """See SingleTurnAgentLoop.run; `row` is of ProblemDataset, with verl's global_steps and session_id."""
        own = {
            "max_tokens": int(row["max_response_tokens"]),
            "seed": seed_of(*draw_key(self.config.selfdistill.seed, row)),
        }
        return await super().run({**sampling_params, **own}, priority, **row)


def draw_key(seed: int, row: dict[str, Any]) -> tuple[Key, ...]:
    """The random stream of a response (randomness.generator).

    In validation it is the same at every step: curves differ by the weights, not by the draws.
    """
    session = int(row["session_id"])
    if row["purpose"] == "validation":
        return seed, "validation", str(row["extra_info"]["problem_id"]), session
    return seed, "rollout", int(row["global_steps"]), int(row["index"]), session
