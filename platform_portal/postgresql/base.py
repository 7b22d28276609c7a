"""Django's PostgreSQL backend, asking a kept connection whether it still stands without a round trip.

A server that restarts or ends a session closes its side, which can be seen at the socket at once: a connection that has
something to read while nobody asked it anything has been closed or is being closed. What this cannot see, a network that swallows
packets, ``tcp_keepalives`` finds.
"""

import select

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    def is_usable(self) -> bool:
        if self.connection is None or self.connection.closed:
            return False
        poller = select.poll()
        poller.register(self.connection.pgconn.socket, select.POLLIN | select.POLLHUP | select.POLLERR)
        return not poller.poll(0)
