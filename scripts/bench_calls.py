"""What the benchmarks that compare programs share: calling one, and what it used."""

import json
import os
import resource
import subprocess
import sys


def call(command):
    """What a program prints, which is JSON; it runs each matrix product on one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


def used():
    """Processor seconds of all programs that were called so far, and of what they started."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime
