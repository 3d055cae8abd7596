"""The other side of `kith launch`: decentralized SGD on a ring in PyTorch, one process an agent, over gloo on loopback.

Two styles:
  neighbours  after its local step each process sends its parameters, as one tensor, to both neighbours, receives theirs
              (batch_isend_irecv) and takes the mean of the three: what kith computes, and the same bytes
  decent-dp   the package decent-dp (PyPI) with its topology "ring": a process meets one neighbour a step, in turn, half the bytes,
              and the exchange goes on beside the backward pass

Needs: pip install torch==2.7.1 numpy, and decent-dp for its style. Prints one JSON line.
"""

import argparse
import json
import os
import resource
import socket
import statistics
import time

launched = time.time()
os.environ.update(OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="", GLOO_SOCKET_IFNAME="lo")

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--style", choices=["neighbours", "decent-dp"], default="neighbours")
parser.add_argument("--agents", type=int, default=8)
parser.add_argument("--rounds", type=int, default=300)
parser.add_argument("--warmup", type=int, default=5)
parser.add_argument("--batch", type=int, default=32)
parser.add_argument("--hidden", type=int, nargs="+", default=[256, 128])
parser.add_argument("--samples", type=int, default=8192, help="of all agents together")
parser.add_argument("--lr", type=float, default=0.01)
args = parser.parse_args()
if args.agents < 3:
    parser.error("--agents: a ring has 3 or more")


def synthetic(samples, seed):
    """Class prototypes, a latent shared by all classes, a little noise."""
    fixed, drawn = np.random.default_rng(1), np.random.default_rng(seed)
    prototypes = fixed.standard_normal((10, 784), dtype=np.float32)
    latent = fixed.standard_normal((40, 784), dtype=np.float32) / np.sqrt(40, dtype=np.float32)
    labels = drawn.integers(0, 10, samples)
    inputs = 0.1 * drawn.standard_normal((samples, 784), dtype=np.float32) + 0.25 * prototypes[labels]
    inputs += drawn.standard_normal((samples, 40), dtype=np.float32) @ latent
    return torch.from_numpy(inputs), torch.from_numpy(labels)


def module():
    sizes = [784, *args.hidden, 10]
    layers = []
    for inputs, outputs in zip(sizes[:-1], sizes[1:]):
        layers += [torch.nn.Linear(inputs, outputs, bias=False), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def neighbours(rank, model):
    """One round of the style of this name; its parameters are views of one row."""
    parameters = list(model.parameters())
    own = torch.cat([parameter.detach().flatten() for parameter in parameters])
    end = 0
    for parameter in parameters:
        parameter.data = own[end : end + parameter.numel()].view(parameter.shape)
        end += parameter.numel()
    received = [torch.empty_like(own) for _ in range(2)]
    peers = [(rank - 1) % args.agents, (rank + 1) % args.agents]
    optimiser = torch.optim.SGD(parameters, lr=args.lr)

    def one_round(inputs, labels):
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(model(inputs), labels).backward()
        optimiser.step()
        swaps = [dist.P2POp(dist.isend, own, peer) for peer in peers]
        swaps += [dist.P2POp(dist.irecv, row, peer) for row, peer in zip(received, peers)]
        for swap in dist.batch_isend_irecv(swaps):
            swap.wait()
        own.add_(received[0]).add_(received[1]).mul_(1 / 3)

    return one_round


def decent_dp(model):
    """One round of the package: it steps and exchanges in hooks of the backward pass."""
    from decent_dp.ddp import DecentralizedDataParallel

    optimiser = lambda named: torch.optim.SGD([parameter for _, parameter in named], lr=args.lr)
    wrapped = DecentralizedDataParallel(model, optim_fn=optimiser, topology="ring")

    def one_round(inputs, labels):
        loss = F.cross_entropy(wrapped(inputs), labels)
        wrapped.zero_grad()
        loss.backward()

    return one_round


def agent(rank, port, launched, results):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    ranks = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=args.agents, LOCAL_WORLD_SIZE=args.agents)
    os.environ.update({key: str(value) for key, value in ranks.items()}, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    model = module()
    inputs, labels = synthetic(args.samples // args.agents, 2 + rank)
    generator = torch.Generator().manual_seed(3 + rank)
    if args.style == "decent-dp":
        from decent_dp.utils import initialize_dist
        from loguru import logger

        logger.remove()
        initialize_dist()
        one_round = decent_dp(model)
    else:
        dist.init_process_group("gloo", rank=rank, world_size=args.agents)
        one_round = neighbours(rank, model)

    def run(rounds):
        for _ in range(rounds):
            rows = torch.randint(len(inputs), (args.batch,), generator=generator)
            one_round(inputs[rows], labels[rows])

    run(1)
    first = time.time() - launched
    run(args.warmup)
    dist.barrier()
    started, cpu = time.perf_counter(), time.process_time()
    run(args.rounds)
    dist.barrier()
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    results.put((seconds, cpu, first, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
    dist.destroy_process_group()


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn = torch.multiprocessing.get_context("spawn")
    results = spawn.Queue()
    children = [spawn.Process(target=agent, args=(rank, port, launched, results)) for rank in range(args.agents)]
    for process in children:
        process.start()
    parts = [results.get(timeout=600) for _ in children]
    for process in children:
        process.join()
    numbers = sum(parameter.numel() for parameter in module().parameters())
    print(
        json.dumps(
            {
                "system": f"pytorch-{torch.__version__}-gloo-{args.style}",
                "agents": args.agents,
                "rounds_per_second": args.rounds / max(part[0] for part in parts),
                "cpu_ms_per_round": 1e3 * sum(part[1] for part in parts) / args.rounds,
                "first_round_seconds": max(part[2] for part in parts),
                "peak_rss_bytes": statistics.median(part[3] for part in parts),
                "payload_bytes_per_agent_round": 4 * numbers * (1 if args.style == "decent-dp" else 2),
            }
        )
    )
