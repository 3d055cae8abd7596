"""Writes run directories with invented numbers: to measure `kith report` on as many runs and events as one likes.

    python3 scripts/make_runs.py many --runs 50 --events 100000
    time kith report many --out many.html

Each run has one arm and one seed; runs alternate between arms. Needs nothing but Python.
"""

import argparse
import json
import pathlib
import random


def arm_name(run, arms):
    return f"arm-{run % arms}"


def accuracy(draw, run, arms, task, of):
    """Later arms forget more."""
    lost = 0.02 * (run % arms + 1) * (task - of)
    return max(0.0, min(1.0, draw.gauss(0.92 - lost, 0.02)))


def events(draw, run, arguments):
    """Lines of metrics.jsonl: tests of every agent on every task seen, as often as it takes."""
    name, left = arm_name(run, arguments.arms), arguments.events
    tests = arguments.events // (arguments.agents * arguments.tasks * (arguments.tasks + 1) // 2) + 1
    round_ = 0
    for task in range(arguments.tasks):
        for _ in range(tests):
            round_ += 10
            yield dict(arm=name, task=task, round=round_, key="train_loss", value=2.0 / (1 + round_ / 200))
            for of in range(task + 1):
                for agent in range(arguments.agents):
                    if left == 0:
                        return
                    left -= 1
                    value = accuracy(draw, run, arguments.arms, task, of)
                    yield dict(arm=name, agent=agent, task=task, round=round_, key="accuracy", of=of, value=value)


def summary(draw, run, arguments):
    tasks = range(arguments.tasks)
    matrix = [[accuracy(draw, run, arguments.arms, t, j) for j in range(t + 1)] for t in tasks]
    sent = [1e6 * (1 + run % arguments.arms)] * arguments.tasks
    return dict(
        arm=arm_name(run, arguments.arms),
        seed=run // arguments.arms,
        stopped=False,
        agents=arguments.agents,
        tasks=arguments.tasks,
        average_accuracy=sum(matrix[-1]) / arguments.tasks,
        backward_transfer=sum(matrix[-1][i] - matrix[i][i] for i in tasks[:-1]) / max(1, arguments.tasks - 1),
        accuracy_matrix=matrix,
        bytes_sent_per_agent=sum(sent),
        bytes_sent_per_task=sent,
        compression_ratio=4.0 / (1 + run % arguments.arms),
        consensus_distance=0.01,
        consensus_distance_per_task=[0.01 * (1 + t) for t in tasks],
        basis_ranks=[[10 * (t + 1), 20 * (t + 1)] for t in tasks],
        simulated_seconds=100.0,
        communication_share=0.2,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--events", type=int, default=100_000, help="tests in a run")
    parser.add_argument("--agents", type=int, default=16)
    parser.add_argument("--tasks", type=int, default=10)
    parser.add_argument("--arms", type=int, default=5)
    arguments = parser.parse_args()
    for run in range(arguments.runs):
        draw = random.Random(run)
        folder = arguments.folder / f"run-{run:04}"
        folder.mkdir(parents=True, exist_ok=True)
        manifest = dict(experiment="many", started=f"2026-01-01T00:{run // 60:02}:{run % 60:02}Z", ended="2026-01-02T00:00:00Z")
        (folder / "manifest.json").write_text(json.dumps(manifest))
        arm = f'[[arm]]\nname = "{arm_name(run, arguments.arms)}"\nseed = {run // arguments.arms}\n'
        (folder / "experiment.resolved.toml").write_text(f'name = "many"\n{arm}')
        (folder / "summary.json").write_text(json.dumps(dict(experiment="many", arms=[summary(draw, run, arguments)])))
        with open(folder / "metrics.jsonl", "w") as file:
            for event in events(draw, run, arguments):
                file.write(json.dumps(event, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
