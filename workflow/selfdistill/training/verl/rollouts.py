"""Waits for verl's rollouts, and gives up with a reason where none come."""

import time
from typing import Any

from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

from selfdistill.errors import UserError

_POLL_SECONDS = 0.2


class ImpatientBuffer(ReplayBuffer):
    """verl's synchronous buffer with an end to its patience."""

    def __init__(self, stall_seconds: float):
        """stall_seconds: without any finished prompt, the run is given up."""
        super().__init__(
            trainer_mode="sync",
            trainer_config={},
            max_off_policy_threshold=None,
            max_off_policy_strategy="drop",
            sampler_kwargs={},
            poll_interval=_POLL_SECONDS,
            refill_fn=_refuse_to_replace,
        )
        self._stall_seconds = stall_seconds
        self._finished, self._moved = -1, 0.0

    def sample(self, *args: Any, **kwargs: Any) -> Any:
        """Samples as verl does. Raises UserError where responses failed, or nothing moved for too long."""
        self._finished, self._moved = -1, time.monotonic()
        try:
            return super().sample(*args, **kwargs)
        except RuntimeError as error:  # verl's, where not one response came
            reason = str(error).partition(". ")[0]
            raise UserError(
                f"no response could be drawn ({reason}); the cause is in the log above, at 'Error in _run_prompt'"
            ) from error

    def _wait_for_next_poll(self, partition_id: str, last_debug_time: float) -> float:
        finished = len(self.finished_keys[partition_id]) + len(self.failure_keys[partition_id])
        if finished != self._finished:
            self._finished, self._moved = finished, time.monotonic()
        if time.monotonic() - self._moved > self._stall_seconds:
            raise UserError(
                f"no prompt was finished for {self._stall_seconds:.0f} s (selfdistill.stall_seconds): the rollout "
                "engine hangs, or responses take longer than that; see the last message of vLLM in the log"
            )
        return super()._wait_for_next_poll(partition_id, last_debug_time)


def _refuse_to_replace(prompts: int) -> None:
    """Other prompts in place of failed ones would change what a step is made of."""
    raise UserError(
        f"responses to {prompts} prompts could not be drawn; the cause is in the log above, at 'Error in _run_prompt'"
    )
