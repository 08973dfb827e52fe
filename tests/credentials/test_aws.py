"""AWS credentials, with the real SDK against servers on the loopback."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from bifrost import AwsCredentials, ConfigError, Key, ProviderConfig, StaticAccount, Token, TokenError
from bifrost.providers.catalog import CATALOG
from bifrost.providers.custom import derive
from bifrost.wire.auth.sigv4 import SigV4Auth

if TYPE_CHECKING:
    from pathlib import Path

    from bifrost.testing import MockTransport
    from tests.credentials.server import TokenServer

EXPIRES = datetime(2099, 1, 1, tzinfo=UTC)
ROLE = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>role-secret</SecretAccessKey><SessionToken>role-session</SessionToken>
<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"""
REFUSED = """<ErrorResponse><Error><Code>AccessDenied</Code><Message>not authorized with hunter2-secret-0001</Message>
</Error></ErrorResponse>"""


def test_the_variables_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "env-secret")
    assert AwsCredentials().fetch() == Token("AKIAENV:env-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "env-session")
    assert AwsCredentials().fetch() == Token("AKIAENV:env-secret:env-session")


def test_a_profile_of_the_shared_files_is_used(home: Path) -> None:
    (home / ".aws").mkdir()
    (home / ".aws" / "credentials").write_text(
        "[team]\naws_access_key_id = AKIATEAM\naws_secret_access_key = team-secret\n", encoding="utf-8"
    )
    assert AwsCredentials(profile="team").fetch() == Token("AKIATEAM:team-secret")
    with pytest.raises(TokenError, match=r"AwsCredentials: ProfileNotFound: .*other"):
        AwsCredentials(profile="other").fetch()


def test_a_containers_credentials_expire(server: TokenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.address}/task")
    server.answers["/task"] = (
        200,
        {"AccessKeyId": "ASIA1", "SecretAccessKey": "s", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"},
    )
    source = AwsCredentials()
    for _ in range(2):
        assert source.fetch() == Token("ASIA1:s:t", expires_at=EXPIRES.timestamp())
    # Each fetch asks, because AWS may have refused the last.
    assert server.paths == ["/task", "/task"]


def test_a_role_is_assumed_with_given_keys(server: TokenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.address)
    server.answers["/"] = 200, ROLE
    source = AwsCredentials(
        keys="AKIA1:hunter2-secret-0001:base-session",
        role_arn="arn:aws:iam::123456789012:role/inference",
        external_id="outside",
        region="eu-central-1",
    )
    assert source.fetch() == Token("ASIAROLE:role-secret:role-session", expires_at=EXPIRES.timestamp())
    _, _, headers, form = server.asked[0]
    assert (form["Action"], form["RoleArn"], form["RoleSessionName"], form["ExternalId"]) == (
        "AssumeRole",
        "arn:aws:iam::123456789012:role/inference",
        "bifrost",
        "outside",
    )
    assert "AKIA1/" in headers["authorization"]
    assert "/eu-central-1/sts/" in headers["authorization"]
    assert headers["x-amz-security-token"] == "base-session"
    assert "hunter2" not in repr(source)

    server.answers["/"] = 403, REFUSED
    with pytest.raises(TokenError, match=r"AwsCredentials: ClientError: .*AccessDenied") as caught:
        source.fetch()
    assert "hunter2" not in str(caught.value)


def test_no_credentials_at_all_is_said() -> None:
    with pytest.raises(TokenError, match="AwsCredentials found no credentials; set the AWS_"):
        AwsCredentials().fetch()


@pytest.mark.parametrize("wrong", [{"profile": "a", "keys": "AKIA:hunter2"}, {"external_id": "x"}])
def test_contradictions_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="AwsCredentials: ") as caught:
        AwsCredentials(**wrong)
    assert "hunter2" not in str(caught.value)


@pytest.mark.anyio
async def test_requests_are_signed_with_them(
    mock: MockTransport, server: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.address)
    server.answers["/"] = 200, ROLE
    mock.reply("hello")
    row = derive(CATALOG["openai"], name="signed", auth=SigV4Auth(service="bedrock", region="us-east-1"))
    key = Key(
        name="role", credentials=AwsCredentials(keys="AKIA1:s", role_arn="arn:aws:iam::1:role/r", region="us-east-1")
    )
    configs = {"signed": ProviderConfig(base_url="https://signed.example/v1")}
    async with mock.client(StaticAccount(keys={"signed": key}, configs=configs, providers=[row])) as client:
        await client.chat("signed/some-model", "hi")
    (call,) = mock.calls
    assert call.has_key
    assert {"x-amz-date", "x-amz-security-token"} <= set(call.http.headers)
    assert "role-session" not in repr(call.http)
