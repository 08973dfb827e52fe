from __future__ import annotations

import pytest

import bifrost.testing


def test_every_public_name_is_there() -> None:
    for name in bifrost.testing.__all__:
        assert getattr(bifrost.testing, name).__name__ == name


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="has no 'Nothing'"):
        bifrost.testing.Nothing  # noqa: B018 - looking it up is the test
