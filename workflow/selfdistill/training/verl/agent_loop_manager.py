"""Manages verl's agent loops for prompts with pictures (rollout.agent.agent_loop_manager_class)."""

from typing import Any

import ray
import torch
from torch import Tensor
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopManagerTQ, AgentLoopWorkerTQ


class _Worker(AgentLoopWorkerTQ.__ray_metadata__.modified_class):
    """verl's own, but for what it stores: not the pixels of a prompt with each of its rollouts.

    Of a picture of a million pixels these are 25 MB, eight times over; our engine reads a picture from its file, once
    (picture_inputs), and makes positions by itself.
    """

    def _compute_multi_modal_inputs(self, output: Any, input_ids: Tensor) -> dict[str, Tensor]:
        return {}

    def _compute_position_ids(self, input_ids: Tensor, attention_mask: Tensor, *_: Any, **__: Any) -> Tensor:
        return (attention_mask.cumsum(dim=-1) - 1).clamp(min=0).to(torch.int64)


class PictureAgentLoopManager(AgentLoopManagerTQ):
    """verl's manager with these workers."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.agent_loop_workers_class = ray.remote(_Worker)
