"""Runs both sides of the engine's benchmarks in turn on one thread and prints medians and ratios.

  python scripts/bench_engine.py                       everything
  python scripts/bench_engine.py --parts memory        one part: convolutions, memory or product

convolutions  LeNet-5 and the AlexNet of gradient projection memory, minibatch updates a second beside PyTorch (torch_conv.py)
memory        one layer's memory update, three tasks one after the other, beside NumPy: a singular value decomposition of what the memory
              does not hold, LAPACK's gesdd in single precision, as the published code does it but for the decomposition whose only
              use is its total energy, which NumPy gets here from the norm
product       how much of the machine's matrix product a round of 784-256-128-10 at batch 32 on 16 agents reaches, mixing included

Needs the examples (cargo build --release --workspace --examples) and a Python with torch and numpy.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import time

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np

root = pathlib.Path(__file__).resolve().parent.parent
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--examples", default=str(root / "target/release/examples"), help="the folder of the built examples")
parser.add_argument("--parts", nargs="+", default=["convolutions", "memory", "product"], choices=["convolutions", "memory", "product"])
parser.add_argument("--runs", type=int, default=5)
parser.add_argument("--seconds", type=float, default=1.5, help="how long one network is trained")
args = parser.parse_args()
THRESHOLD = 0.97


def lines(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout.splitlines()[1:]


def rates(text):
    """Steps for each second of processor time, by what is trained."""
    return {name.replace("×", "x").removesuffix(", 1 agent"): float(figures.split()[-1]) for figures, name in (line.split("  ")[-2:] for line in text)}


def convolutions():
    kith, torch = [], []
    for _ in range(args.runs):
        kith.append({name: rate for part in ("LeNet", "AlexNet") for name, rate in rates(lines(f"{args.examples}/steps", "1", str(args.seconds), part)).items()})
        torch.append(rates(lines(sys.executable, str(root / "scripts/torch_conv.py"), str(args.seconds))))
    print(f"\n{'minibatch updates a second':<34} {'kith':>9} {'PyTorch':>9} {'ratio':>6}")
    for name in kith[0]:
        ratio = statistics.median(k[name] / t[name] for k, t in zip(kith, torch))
        print(f"{name:<34} {statistics.median(k[name] for k in kith):>9.1f} {statistics.median(t[name] for t in torch):>9.1f} {ratio:>6.2f}")


def activations(n, d, rng):
    """What the example draws: rectified values around a decaying spectrum, a sample a row."""
    return (np.maximum(rng.random((n, d), dtype=np.float32) - 0.5, 0) / np.sqrt(1 + np.arange(d, dtype=np.float32))).astype(np.float32)


def update(memory, representation):
    """The memory of one more task."""
    total = np.square(representation, dtype=np.float64).sum()
    outside = representation - memory @ (memory.T @ representation)
    u, s, _ = np.linalg.svd(outside, full_matrices=False)
    kept = (total - np.square(outside, dtype=np.float64).sum()) / total
    share = kept + np.cumsum(np.square(s.astype(np.float64))) / total
    new = 0 if kept >= THRESHOLD else int(np.sum(share < THRESHOLD)) + 1
    return np.hstack([memory, u[:, :new]])


def memory():
    kith, numpy = [], []
    for _ in range(args.runs):
        found = {}
        for line in lines(f"{args.examples}/propose_time"):
            d, n, _, proposed, grown, _ = line.split()
            found[int(d), int(n)] = found.get((int(d), int(n)), 0.0) + float(proposed) + float(grown)
        kith.append(found)
        other = {}
        for d, n in ((784, 300), (1152, 10_000), (2048, 125)):
            rng, basis, other[d, n] = np.random.default_rng(7), np.zeros((d, 0), np.float32), 0.0
            for _ in range(3):
                representation = np.ascontiguousarray(activations(n, d, rng).T)
                best = float("inf")
                for _ in range(2):
                    started = time.perf_counter()
                    grown = update(basis, representation)
                    best = min(best, time.perf_counter() - started)
                basis = grown
                other[d, n] += 1e3 * best
        numpy.append(other)
    print(f"\n{'memory update, three tasks, ms':<34} {'kith':>9} {'NumPy':>9} {'ratio':>6}")
    for d, n in numpy[0]:
        ratio = statistics.median(o[d, n] / k[d, n] for k, o in zip(kith, numpy))
        print(f"{f'{d} x {n}':<34} {statistics.median(k[d, n] for k in kith):>9.1f} {statistics.median(o[d, n] for o in numpy):>9.1f} {ratio:>6.2f}")


def product():
    batch, sizes = 32, (784, 256, 128, 10)
    weights = [i * o for i, o in zip(sizes[:-1], sizes[1:])]
    # Forward, weights' gradients, and inputs' gradients of all layers but the first.
    operations = 2 * batch * (3 * sum(weights) - weights[0])
    found = []
    for _ in range(args.runs):
        rate = next(iter(rates(lines(f"{args.examples}/steps", "1", str(args.seconds), "784-256-128-10")).values()))
        whole = float(lines(f"{args.examples}/steps", "1", str(args.seconds), "GFLOP")[-1].split()[0])
        found.append((rate * operations / 1e9, whole))
    ours, whole = (statistics.median(side) for side in zip(*found))
    print(f"\na round of 784-256-128-10, batch 32, 16 agents: {ours:.0f} GFLOP/s; a product of 1024 x 1024: {whole:.0f}; share {statistics.median(o / w for o, w in found):.2f}")


for part in args.parts:
    {"convolutions": convolutions, "memory": memory, "product": product}[part]()
