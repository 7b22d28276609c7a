"""A supervisor of whatever parts its argument names (JSON), for the tests beside it; ends on SIGTERM."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from platform_portal.supervisor import Part, Supervisor, print_line


async def main(run_folder: Path, parts: list[dict]) -> None:
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    supervisor = Supervisor(run_folder=run_folder, environment=dict(os.environ), say=print_line)
    for part in parts:
        await supervisor.start(Part(**part))
    print_line("up", "started")
    await asked.wait()
    await supervisor.stop()
    print_line("up", "stopped")


asyncio.run(main(Path(sys.argv[1]), json.loads(sys.argv[2])))
