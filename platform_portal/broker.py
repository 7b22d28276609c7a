"""The laptop's broker: kombu's file-system transport, with messages that appear in the queue whole.

The transport as it comes opens a message's file in the queue's folder and then writes it; a worker that looks in between takes
an empty message and dies of it. Here a message is written beside the queue and renamed into it.
"""

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


class Transport(filesystem.Transport):
    Channel = Channel


def register() -> None:
    """Makes ``filesystem://`` mean this transport in this process."""
    TRANSPORT_ALIASES[SCHEME] = f"{__name__}:Transport"
