"""Computes stored results of the PyTorch reference anew with public packages.

Usage: python3 regenerate.py FIXTURES [OUT]
Needs torch, transformers, numpy, pillow and safetensors.

Reads weights and inputs of the fixtures in FIXTURES (`siglip`, `qwen2_tied`, `qwen2_untied`,
`llava_video`, `preprocess`), runs SiglipVisionModel, Qwen2ForCausalLM, the projector and the
poolings of LLaVA-Video and Pillow's resampling on them, and prints by how much the results differ
from the stored ones. With OUT the fixtures are written there with the new results in place of the
old ones: `loc3r parity OUT` then compares this program with the installed packages. CUT3R and the
assembly of the LLaVA sequence are left out: no package has them.
Exit code 1 when a result is beyond the tolerance of its fixture.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import DynamicCache, Qwen2Config, Qwen2ForCausalLM, SiglipVisionConfig, SiglipVisionModel


def strict_load(module, weights, prefix=""):
    names = module.state_dict().keys()
    state = {}
    for name in names:
        # Newer releases of transformers drop the inner module name.
        for candidate in (name, prefix + name):
            if candidate in weights:
                state[name] = weights[candidate]
    missing = set(names) - set(state) - {"lm_head.weight"}
    assert not missing, f"no weights for {sorted(missing)}"
    module.load_state_dict(state, strict=False)
    return module.eval()


def siglip(fixture):
    config = SiglipVisionConfig(**fixture.facts["config"], attn_implementation="eager")
    model = strict_load(SiglipVisionModel(config), fixture.weights, "vision_model.")
    found = model(fixture.stored["pixel_values"], output_hidden_states=True)
    results = {f"hidden_states.{k}": rows for k, rows in enumerate(found.hidden_states)}
    results["selected"] = found.hidden_states[-2]
    results["last_hidden_state"] = found.last_hidden_state
    results["pooler_output"] = found.pooler_output
    return results


def qwen2(fixture):
    sizes = fixture.facts["config"]
    keys = ["hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"]
    keys += ["intermediate_size", "vocab_size", "rms_norm_eps", "tie_word_embeddings"]
    keys += ["hidden_act", "max_position_embeddings"]
    config = Qwen2Config(**{key: sizes[key] for key in keys}, attn_implementation="eager")
    config.rope_theta = sizes["rope_theta"]
    if getattr(config, "rope_parameters", None):
        config.rope_parameters["rope_theta"] = sizes["rope_theta"]
    model = strict_load(Qwen2ForCausalLM(config), fixture.weights)
    if sizes["tie_word_embeddings"]:
        model.tie_weights()
    ids, embeds = fixture.stored["input_ids"], fixture.stored["inputs_embeds"]
    results = {}
    for name, given in (("ids", {"input_ids": ids}), ("embeds", {"inputs_embeds": embeds})):
        found = model(**given, output_hidden_states=True)
        results[f"{name}.logits"] = found.logits
        results[f"{name}.last_hidden"] = found.hidden_states[-1]
        if name == "ids":
            results["ids.layer0_out"], results["ids.layer1_out"] = found.hidden_states[1:3]
    split, cache = fixture.facts["split_prefix_len"], DynamicCache()
    results["split.prefix_logits"] = model(ids[:, :split], past_key_values=cache).logits
    results["split.suffix_logits"] = model(ids[:, split:], past_key_values=cache).logits
    return results


def llava_video(fixture):
    weights = {name.removeprefix("model."): tensor for name, tensor in fixture.weights.items()}
    features = fixture.stored["vision_features"]
    layer = lambda x, k: F.linear(x, weights[f"mm_projector.{k}.weight"], weights[f"mm_projector.{k}.bias"])
    projected = layer(F.gelu(layer(features, 0)), 2)
    frames, patches, width = projected.shape
    side = int(patches**0.5)
    grid = projected.view(frames, side, side, width).permute(0, 3, 1, 2)
    half = -(-side // 2)
    pooled = {
        "bilinear": F.interpolate(grid, size=(half, half), mode="bilinear"),
        "average": F.avg_pool2d(grid, 2),
        "max": F.max_pool2d(grid, 2),
    }
    results = {f"{mode}.pooled": rows.flatten(2).transpose(1, 2) for mode, rows in pooled.items()}
    return {"projected": projected, **results}


def preprocess(fixture):
    """The siglip rule: Pillow's bicubic resize to a square, then levels to [-1, 1]."""
    results = {}
    for picture in sorted(fixture.folder.glob("preprocess.image?.png")):
        name = picture.name.split(".")[1]
        resized = Image.open(picture).convert("RGB").resize((384, 384), Image.Resampling.BICUBIC)
        levels = np.asarray(resized)
        kept = fixture.folder / f"preprocess.siglip.{name}.resized_u8.png"
        if kept.exists():
            same = np.array_equal(levels, np.asarray(Image.open(kept).convert("RGB")))
            fixture.report(f"siglip.{name}.resized_u8", 0.0 if same else 255.0, 0.0)
        values = (levels.astype(np.float64) * (1 / 255)).astype(np.float32)
        values = ((values - np.float32(0.5)) / np.float32(0.5)).transpose(2, 0, 1)
        results[f"siglip.{name}.pixel_values_crop"] = torch.from_numpy(values[:, 0:24, 160:184].copy())
    return results


class Fixture:
    def __init__(self, folder, name, tensors):
        self.folder, self.name, self.tensors = folder, name, folder / tensors
        self.facts = json.loads((folder / f"{name}.json").read_text())
        self.stored = load_file(self.tensors)
        weights = folder / f"{name}.weights.safetensors"
        self.weights = load_file(weights) if weights.exists() else {}
        tolerance = self.facts["tolerance"]
        self.tolerance = tolerance.get("suggested_atol", tolerance.get("floats"))
        self.failed = False

    def report(self, tensor, difference, tolerance):
        verdict = "" if difference <= tolerance else "   BEYOND THE TOLERANCE"
        self.failed |= bool(verdict)
        print(f"{self.name:<14} {tensor:<32} {difference:.3e} of {tolerance:.1e}{verdict}")

    def compare(self, results):
        for tensor, result in results.items():
            if tensor in self.stored:
                stored = self.stored[tensor]
                assert stored.shape == result.shape, f"{tensor}: {stored.shape} is stored, not {result.shape}"
                self.report(tensor, (stored.double() - result.double()).abs().max().item(), self.tolerance)

    def write(self, folder, results):
        folder.mkdir(parents=True, exist_ok=True)
        for file in self.folder.glob(f"{self.name}.*"):
            shutil.copy(file, folder / file.name)
        renewed = {name: results.get(name, tensor).contiguous().clone() for name, tensor in self.stored.items()}
        save_file(renewed, folder / self.tensors.name)


FIXTURES = [
    ("siglip", "siglip.io.safetensors", siglip),
    ("qwen2_tied", "qwen2_tied.io.safetensors", qwen2),
    ("qwen2_untied", "qwen2_untied.io.safetensors", qwen2),
    ("llava_video", "llava_video.io.safetensors", llava_video),
    ("preprocess", "preprocess.siglip.safetensors", preprocess),
]


@torch.no_grad()
def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    folder, failed = Path(sys.argv[1]), False
    for name, tensors, compute in FIXTURES:
        fixture = Fixture(folder, name, tensors)
        results = compute(fixture)
        fixture.compare(results)
        failed |= fixture.failed
        if len(sys.argv) == 3:
            fixture.write(Path(sys.argv[2]), results)
    sys.exit(failed)


main()
