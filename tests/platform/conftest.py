"""The scriptable API server; imported late, because the cluster client needs settings."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.platform.api_server import ApiServer


@pytest.fixture
def server() -> Iterator["ApiServer"]:
    from tests.platform.api_server import ApiServer

    with ApiServer() as api:
        yield api
