"""The laptop's broker: kombu's file-system transport, with messages and tables of bindings that appear whole.

The transport as it comes opens a file and then writes it. A worker that looks in between takes an empty message, or reads an
empty table while another program starts, and dies of it. Here a file is written beside its place and renamed into it; programs
that add a binding at the same time take turns.
"""

import fcntl
import os
import time
import uuid
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.json import dumps

SCHEME = "filesystem"


class Channel(filesystem.Channel):
    def _put(self, queue: str, payload: dict[str, Any], **kwargs: Any) -> None:  # type: ignore[override]
        name = f"{round(time.monotonic() * 1000)}_{uuid.uuid4()}.{queue}.msg"
        target = os.path.join(self.data_folder_out, name)
        # The other ending keeps readers, who look for "<queue>.msg", away from the half-written file.
        draft = f"{target}.draft"
        with open(draft, "wb") as file:
            file.write(dumps(payload).encode())
        os.rename(draft, target)

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        file = self._exchange_file(exchange)
        self.control_folder.mkdir(exist_ok=True)
        binding = filesystem.exchange_queue_t(routing_key or "", pattern or "", queue or "")
        with open(f"{file}.lock", "a") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            table = self.get_table(exchange)
            if binding in table:
                return
            draft = f"{file}.draft"
            with open(draft, "w") as target:
                target.write(dumps([binding, *table]))
            os.replace(draft, file)


class Transport(filesystem.Transport):
    Channel = Channel


def register() -> None:
    """Makes ``filesystem://`` mean this transport in this process."""
    TRANSPORT_ALIASES[SCHEME] = f"{__name__}:Transport"
