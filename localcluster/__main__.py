"""python -m localcluster --dir DIR: run a cluster on this machine until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import signal
import sys
from pathlib import Path

from localcluster.cluster import AlreadyRunning, Cluster, Settings
from localcluster.quantity import canonical


def main() -> int:
    arguments = _parser().parse_args()
    logging.basicConfig(level=logging.WARNING, format="localcluster: %(levelname)s %(name)s: %(message)s")
    capacity = {"cpu": arguments.cpu, "memory": arguments.memory, "pods": str(arguments.pods)}
    if arguments.gpus:
        capacity["nvidia.com/gpu"] = str(arguments.gpus)
    settings = Settings(
        folder=Path(arguments.dir).absolute(),
        port=arguments.port,
        capacity=capacity,
        gpu_type=arguments.gpu_type,
        controllers=not arguments.no_controllers,
        kubelet=not arguments.no_kubelet,
    )
    try:
        asyncio.run(_serve(settings))
    except (AlreadyRunning, OSError) as error:
        print(f"localcluster: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(settings: Settings) -> None:
    cluster = Cluster(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked_to_stop() -> None:
        if stop.is_set():  # asked twice: somebody is in a hurry
            cluster.hurry()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop)
    await cluster.start()
    # What was loaded stays: full collections need not walk it again and again.
    gc.collect()
    gc.freeze()
    print(f"localcluster: serving https://127.0.0.1:{cluster.port}", flush=True)
    await stop.wait()
    await cluster.stop()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="localcluster", description="A Kubernetes API on one machine; pods are processes."
    )
    parser.add_argument("--dir", required=True, help="the folder that holds all state")
    parser.add_argument("--port", type=int, default=0, help="0: the port used before, or any free one")
    parser.add_argument("--cpu", type=_quantity, default="32", help="cores the node claims to have")
    parser.add_argument("--memory", type=_quantity, default="128Gi", help="memory the node claims to have")
    parser.add_argument("--pods", type=int, default=500, help="pods the node takes at a time")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs the node claims to have")
    parser.add_argument("--gpu-type", default="nvidia-tesla-v100", help="their type, for node selectors")
    parser.add_argument("--no-kubelet", action="store_true", help="schedule pods but run none")
    parser.add_argument("--no-controllers", action="store_true", help="store objects only")
    return parser


def _quantity(text: str) -> str:
    try:
        return canonical(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


if __name__ == "__main__":
    sys.exit(main())
