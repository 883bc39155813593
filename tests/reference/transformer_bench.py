"""The blocks of `loc3r bench forward|train` in PyTorch on the CPU.

Usage: python3 transformer_bench.py batch tokens width heads blocks repeats
Prints one JSON object: seconds of the fastest forward pass and training step.
"""

import json
import sys
import time

import torch
import torch.nn.functional as F


class Block(torch.nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1 = torch.nn.LayerNorm(width)
        self.qkv = torch.nn.Linear(width, 3 * width)
        self.out = torch.nn.Linear(width, width)
        self.norm2 = torch.nn.LayerNorm(width)
        self.up = torch.nn.Linear(width, 4 * width)
        self.down = torch.nn.Linear(4 * width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


def fastest(repeats, work):
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main():
    batch, tokens, width, heads, blocks, repeats = map(int, sys.argv[1:7])
    torch.manual_seed(0)
    model = torch.nn.Sequential(*(Block(width, heads) for _ in range(blocks)))
    x = torch.randn(batch, tokens, width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def forward():
        with torch.no_grad():
            model(x)

    def train():
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    result = {
        "version": torch.__version__,
        "threads": torch.get_num_threads(),
        "forward": fastest(repeats, forward),
        "train": fastest(repeats, train),
    }
    print(json.dumps(result))


main()
