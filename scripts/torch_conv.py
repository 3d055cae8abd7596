"""Prints how many minibatch updates PyTorch does a second on one thread: LeNet-5 and the AlexNet of gradient projection memory,
the same shapes as `cargo run --release -p kith-engine --example steps`.

Run with any Python that has PyTorch 2: python scripts/torch_conv.py [SECONDS]
"""

import sys
import time

import torch
from torch import nn

torch.set_num_threads(1)
SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0


def lenet():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))


def alexnet():
    layers = []
    for a, b, kernel, rate in ((3, 64, 4, 0.2), (64, 128, 3, 0.2), (128, 256, 2, 0.5)):
        layers += [nn.Conv2d(a, b, kernel, bias=False), nn.BatchNorm2d(b, track_running_stats=False), nn.ReLU(),
                   nn.Dropout(rate), nn.MaxPool2d(2)]
    layers.append(nn.Flatten())
    for a in (1024, 2048):
        layers += [nn.Linear(a, 2048, bias=False), nn.BatchNorm1d(2048, track_running_stats=False), nn.ReLU(),
                   nn.Dropout(0.5)]
    return nn.Sequential(*layers, nn.Linear(2048, 10, bias=False))


def rate(model, shape, batch):
    x, y = torch.rand(batch, *shape), torch.arange(batch) % 10
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    loss = nn.CrossEntropyLoss()
    steps, started, warm = 0, time.perf_counter(), False
    while True:
        optimiser.zero_grad()
        loss(model(x), y).backward()
        optimiser.step()
        steps += 1
        elapsed = time.perf_counter() - started
        if not warm and elapsed > 0.2 * SECONDS:
            steps, started, used, warm = 0, time.perf_counter(), time.process_time(), True
        elif warm and elapsed > SECONDS:
            return steps / elapsed, steps / (time.process_time() - used)


print("   clock      cpu  steps per second")
for name, make, shape in (("LeNet-5 28 x 28", lenet, (1, 28, 28)), ("AlexNet-GPM 32 x 32", alexnet, (3, 32, 32))):
    for batch in (10, 32, 128):
        clock, processor = rate(make(), shape, batch)
        print(f"{clock:8.1f} {processor:8.1f}  {name}, batch {batch}")
