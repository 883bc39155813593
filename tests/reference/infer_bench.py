"""The parts of `loc3r bench infer` in PyTorch and transformers on the CPU, random weights; the vision
tower in f32, the language model in the type that is asked for.

Usage: python3 infer_bench.py CONFIG_JSON repeats
Prints one JSON object: seconds of the fastest run of each part, and the peak memory.
"""

import json
import sys
import time

import torch
from transformers import DynamicCache, Qwen2Config, Qwen2ForCausalLM, SiglipVisionConfig, SiglipVisionModel


def fastest(repeats, work):
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def peak_bytes():
    """The most memory so far; `ru_maxrss` would begin with that of the program that started this one."""
    with open("/proc/self/status") as status:
        line = next((line for line in status if line.startswith("VmHWM:")), None)
    return int(line.split()[1]) * 1024 if line else None


def vision_of(sizes):
    config = SiglipVisionConfig(
        hidden_size=sizes["hidden_size"],
        intermediate_size=sizes["intermediate_size"],
        num_hidden_layers=sizes["num_hidden_layers"],
        num_attention_heads=sizes["num_attention_heads"],
        image_size=sizes["image_size"],
        patch_size=sizes["patch_size"],
        vision_use_head=False,
    )
    return SiglipVisionModel(config).eval(), config


def language_of(sizes, dtype):
    config = Qwen2Config(
        vocab_size=sizes["vocab_size"],
        hidden_size=sizes["hidden_size"],
        intermediate_size=sizes["intermediate_size"],
        num_hidden_layers=sizes["num_hidden_layers"],
        num_attention_heads=sizes["num_attention_heads"],
        num_key_value_heads=sizes["num_key_value_heads"],
        max_position_embeddings=sizes["max_position_embeddings"],
        tie_word_embeddings=sizes["tie_word_embeddings"],
    )
    standard = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # drawn in this type: the f32 weights of 7B take 30 GB
    model = Qwen2ForCausalLM(config).eval()
    torch.set_default_dtype(standard)
    return model


@torch.no_grad()
def main():
    sizes, repeats = json.loads(sys.argv[1]), int(sys.argv[2])
    torch.manual_seed(0)
    vision, config = vision_of(sizes["vision"])
    pixels = torch.randn(sizes["chunk"], 3, config.image_size, config.image_size)
    chunks = -(-sizes["frames"] // sizes["chunk"])

    def look():
        for _ in range(chunks):
            vision(pixels)

    seconds = {"vision": fastest(repeats, look)}
    del vision
    dtype = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[sizes["numbers"]]
    language = language_of(sizes["language"], dtype)
    width = sizes["language"]["hidden_size"]
    embeds = torch.randn(1, sizes["prefix"], width, dtype=dtype)
    kept = []

    def prefill():
        cache = DynamicCache()
        for start in range(0, sizes["prefix"], sizes["prefill_chunk"]):
            rows = embeds[:, start : start + sizes["prefill_chunk"]]
            language.model(inputs_embeds=rows, past_key_values=cache, use_cache=True)
        kept[:] = [cache]

    seconds["prefill"] = fastest(repeats, prefill)
    cache = kept[0]
    question = torch.randn(1, sizes["question"], width, dtype=dtype)

    def follow_up():
        language.model(inputs_embeds=question, past_key_values=cache, use_cache=True)
        cache.crop(sizes["prefix"] - cache.get_seq_length())

    seconds["follow_up"] = fastest(repeats, follow_up)

    def decode():
        token = torch.tensor([[1]])
        for _ in range(sizes["answer"]):
            output = language(input_ids=token, past_key_values=cache, use_cache=True, logits_to_keep=1)
            token = output.logits.argmax(-1)
        cache.crop(sizes["prefix"] - cache.get_seq_length())

    seconds["decode"] = fastest(repeats, decode)
    print(
        json.dumps(
            {
                "version": torch.__version__,
                "seconds": seconds,
                "peak_bytes": peak_bytes(),
            }
        )
    )


main()
