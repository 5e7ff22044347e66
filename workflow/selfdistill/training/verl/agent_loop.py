"""Draws one response to one prompt, by verl's agent loop."""

from pathlib import Path
from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopOutput
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop

from selfdistill.models.chat import ChatSettings, encode_messages, render, turn_end
from selfdistill.models.loading import load_config
from selfdistill.models.pictures import PictureReader, picture_reader
from selfdistill.models.tokenizer_check import token_ids
from selfdistill.randomness import Key, seed_of
from selfdistill.scoring.pictures import banned_ids
from selfdistill.tasks.pictures import Picture
from selfdistill.tasks.prompts import Message
from selfdistill.training.verl.dataset import plain_messages
from selfdistill.training.verl.reward import TRUNCATED

#: A bias of a logit under which vLLM draws an id never.
_NEVER = -100.0


class SingleTurn(SingleTurnAgentLoop):
    """verl's single turn with the prompts of this library, the row's own limit and a seed for every response.

    A run that goes on after an interruption, or is repeated, so draws the same responses from the same weights,
    whatever else shares its batches (up to rounding, which depends on them). agent_loops.yaml names this class to verl.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._chat = ChatSettings(**(self.config.selfdistill.get("chat") or {}))
        self._turn_end = turn_end(self.tokenizer, self._chat)
        self._reader: PictureReader | None = None
        self._never: tuple[int, ...] = ()

    async def process_multi_modal_info(self, messages: list[dict[str, Any]]) -> dict[str, Any]:
        """The pictures of a prompt in the size in which the trainer sees them, which leaves vLLM nothing to resize."""
        pictures = [picture for message in messages for picture in _pictures(message)]
        if not pictures:
            return {}
        reader = self._reads_pictures()
        resized = [reader.resized(picture) for picture in pictures]
        return {"images": resized}

    def _get_mm_processor_kwargs(self, audio_data: list[Any] | None = None) -> dict[str, Any]:
        """Returns what vLLM's processor is told: the run's bounds of pixels, beside data.mm_processor_kwargs."""
        told = super()._get_mm_processor_kwargs(audio_data)
        if self._reader is None:
            return told
        least, most = self._reader.bounds
        return {"min_pixels": least, "max_pixels": most} | told

    async def ct_build_initial_tokens(self, messages: list[dict[str, Any]], **_media: Any) -> list[int]:
        """Return the prompt as teachers and evaluation render it; verl's own rendering would tell templates the clock.

        Its length is ProblemDataset's to check. A picture has all its tokens; verl gives vLLM one of them.
        """
        chat = [Message(*each) for each in plain_messages(messages)]
        pictures = [picture for message in messages for picture in _pictures(message)]
        if pictures:
            return list(encode_messages(self.tokenizer, chat, self._chat, self._reads_pictures().of(pictures)))
        return token_ids(self.tokenizer, render(self.tokenizer, chat, self._chat))

    def _reads_pictures(self) -> PictureReader:
        if self._reader is None:
            folder = Path(self.tokenizer.name_or_path)
            config = load_config(folder)
            self._reader, self._never = picture_reader(folder, config, self._chat), banned_ids(config)
        return self._reader

    async def run(self, sampling_params: dict[str, Any], priority: int = 0, **row: Any) -> AgentLoopOutput:
        """See SingleTurnAgentLoop.run; `row` is of ProblemDataset, with verl's global_steps and session_id."""
        own = {
            "max_tokens": int(row["max_response_tokens"]),
            "seed": seed_of(*draw_key(self.config.selfdistill.seed, row)),
        }
        # Beside what vLLM takes from generation_config.json and the tokenizer.
        if self._turn_end not in (None, self.tokenizer.eos_token_id):
            own["stop_token_ids"] = [self._turn_end]
        if row["extra_info"].get("images"):
            self._reads_pictures()
            own["logit_bias"] = dict.fromkeys(self._never, _NEVER)
        output = await super().run({**sampling_params, **own}, priority, **row)
        output.multi_modal_data = {}  # pixels of a prompt are not stored with each of its rollouts
        ids, ends = output.response_ids, (self._turn_end, self.tokenizer.eos_token_id)
        output.extra_fields[TRUNCATED] = len(ids) >= own["max_tokens"] and ids[-1] not in ends  # for the reward
        return output


def _pictures(message: dict[str, Any]) -> list[Picture]:
    content = message["content"]
    parts = [] if isinstance(content, str) else content
    return [Picture.at(part["image"]) for part in parts if part["type"] == "image"]


def draw_key(seed: int, row: dict[str, Any]) -> tuple[Key, ...]:
    """Return the random stream of a response (randomness.generator).

    In validation it is the same at every step: curves differ by the weights, not by the draws.
    """
    session = int(row["session_id"])
    if row["purpose"] == "validation":
        return seed, "validation", str(row["extra_info"]["problem_id"]), session
    return seed, "rollout", int(row["global_steps"]), int(row["index"]), session
