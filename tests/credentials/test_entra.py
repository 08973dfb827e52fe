"""Tokens of Microsoft Entra ID, with the real SDK against servers on the loopback."""

from __future__ import annotations

import ssl
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from bifrost import ConfigError, EntraCredentials, Key, ProviderConfig, StaticAccount, Token, TokenError
from bifrost.testing import MockTransport, fake_key
from tests.credentials.server import token_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.credentials.server import TokenServer

SECRET = "hunter2-Very.Secret~0001"
TENANT = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenServer]:
    """Give a login service with TLS, which the SDK demands."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with token_server(context) as running:
        base = f"{running.address}/{TENANT}"
        running.answers[f"/{TENANT}/v2.0/.well-known/openid-configuration"] = (
            200,
            {
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
            },
        )
        yield running


def application(login: TokenServer) -> EntraCredentials:
    return EntraCredentials(tenant_id=TENANT, client_id="app", client_secret=SECRET, authority=login.address)


def fetched(source: EntraCredentials) -> Token:
    token = source.fetch()
    assert isinstance(token, Token)
    return token


def test_an_application_gets_a_token_for_its_secret(login: TokenServer) -> None:
    path = f"/{TENANT}/oauth2/v2.0/token"
    login.answers[path] = 200, {"token_type": "Bearer", "expires_in": 3600, "access_token": "ey-one"}
    source = application(login)
    token = fetched(source)
    assert token == Token("ey-one", expires_at=token.expires_at)
    assert token.expires_at is not None
    assert abs(token.expires_at - time.time() - 3600) < 30
    form = login.form
    assert (form["client_id"], form["client_secret"], form["grant_type"]) == ("app", SECRET, "client_credentials")
    assert "https://cognitiveservices.azure.com/.default" in form["scope"]
    # The SDK would return its last token, which the provider may have refused.
    login.answers[path] = 200, {"token_type": "Bearer", "expires_in": 3600, "access_token": "ey-two"}
    assert fetched(source).value == Token("ey-two").value
    assert SECRET not in repr(source)


def test_a_refused_secret_is_named_and_not_shown(login: TokenServer) -> None:
    login.answers[f"/{TENANT}/oauth2/v2.0/token"] = (
        401,
        {"error": "invalid_client", "error_description": f"AADSTS7000215: Invalid client secret {SECRET}.\nTrace: 1"},
    )
    with pytest.raises(TokenError, match=r"EntraCredentials: ClientAuthenticationError: .*AADSTS7000215") as caught:
        application(login).fetch()
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_managed_identity_gets_a_token_without_a_secret(server: TokenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{server.address}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "id")
    expires = int(time.time()) + 7200
    server.answers["/msi/token"] = (
        200,
        {"access_token": "ey-mi", "expires_on": str(expires), "resource": "r", "token_type": "Bearer"},
    )
    token = fetched(EntraCredentials(client_id="mine"))
    assert token.value == Token("ey-mi").value
    assert token.expires_at is not None
    assert abs(token.expires_at - expires) < 5


def test_the_default_chain_says_what_it_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    # Only the variables, so that no other way is tried on this machine.
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    with pytest.raises(TokenError, match=r"EntraCredentials: .*EnvironmentCredential"):
        EntraCredentials().fetch()


class Credential:
    """A credential object as users have them."""

    def __init__(self) -> None:
        self.scopes: list[str] = []

    def get_token(self, *scopes: str) -> Any:
        self.scopes += scopes
        return SimpleNamespace(token=fake_key("mine"), expires_on=int(time.time()) + 3600)


class AsyncCredential(Credential):
    async def get_token(self, *scopes: str) -> Any:
        return super().get_token(*scopes)


class Failing:
    async def get_token(self, *scopes: str) -> Any:
        raise OSError("no network")


@pytest.mark.anyio
@pytest.mark.parametrize("make", [Credential, AsyncCredential])
async def test_a_credential_object_of_the_users_own_serves_azure(mock: MockTransport, make: Any) -> None:
    mock.reply("hello")
    credential = make()
    key = Key(name="entra", credentials=EntraCredentials(credential=credential, scope="api://mine/.default"))
    configs = {"azure": ProviderConfig(base_url="https://mine.openai.azure.com")}
    async with mock.client(StaticAccount(keys={"azure": key}, configs=configs)) as client:
        await client.chat("azure/gpt-4o", "hi")
    assert credential.scopes == ["api://mine/.default"]
    assert [(call.key, "authorization" in call.http.headers) for call in mock.calls] == [("mine", True)]


@pytest.mark.anyio
async def test_a_failing_credential_object_is_named(mock: MockTransport) -> None:
    key = Key(name="entra", credentials=EntraCredentials(credential=Failing()))
    async with mock.client(StaticAccount(keys={"openai": key})) as client:
        with pytest.raises(TokenError, match="EntraCredentials: OSError: no network"):
            await client.chat("openai/gpt-4o", "hi", max_retries=0)


@pytest.mark.parametrize(
    "wrong",
    [{"tenant_id": "t"}, {"client_secret": SECRET}, {"client_id": "c", "client_secret": SECRET}],
)
def test_half_an_application_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="give tenant_id, client_id and client_secret together") as caught:
        EntraCredentials(**wrong)
    assert "hunter2" not in str(caught.value)
