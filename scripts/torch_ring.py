"""The other side of kith's ring benchmark: decentralized SGD on a ring in PyTorch, on one process.

Two styles, the same numbers:
  loop  one torch.nn module an agent, the loop that most people write
  flat  all agents' parameters as rows of one matrix, gradients applied in place, gossip as whole-row sums;
        with --processes 2 the rows are in shared memory and each process has half of them

Needs: pip install torch==2.7.1 numpy. Prints one JSON line.
"""

import argparse
import json
import os
import resource
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torch.nn.functional as F

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--style", choices=["loop", "flat"], default="loop")
parser.add_argument("--agents", type=int, default=64)
parser.add_argument("--rounds", type=int, default=50)
parser.add_argument("--warmup", type=int, default=3)
parser.add_argument("--batch", type=int, default=10)
parser.add_argument("--local-steps", type=int, default=1)
parser.add_argument("--hidden", type=int, nargs="+", default=[100, 100])
parser.add_argument("--bias", action="store_true")
parser.add_argument("--samples", type=int, default=60_000)
parser.add_argument("--lr", type=float, default=0.05)
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--processes", type=int, default=1, help="of style flat")
args = parser.parse_args()
if args.processes > 1 and args.style != "flat":
    parser.error("only the style flat runs in several processes")

torch.set_num_threads(args.threads)
torch.manual_seed(0)
sizes = [784, *args.hidden, 10]


def synthetic(samples):
    """Class prototypes, a latent shared by all classes, a little noise."""
    fixed, drawn = np.random.default_rng(1), np.random.default_rng(2)
    prototypes = fixed.standard_normal((10, 784), dtype=np.float32)
    latent = fixed.standard_normal((40, 784), dtype=np.float32) / np.sqrt(40, dtype=np.float32)
    labels = drawn.integers(0, 10, samples)
    inputs = np.empty((samples, 784), np.float32)
    for start in range(0, samples, 1000):
        rows = slice(start, min(samples, start + 1000))
        count = inputs[rows].shape[0]
        inputs[rows] = 0.1 * drawn.standard_normal((count, 784), dtype=np.float32)
        inputs[rows] += 0.25 * prototypes[labels[rows]]
        inputs[rows] += drawn.standard_normal((count, 40), dtype=np.float32) @ latent
    return torch.from_numpy(inputs), torch.from_numpy(labels)


X, Y = synthetic(args.samples)
order = torch.randperm(args.samples, generator=torch.Generator().manual_seed(3))
shards = order[: args.samples // args.agents * args.agents].view(args.agents, -1)
generator = torch.Generator().manual_seed(4)
own_agents = range(args.agents)


def meet():
    """Waits for the other processes."""


def batch(agent):
    shard = shards[agent]
    rows = shard[torch.randint(len(shard), (args.batch,), generator=generator)]
    return X[rows], Y[rows]


def module():
    layers = []
    for inputs, outputs in zip(sizes[:-1], sizes[1:]):
        layers += [torch.nn.Linear(inputs, outputs, bias=args.bias), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


first = module()

if args.style == "loop":
    models = []
    for _ in range(args.agents):
        model = module()
        model.load_state_dict(first.state_dict())
        models.append(model)
    optimisers = [torch.optim.SGD(model.parameters(), lr=args.lr) for model in models]
    parameters = [list(model.parameters()) for model in models]

    def one_round():
        for agent, (model, optimiser) in enumerate(zip(models, optimisers)):
            for _ in range(args.local_steps):
                inputs, labels = batch(agent)
                optimiser.zero_grad(set_to_none=True)
                F.cross_entropy(model(inputs), labels).backward()
                optimiser.step()
        with torch.no_grad():
            for k in range(len(parameters[0])):
                old = [own[k].clone() for own in parameters]
                for i in range(args.agents):
                    parameters[i][k].copy_((old[i] + old[i - 1] + old[(i + 1) % args.agents]) / 3)

else:
    shapes = [parameter.shape for parameter in first.parameters()]
    ends = np.cumsum([0] + [shape.numel() for shape in shapes])
    row = torch.cat([parameter.detach().flatten() for parameter in first.parameters()])
    blocks = [row.expand(args.agents, len(row)).clone(), torch.empty(args.agents, len(row))]
    if args.processes > 1:
        for tensor in (*blocks, X, Y):
            tensor.share_memory_()

    def views(row):
        return [row[ends[k] : ends[k + 1]].view(shape).requires_grad_() for k, shape in enumerate(shapes)]

    rows = [[views(block[agent]) for agent in range(args.agents)] for block in blocks]
    stride = 2 if args.bias else 1
    turn = 0

    def one_round():
        global turn
        source, target = blocks[turn], blocks[1 - turn]
        for agent in own_agents:
            own = rows[turn][agent]
            for _ in range(args.local_steps):
                hidden, labels = batch(agent)
                for k in range(0, len(own), stride):
                    hidden = F.linear(hidden, own[k], own[k + 1] if args.bias else None)
                    if k + stride < len(own):
                        hidden = hidden.relu_()
                gradients = torch.autograd.grad(F.cross_entropy(hidden, labels), own)
                with torch.no_grad():
                    torch._foreach_add_(own, gradients, alpha=-args.lr)
        meet()
        with torch.no_grad():
            for i in own_agents:
                torch.add(source[i - 1], source[i], out=target[i])
                target[i].add_(source[(i + 1) % args.agents]).mul_(1 / 3)
        meet()
        turn = 1 - turn


def measure():
    """Seconds by the clock and on the processor that the rounds take this process, and its peak memory in bytes."""
    for _ in range(args.warmup):
        one_round()
    started, cpu = time.perf_counter(), time.process_time()
    for _ in range(args.rounds):
        one_round()
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return seconds, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def child(rank, barrier, results):
    global own_agents, meet
    torch.set_num_threads(1)
    generator.manual_seed(4 + rank)
    own_agents = range(rank * args.agents // args.processes, (rank + 1) * args.agents // args.processes)
    meet = barrier.wait
    results.put(measure())


if args.processes == 1:
    parts = [measure()]
else:
    fork = torch.multiprocessing.get_context("fork")
    barrier, results = fork.Barrier(args.processes), fork.Queue()
    children = [fork.Process(target=child, args=(rank, barrier, results)) for rank in range(args.processes)]
    for process in children:
        process.start()
    parts = [results.get() for _ in children]
    for process in children:
        process.join()
steps = args.rounds * args.agents * args.local_steps
print(
    json.dumps(
        {
            "system": f"pytorch-{torch.__version__}-{args.style}",
            "agents": args.agents,
            "agent_steps_per_second": steps / max(part[0] for part in parts),
            "agent_steps_per_cpu_second": steps / sum(part[1] for part in parts),
            # Of several processes: the largest, since what they share counts in each.
            "peak_rss_bytes": max(part[2] for part in parts),
        }
    )
)
