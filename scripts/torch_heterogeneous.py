"""The run of experiments/heterogeneous-fashion.toml in PyTorch, written from the published rules and not from kith: what level do
an agent's own model and the average model reach, and how much of it is the draw of the shards?

Run with any Python that has PyTorch 2 and the IDX files of Fashion-MNIST:
    python scripts/torch_heterogeneous.py FOLDER --alpha 0.01 --seed 1 --method d-psgd
"""

import argparse
import gzip
import pathlib

import numpy
import torch
from torch.nn.functional import cross_entropy

AGENTS, GROUP, BATCH, EPOCHS, CLASSES = 16, 10, 32, 8, 10
SIZES = (784, 100, 100, CLASSES)


def idx(path, header):
    return numpy.frombuffer(gzip.open(path).read(), numpy.uint8, offset=header)


def shards(labels, alpha, draw):
    """Lin et al. 2021: groups of at most ten agents, capped Dirichlet proportions a class, cut into equal parts."""
    order, joined, start = draw.permutation(len(labels)), [], 0
    for first in range(0, AGENTS, GROUP):
        members = min(GROUP, AGENTS - first)
        samples = order[start : start + len(labels) * members // AGENTS]
        start += len(samples)
        equal = len(samples) / members
        while True:
            held = [[] for _ in range(members)]
            for label in range(CLASSES):
                share = draw.dirichlet([alpha] * members) * [len(part) < equal for part in held]
                if not share.sum() > 0:
                    break
                of_class = samples[labels[samples] == label]
                cuts = (numpy.cumsum(share / share.sum()) * len(of_class)).astype(int)[:-1]
                for part, more in zip(held, numpy.split(of_class, cuts)):
                    part.extend(more)
            if min(map(len, held)) >= equal / 2:
                break
        joined += [sample for part in held for sample in draw.permutation(part)]
    size = len(joined) // AGENTS
    return [numpy.array(joined[agent * size : (agent + 1) * size]) for agent in range(AGENTS)]


def forward(rows, x):
    for layer in (0, 2):
        x = torch.relu(torch.baddbmm(rows[layer + 1].unsqueeze(1), x, rows[layer]))
    return torch.baddbmm(rows[5].unsqueeze(1), x, rows[4])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--alpha", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--method", choices=("d-psgd", "dsgdm-n", "qg-dsgdm-n"), default="d-psgd")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(asked.seed)
    draw = numpy.random.RandomState(asked.seed)

    def images(name):
        pixels = idx(asked.folder / f"{name}-images-idx3-ubyte.gz", 16).reshape(-1, SIZES[0])
        return (torch.tensor(pixels).float() / 255 - 0.2860) / 0.3530

    def labels(name):
        return idx(asked.folder / f"{name}-labels-idx1-ubyte.gz", 8).astype(int)

    x, y, x_test, y_test = images("train"), labels("train"), images("t10k"), torch.tensor(labels("t10k"))
    parts, y = shards(y, asked.alpha, draw), torch.tensor(y)

    layers = [torch.nn.Linear(a, b) for a, b in zip(SIZES, SIZES[1:])]
    start = [tensor.data for layer in layers for tensor in (layer.weight.t(), layer.bias)]
    rows = [tensor.repeat(AGENTS, *[1] * tensor.dim()).requires_grad_() for tensor in start]
    momenta = [torch.zeros_like(row) for row in rows]
    ring = torch.eye(AGENTS) / 3
    ring = ring + ring.roll(1, 0) + ring.roll(-1, 0)
    beta, base = (0.0, 0.1) if asked.method == "d-psgd" else (0.9, 0.05)

    for epoch in range(EPOCHS):
        rate = base * 0.1 ** ((epoch >= EPOCHS / 2) + (epoch >= EPOCHS * 3 / 4))
        orders = numpy.stack([draw.permutation(part) for part in parts])
        for step in range(orders.shape[1] // BATCH):
            batch = torch.tensor(orders[:, step * BATCH : (step + 1) * BATCH])
            scores = forward(rows, x[batch])
            loss = cross_entropy(scores.reshape(-1, CLASSES), y[batch].reshape(-1), reduction="sum") / BATCH
            with torch.no_grad():
                for row, gradient, momentum in zip(rows, torch.autograd.grad(loss, rows), momenta):
                    before = row.clone()
                    heavy = beta * momentum + gradient
                    row -= rate * (gradient + beta * heavy)
                    row.copy_((ring @ row.reshape(AGENTS, -1)).view_as(row))
                    if asked.method == "qg-dsgdm-n":
                        heavy = beta * momentum + (1 - beta) * (before - row) / rate
                    momentum.copy_(heavy)

    with torch.no_grad():
        accuracy = lambda rows: (forward(rows, x_test[None])[0].argmax(-1) == y_test).float().mean().item()
        own = numpy.mean([accuracy([row[agent : agent + 1] for row in rows]) for agent in range(AGENTS)])
        average = accuracy([row.mean(0, keepdim=True) for row in rows])
    print(f"{asked.method} alpha {asked.alpha} seed {asked.seed}: average model {average:.4f}, own models {own:.4f}")


if __name__ == "__main__":
    main()
