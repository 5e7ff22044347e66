"""Reload a Llama with tied embeddings in vLLM on a CPU, and print how far its log-probs then are from transformers'.

Run by test_tied_weights.py in a process of its own: vLLM keeps what it once started. python tied_llama.py FOLDER
"""

import json
import os
import sys

os.environ.update(VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_CPU_KVCACHE_SPACE="1", VLLM_CPU_OMP_THREADS_BIND="nobind")

import torch
from transformers import LlamaConfig, LlamaForCausalLM

import selfdistill.training.verl.cpu  # noqa: F401  (vLLM's name, before vLLM)

PROMPT = list(range(10, 40))
SIZES = {"vocab_size": 512, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32}


def main(folder: str) -> None:
    from vllm import LLM, SamplingParams

    from selfdistill.training.verl.vllm_cpu import tie_again

    torch.manual_seed(0)
    config = LlamaConfig(**SIZES, **HEADS, tie_word_embeddings=True, initializer_range=0.2)
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(folder)
    engine = LLM(folder, skip_tokenizer_init=True, dtype="float32", enforce_eager=True, max_model_len=128)
    runner = engine.llm_engine.model_executor.driver_worker.worker.model_runner

    @torch.no_grad()
    def gap() -> float:
        sampling = SamplingParams(max_tokens=8, temperature=1.0, logprobs=0, seed=1, detokenize=False)
        (output,) = engine.generate([{"prompt_token_ids": PROMPT}], sampling)[0].outputs
        logits = model(torch.tensor([[*PROMPT, *output.token_ids]])).logits[0, len(PROMPT) - 1 : -1]
        expected = logits.log_softmax(-1)
        drawn = enumerate(zip(output.token_ids, output.logprobs, strict=True))
        return max(abs(float(expected[i, token]) - said[token].logprob) for i, (token, said) in drawn)

    gaps = {"loaded": gap()}
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(torch.randn_like(weights) * 0.02)
    runner.reload_weights(weights_iterator=((name, w.detach().clone()) for name, w in model.named_parameters()))
    gaps["reloaded"] = gap()
    tie_again(runner.get_model())
    gaps["tied again"] = gap()
    print(json.dumps(gaps))


if __name__ == "__main__":
    main(sys.argv[1])
