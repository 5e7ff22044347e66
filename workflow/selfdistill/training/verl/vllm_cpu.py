"""Loads new weights into vLLM on a CPU."""

import torch
from verl.workers.rollout.vllm_rollout.bucketed_weight_transfer import BucketedWeightReceiver
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding


class CpuWorkerExtension(vLLMColocateWorkerExtension):
    """Holds what verl adds to vLLM's workers, for vLLM on a CPU (rollout.engine_kwargs.vllm.worker_extension_cls).

    Faults of vLLM 0.27.1: linear layers on a CPU repack their weights after loading and drop `weight`, so that verl's
    `model.load_weights` finds nothing to load into. Its own `reload_weights` restores the layers first, but leaves an
    output layer that shares the embedding's weights and is a layer of its own (Llama's, not Qwen3's) with the old ones.
    """

    def update_weights_from_ipc(
        self, peft_config: dict | None = None, base_sync_done: bool = False, use_shm: bool = True
    ) -> None:
        """Take all weights from the trainer, then load them.

        The signature is verl's; on a CPU weights come through shared memory whatever `use_shm` says. Raises
        NotImplementedError for LoRA adapters.
        """
        if peft_config:
            raise NotImplementedError("LoRA adapters cannot be sent to vLLM on a CPU; train all weights")
        weights: list[tuple[str, torch.Tensor]] = []

        def keep(bucket: list[tuple[str, torch.Tensor]], is_last: bool) -> None:
            weights.extend((name, tensor.clone()) for name, tensor in bucket)  # the bucket's memory is used again

        receiver = BucketedWeightReceiver(self._get_zmq_handle(), torch.device("cpu"), use_shm=True)
        receiver.receive_weights(on_bucket_received=keep)
        self.model_runner.reload_weights(weights_iterator=iter(weights))
        if self.model_runner.model_config.hf_config.get_text_config().tie_word_embeddings:
            tie_again(self.model_runner.get_model())


def tie_again(model: torch.nn.Module) -> None:
    """Give output layers the weights of the embedding that they share; for a vLLM model whose weights are tied."""
    tables = [layer for layer in model.modules() if isinstance(layer, VocabParallelEmbedding)]
    heads = [layer for layer in tables if isinstance(layer, ParallelLMHead)]
    if heads:
        (embedding,) = (layer for layer in tables if layer not in heads)
        for head in heads:
            head.tie_weights(embedding)
            head.quant_method.process_weights_after_loading(head)
