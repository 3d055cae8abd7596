"""Runs agents in processes of their own, kith's and PyTorch's, in turn and prints medians.

  python scripts/bench_processes.py                       8 processes on a ring, MLP 784-256-128-10, batch 32
  python scripts/bench_processes.py --styles neighbours decent-dp --runs 5

Needs a built kith (cargo build --release) and a Python with torch, numpy and, for its style, decent-dp. Figures of one call belong
together: these machines drift, so compare ratios, not absolute numbers of two calls.

Rounds a second are by the clock, over the rounds alone: of kith those of a long launch less those of a short one. Processor time is
that of all processes, theirs and whoever started them. "Whole data" is the peak of a process's memory with all its data in it (the
median of the processes), "few data" that with 512 images. The first round of kith is the whole of a launch of one round, from
the command to its exit, tests and all: what a user waits for at most; of PyTorch it is the end of the last process's first round.
"""

import argparse
import json
import pathlib
import statistics
import sys
import tempfile
import time

from bench_calls import call, used

root = pathlib.Path(__file__).resolve().parent.parent
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--kith", default=str(root / "target/release/kith"), help="the binary")
parser.add_argument("--agents", type=int, default=8)
parser.add_argument("--hidden", type=int, nargs="+", default=[256, 128])
parser.add_argument("--batch", type=int, default=32)
parser.add_argument("--samples", type=int, default=8192, help="training images of all agents together")
parser.add_argument("--rounds", type=int, default=300)
parser.add_argument("--runs", type=int, default=5)
parser.add_argument("--styles", nargs="*", default=["neighbours"], choices=["neighbours", "decent-dp"])
args = parser.parse_args()

SHORT = 20


def launch(verb, rounds, samples):
    """A run of kith: seconds by the clock, processor seconds, the summary of its arm, peaks of its processes."""
    with tempfile.TemporaryDirectory() as out:
        command = [args.kith, *verb, str(root / "experiments/bench-ring-mlp.toml"), "--json", "--quiet", "--out", out]
        for key, value in {
            "graph.agents": args.agents,
            "network.hidden": args.hidden,
            "train.batch_size": args.batch,
            "train.rounds_per_task": rounds,
            "data.synthetic.train": samples,
        }.items():
            command += ["--set", f"{key}={value}"]
        before, started = used(), time.perf_counter()
        arm = call(command)["arms"][0]
        seconds, cpu = time.perf_counter() - started, used() - before
        left = pathlib.Path(out).glob("**/process.json")
        peaks = [json.loads(file.read_text())["ended"]["measured"]["peak_rss_bytes"] for file in left]
        return {"seconds": seconds, "cpu": cpu, "arm": arm, "peak": statistics.median(peaks) if peaks else arm["peak_rss_bytes"]}


def kith(verb):
    first, short, long = (launch(verb, rounds, args.samples) for rounds in (1, SHORT, args.rounds + SHORT))
    few = launch(verb, SHORT, 512)
    return {
        "rounds_per_second": args.rounds / (long["seconds"] - short["seconds"]),
        "cpu_ms_per_round": 1e3 * (long["cpu"] - short["cpu"]) / args.rounds,
        "first_round_seconds": first["seconds"],
        "first_round_cpu_seconds": first["cpu"],
        "peak_rss_bytes": long["peak"],
        "few_rss_bytes": few["peak"],
        "bytes_per_agent_round": long["arm"]["bytes_sent_per_agent"] / (args.rounds + SHORT),
    }


def torch(style):
    command = [sys.executable, str(root / "scripts/torch_gloo.py"), "--style", style, "--agents", str(args.agents)]
    command += ["--rounds", str(args.rounds), "--batch", str(args.batch), "--samples", str(args.samples)]
    command += ["--hidden", *map(str, args.hidden)]
    before = used()
    figures = call(command)
    return {**figures, "bytes_per_agent_round": figures["payload_bytes_per_agent_round"], "all_cpu": used() - before}


sides = {"kith launch": lambda: kith(["launch", "-n", str(args.agents)]), "kith run, no processes": lambda: kith(["run"])}
sides |= {f"gloo, {style}": lambda style=style: torch(style) for style in args.styles}
figures = {name: [] for name in sides}
for _ in range(args.runs):
    for name, side in sides.items():
        figures[name].append(side())


def median(name, key, scale=1.0):
    values = [run[key] for run in figures[name] if run.get(key) is not None]
    return scale * statistics.median(values) if values else float("nan")


sizes = [784, *args.hidden, 10]
print(f"{args.agents} agents on a ring, MLP {'-'.join(map(str, sizes))}, batch {args.batch}, {args.samples} images, medians of {args.runs} runs in turn\n")
heads = ["rounds/s", "cpu ms a round", "first round s", "its cpu s", "MB whole data", "MB few data", "bytes agent-round"]
print(f"{'':<24}" + "".join(f"{head:>19}" for head in heads))
columns = [
    ("rounds_per_second", 1.0),
    ("cpu_ms_per_round", 1.0),
    ("first_round_seconds", 1.0),
    ("first_round_cpu_seconds", 1.0),
    ("peak_rss_bytes", 1e-6),
    ("few_rss_bytes", 1e-6),
    ("bytes_per_agent_round", 1.0),
]
for name in sides:
    print(f"{name:<24}" + "".join(f"{median(name, key, scale):>19.1f}" for key, scale in columns))
for name in list(sides)[2:]:
    pairs = zip(figures["kith launch"], figures[name])
    ratio = statistics.median(k["rounds_per_second"] / t["rounds_per_second"] for k, t in pairs)
    print(f"\nkith launch makes {ratio:.2f} times the rounds a second of {name}")
