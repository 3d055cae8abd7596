"""What a round costs where an exchange goes on during local work, beside the work alone and the exchange alone.

  python scripts/bench_overlap.py                       two processes, choco with 8 bits a number, 5 ms each way
  python scripts/bench_overlap.py --delay 20 --runs 5

Two agents, each in a process of its own (`kith agent`), train MLP 784-256-128-10 and exchange over the loopback interface, by way of a
relay in this script that holds all bytes for --delay milliseconds each way: so an exchange is mostly waiting, as on a network, and
two processes on two cores have something to overlap. Milliseconds a round are those of a long run less those of a short one.

*work* is a round of local steps without any exchange (method `local`), *exchange* a round of choco with a single local step, *both* a
round of choco with all of them; there are so many that work takes about as long as exchange, where overlap saves most. Each is the
median of runs in turn. Wanted: both <= max(work, exchange) + 15 %.

Needs a built kith (cargo build --release) and nothing but Python. Other work on the machine falsifies it.
"""

import argparse
import asyncio
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

root = pathlib.Path(__file__).resolve().parent.parent
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--kith", default=str(root / "target/release/kith"), help="the binary")
parser.add_argument("--delay", type=float, default=5.0, help="milliseconds for which bytes are held, each way")
parser.add_argument("--bits", type=int, default=8, help="of a number that is sent")
parser.add_argument("--batch", type=int, default=10)
parser.add_argument("--rounds", type=int, default=200, help="by which the long run is longer")
parser.add_argument("--runs", type=int, default=3)
parser.add_argument("--steps", type=int, help="local steps; otherwise as many as an exchange takes")
args = parser.parse_args()

SHORT = 20


def free_ports(count):
    """Ports that nobody listens at."""
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


async def hold(reader, writer, seconds):
    """Hands on what comes, so many seconds later."""
    queue = asyncio.Queue()

    async def take():
        while data := await reader.read(1 << 16):
            queue.put_nowait((asyncio.get_running_loop().time() + seconds, data))
        queue.put_nowait(None)

    taking = asyncio.create_task(take())
    try:
        while (held := await queue.get()) is not None:
            due, data = held
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        taking.cancel()
        writer.close()


class Relay:
    """Listens at ports and hands on to others, on a thread of its own."""

    def __init__(self, ways, seconds):
        self.loop = asyncio.new_event_loop()
        self.ways, self.seconds = ways, seconds
        ready = threading.Event()
        self.thread = threading.Thread(target=self.run, args=[ready], daemon=True)
        self.thread.start()
        ready.wait()

    def run(self, ready):
        asyncio.set_event_loop(self.loop)
        servers = [self.loop.run_until_complete(asyncio.start_server(self.joined(to), "127.0.0.1", at)) for at, to in self.ways]
        ready.set()
        self.loop.run_forever()
        for server in servers:
            server.close()
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self.loop.close()

    def joined(self, to):
        async def join(reader, writer):
            try:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", to)
            except ConnectionError:
                # Nobody is there yet.
                writer.close()
                return
            for one in (writer, far_writer):
                one.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                await asyncio.gather(hold(reader, far_writer, self.seconds), hold(far_reader, writer, self.seconds))
            except asyncio.CancelledError:
                # The relay is closed; both processes have ended.
                pass

        return join

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()


def experiment(method, steps, rounds):
    exchange = f'exchange = {{ compressor = {{ kind = "quantised", bits = {args.bits} }}, averaging_rate = 0.5 }}\n' if method == "choco" else ""
    return f"""name = "overlap"
seed = 1
method = "{method}"
graph = {{ family = "chain", agents = 2 }}
network = {{ family = "mlp", hidden = [256, 128], bias = false, head = "shared" }}
train = {{ rounds_per_task = {rounds}, batch_size = {args.batch}, local_steps = {steps}, learning_rate = 0.01 }}
links = {{ deadline_ms = 60000 }}
{exchange}
[data]
dataset = "synthetic"
tasks = {{ kind = "single", count = 1 }}
synthetic = {{ shape = [1, 28, 28], classes = 10, train = 2048, test = 100 }}
"""


def seconds(method, steps, rounds):
    """By the clock, from the start of both processes to the end of the later one."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "e.toml").write_text(experiment(method, steps, rounds))
        listens, relayed = free_ports(2), free_ports(2)
        ids = []
        for place in range(2):
            done = subprocess.run([args.kith, "identity", "new", str(folder / f"{place}.key")], capture_output=True, text=True)
            if done.returncode != 0:
                sys.exit(done.stderr)
            ids.append(done.stdout.split()[-1])
        relay = Relay(list(zip(relayed, listens)), args.delay / 1e3)
        peers = [f'[[peer]]\nagents = [{place}]\nid = "{ids[place]}"\naddress = "/ip4/127.0.0.1/tcp/{relayed[place]}"\n' for place in range(2)]
        (folder / "peers.toml").write_text("\n".join(peers))
        started, processes = time.perf_counter(), []
        for place in range(2):
            command = [args.kith, "agent", "--experiment", folder / "e.toml", "--agents", str(place), "--identity", folder / f"{place}.key"]
            command += ["--listen", f"/ip4/127.0.0.1/tcp/{listens[place]}", "--peers", folder / "peers.toml", "--threads", "1", "--quiet"]
            processes.append(subprocess.Popen([*command, "--out", folder / str(place)], stderr=subprocess.PIPE, text=True))
        for process in processes:
            _, words = process.communicate()
            if process.returncode != 0:
                sys.exit(words)
        took = time.perf_counter() - started
        relay.close()
        return took


def milliseconds(method, steps):
    """Of one round."""
    short, long = seconds(method, steps, SHORT), seconds(method, steps, SHORT + args.rounds)
    return 1e3 * (long - short) / args.rounds


steps = args.steps
if steps is None:
    exchange, few = milliseconds("choco", 1), 200
    steps = max(1, round(exchange / (milliseconds("local", few) / few)))
figures = {"work": [], "exchange": [], "both": []}
for _ in range(args.runs):
    figures["work"].append(milliseconds("local", steps))
    figures["exchange"].append(milliseconds("choco", 1))
    figures["both"].append(milliseconds("choco", steps))
work, exchange, both = (statistics.median(figures[name]) for name in ("work", "exchange", "both"))
print(f"{steps} local steps of {args.batch}, {args.bits} bits a number, {args.delay:g} ms each way, medians of {args.runs} runs in turn")
print(f"milliseconds a round: work {work:.2f}, exchange {exchange:.2f}, both {both:.2f}")
over = 100 * (both / max(work, exchange) - 1)
print(f"both is {over:+.1f} % of the longer one (one after the other: {100 * ((work + exchange) / max(work, exchange) - 1):+.1f} %)")
