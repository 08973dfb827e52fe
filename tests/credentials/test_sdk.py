"""What the sources that use a vendor's SDK share."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from bifrost import AwsCredentials, ConfigError, EntraCredentials, GoogleCredentials
from bifrost.credentials.sdk import failed
from bifrost.wire.secrets import Secret


@pytest.mark.parametrize(
    ("source", "module", "package", "extra"),
    [
        (EntraCredentials(), "azure.identity", "azure-identity", "azure"),
        (GoogleCredentials(), "google.auth", "google-auth", "google"),
        (AwsCredentials(), "botocore.session", "botocore", "aws"),
    ],
)
def test_an_sdk_that_is_not_installed_is_named_with_its_extra(
    source: Any, module: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError) as caught:
        source.fetch()
    name = type(source).__name__
    assert caught.value.message == f"{name} needs the package {package}; install bifrost-llm[{extra}]"


@pytest.mark.parametrize("kind", [EntraCredentials, GoogleCredentials, AwsCredentials])
def test_equal_sources_share_their_tokens(kind: Any) -> None:
    assert kind() == kind()
    assert hash(kind()) == hash(kind())


def test_the_message_of_an_sdk_is_one_short_line_without_secrets() -> None:
    error = failed(
        "Mine",
        OSError("the key\n  is hunter2-secret-0001, or sk-proj-abcdef0123456789abcdef " + "x" * 900),
        Secret("hunter2-secret-0001"),
        None,
    )
    assert error.message.startswith("Mine: OSError: the key is ***, or ***")
    assert len(error.message) < 700
