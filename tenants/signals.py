"""What other apps may want to know of a team."""

from django.dispatch import Signal

# A team's deletion has been asked for: end its live work. Sent with ``tenant`` and ``by`` (a name) in the transaction that
# writes it down; a receiver writes rows and does not wait for the cluster.
tenant_deleting = Signal()
