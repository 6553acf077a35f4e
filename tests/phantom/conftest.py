import pytest

from kit.phantom.competition import Case


@pytest.fixture(scope="session")
def cases():
    return [Case(0, 0, index) for index in range(306)]
