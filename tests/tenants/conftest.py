"""Teams; models are imported when they are needed, because this file is read before Django is set up."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.personas import Team


@pytest.fixture
def ours(db: None) -> "Team":
    from tests.personas import team

    return team("ours")


@pytest.fixture
def theirs(db: None) -> "Team":
    from tests.personas import team

    return team("theirs")
