"""Who holds what of a team's quota, told by the apps whose work it is: this app knows none of them.

Each registers a function at its start (``AppConfig.ready``). ``of`` asks them all and puts the answers together.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from tenants.context import TenantContext


@dataclass(frozen=True)
class Work:
    """One piece of live work: what it is called, where its page is, whose it is, since when it holds or waits, and what."""

    kind: str
    name: str
    url: str
    who: str
    state: str
    since: datetime
    cpu: int
    memory_gb: int
    gpus: int = 0
    gpu_type: str = ""
    price_per_hour: Decimal | None = None


@dataclass(frozen=True)
class Person:
    """What one person or program holds in all."""

    who: str
    pieces: int
    cpu: int
    memory_gb: int
    gpus: int


@dataclass(frozen=True)
class Holdings:
    """``held`` the longest first and ``waiting`` the next first, both cut to a length; people and costs count all of it."""

    held: list[Work] = field(default_factory=list)
    waiting: list[Work] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)
    pieces: int = 0
    # What an hour of all that is held costs, as far as prices are known, and of how many pieces none is.
    hourly: Decimal = Decimal(0)
    unpriced: int = 0


Provider = Callable[[TenantContext, int], Holdings]
_providers: dict[str, Provider] = {}


def register(name: str, provider: Provider) -> None:
    """``provider(ctx, most)`` tells what an app's work holds, with at most ``most`` single pieces. Once for each name."""
    _providers[name] = provider


def of(ctx: TenantContext, most: int = 50) -> Holdings:
    """What all apps tell."""
    told = [provider(ctx, most) for _, provider in sorted(_providers.items())]
    people: dict[str, Person] = {}
    for one in (person for part in told for person in part.people):
        was = people.get(one.who, Person(one.who, 0, 0, 0, 0))
        people[one.who] = Person(
            one.who,
            was.pieces + one.pieces,
            was.cpu + one.cpu,
            was.memory_gb + one.memory_gb,
            was.gpus + one.gpus,
        )
    return Holdings(
        held=sorted((work for part in told for work in part.held), key=lambda work: work.since)[:most],
        waiting=[work for part in told for work in part.waiting][:most],
        people=sorted(people.values(), key=lambda one: (-one.gpus, -one.cpu, one.who)),
        pieces=sum(part.pieces for part in told),
        hourly=sum((part.hourly for part in told), Decimal(0)),
        unpriced=sum(part.unpriced for part in told),
    )
