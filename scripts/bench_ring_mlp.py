"""Runs both sides of the ring benchmark in turn and prints medians, ratios and memory.

  python scripts/bench_ring_mlp.py                                  64 and 1 024 agents, MLP 784-100-100-10, batch 10
  python scripts/bench_ring_mlp.py --hidden 256 128 --batch 32 --bias --agents 16 64 256 1024 --styles flat loop

Needs a built kith (cargo build --release) and a Python with torch and numpy; both sides use one thread unless --threads says
otherwise (kith: threads; PyTorch in the style flat: as many processes). Figures of one call belong together: these machines
drift, so compare ratios, not absolute numbers of two calls.

Rates are agent-steps for each second that the program computed (user and system time of all its threads), which other work on
the machine moves little; --clock wall takes the wall clock instead, for a machine that does nothing else. Of kith, CPU time is
that of a long run less that of a short one, so that reading data and the evaluation do not count, as they do not in PyTorch.
"""

import argparse
import pathlib
import statistics
import sys
import tempfile

from bench_calls import call, used

root = pathlib.Path(__file__).resolve().parent.parent
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--kith", default=str(root / "target/release/kith"), help="the binary")
parser.add_argument("--agents", type=int, nargs="+", default=[64, 1024])
parser.add_argument("--hidden", type=int, nargs="+", default=[100, 100])
parser.add_argument("--batch", type=int, default=10)
parser.add_argument("--bias", action="store_true")
parser.add_argument("--local-steps", type=int, default=1)
parser.add_argument("--styles", nargs="+", default=["loop"], choices=["loop", "flat"])
parser.add_argument("--runs", type=int, default=5)
parser.add_argument("--seconds", type=float, default=4.0, help="about how long one PyTorch run trains")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--clock", choices=["cpu", "wall"], default="cpu")
args = parser.parse_args()


def kith_run(agents, rounds):
    with tempfile.TemporaryDirectory() as out:
        command = [args.kith, "run", str(root / "experiments/bench-ring-mlp.toml"), "--json", "--quiet"]
        command += ["--threads", str(args.threads), "--out", out]
        for key, value in {
            "graph.agents": agents,
            "network.hidden": args.hidden,
            "network.bias": str(args.bias).lower(),
            "train.batch_size": args.batch,
            "train.local_steps": args.local_steps,
            "train.rounds_per_task": rounds,
        }.items():
            command += ["--set", f"{key}={value}"]
        before = used()
        arm = call(command)["arms"][0]
        return {**arm, "cpu_seconds": used() - before}


def kith(agents, rounds):
    # The first rounds touch every page; many rounds, since start-up costs seconds with thousands of agents.
    first = max(4, rounds // 10)
    short, long = kith_run(agents, first), kith_run(agents, rounds)
    steps = (rounds - first) * agents * args.local_steps
    return {**long, "agent_steps_per_cpu_second": steps / (long["cpu_seconds"] - short["cpu_seconds"])}


def torch(style, agents, rounds):
    command = [sys.executable, str(root / "scripts/torch_ring.py"), "--style", style, "--agents", str(agents)]
    command += ["--rounds", str(rounds), "--batch", str(args.batch), "--local-steps", str(args.local_steps)]
    command += ["--processes", str(args.threads if style == "flat" else 1), "--hidden", *map(str, args.hidden), *(["--bias"] if args.bias else [])]
    return call(command)


sizes = [784, *args.hidden, 10]
key = "agent_steps_per_second" if args.clock == "wall" else "agent_steps_per_cpu_second"
numbers = sum((i + (1 if args.bias else 0)) * o for i, o in zip(sizes[:-1], sizes[1:]))
print(f"MLP {'-'.join(map(str, sizes))}, {numbers} parameters, batch {args.batch}, {args.local_steps} local steps a round,")
print(f"{args.threads} thread(s), rates by {args.clock} time, medians of {args.runs} runs in turn; memory in units of agents x parameters x 4 bytes\n")
print(f"{'agents':>6} {'kith steps/s':>13} {'memory':>7} " + " ".join(f"{s + ' steps/s':>14} {'memory':>7} {'ratio':>6}" for s in args.styles))
for agents in args.agents:
    rounds = max(3, int(args.seconds * 1000 / agents / args.local_steps))
    figures = {side: [] for side in ["kith", *args.styles]}
    for _ in range(args.runs):
        figures["kith"].append(kith(agents, max(40 // args.local_steps + 8, 3 * rounds)))
        for style in args.styles:
            figures[style].append(torch(style, agents, rounds))

    def median(side, key):
        return statistics.median(run[key] for run in figures[side])

    unit = agents * numbers * 4
    line = f"{agents:>6} {median('kith', key):>13.0f} {median('kith', 'peak_rss_bytes') / unit:>7.2f} "
    for style in args.styles:
        pairs = zip(figures["kith"], figures[style])
        ratio = statistics.median(k[key] / t[key] for k, t in pairs)
        line += f"{median(style, key):>14.0f} {median(style, 'peak_rss_bytes') / unit:>7.2f} {ratio:>6.2f} "
    print(line, flush=True)
