"""Tokens of Google Cloud, with the real SDK against servers on the loopback."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bifrost import ConfigError, GoogleCredentials, Token, TokenError
from bifrost.credentials.google import Fetcher

if TYPE_CHECKING:
    from pathlib import Path

    from tests.credentials.server import TokenServer


@pytest.fixture(scope="module")
def pem() -> str:
    """Give a private key of nobody."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.fixture
def account(server: TokenServer, pem: str) -> str:
    """Give the file of a service account whose token server is ours."""
    server.answers["/token"] = 200, {"access_token": "ya29.one", "expires_in": 3599, "token_type": "Bearer"}
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "mine",
            "private_key_id": "1",
            "private_key": pem,
            "client_email": "me@mine.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": f"{server.address}/token",
        }
    )


def test_a_service_account_gets_a_token(
    server: TokenServer, account: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "account.json"
    path.write_text(account, encoding="utf-8")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    for source in (GoogleCredentials(), GoogleCredentials(file=str(path)), GoogleCredentials(info=account)):
        token = source.fetch()
        assert token.value == Token("ya29.one").value
        assert token.expires_at is not None
        assert abs(token.expires_at - time.time() - 3599) < 30
        assert server.form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        assert "PRIVATE" not in repr(source)
    assert server.paths == ["/token"] * 3


def test_a_refused_account_is_named_and_shows_no_key(server: TokenServer, account: str) -> None:
    server.answers["/token"] = 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
    with pytest.raises(TokenError, match=r"GoogleCredentials: RefreshError: .*Invalid JWT Signature") as caught:
        GoogleCredentials(info=account).fetch()
    assert "PRIVATE" not in str(caught.value)
    assert caught.value.__context__ is None


def test_the_metadata_server_of_google_cloud_is_asked(server: TokenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    host = server.address.removeprefix("http://")
    monkeypatch.setenv("GCE_METADATA_HOST", host)
    monkeypatch.setenv("GCE_METADATA_IP", host)
    monkeypatch.setenv("PATH", "")  # no gcloud
    base = "/computeMetadata/v1"
    server.answers |= {
        "/": (200, "ok"),
        f"{base}/project/project-id": (200, "mine"),
        f"{base}/universe/universe-domain": (200, "googleapis.com"),
        f"{base}/instance/service-accounts/default/": (200, {"email": "me@mine", "scopes": ["cloud-platform"]}),
        f"{base}/instance/service-accounts/default/token": (
            200,
            {"access_token": "ya29.gce", "expires_in": 1800, "token_type": "Bearer"},
        ),
    }
    token = GoogleCredentials().fetch()
    assert token.value == Token("ya29.gce").value
    assert token.expires_at is not None
    assert abs(token.expires_at - time.time() - 1800) < 30


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(TokenError, match=r"GoogleCredentials: FileNotFoundError: .*nowhere.json"):
        GoogleCredentials(file="nowhere.json").fetch()
    with pytest.raises(TokenError, match="GoogleCredentials: DecodeError"):
        GoogleCredentials(info="no json").fetch()
    with pytest.raises(TokenError, match="GoogleCredentials: ValidationError"):
        GoogleCredentials(info="[]").fetch()


def test_other_kinds_of_files_are_refused() -> None:
    with pytest.raises(ConfigError, match="of the type 'None' are not supported; these are: service_account, auth"):
        GoogleCredentials(info="{}").fetch()


def test_a_users_login_gets_a_token(server: TokenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answers["/token"] = 200, {"access_token": "ya29.user", "expires_in": 3599}
    login = {"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"}
    monkeypatch.setattr("google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT", f"{server.address}/token")
    assert GoogleCredentials(info=json.dumps(login)).fetch().value == Token("ya29.user").value
    assert (server.form["grant_type"], server.form["refresh_token"]) == ("refresh_token", "r")


def test_a_workload_identity_exchanges_its_token(server: TokenServer, tmp_path: Path) -> None:
    (tmp_path / "subject").write_text("the-subject", encoding="utf-8")
    server.answers["/sts"] = (
        200,
        {
            "access_token": "ya29.workload",
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "token_type": "Bearer",
            "expires_in": 3600,
        },
    )
    info = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{server.address}/sts",
        "credential_source": {"file": str(tmp_path / "subject")},
    }
    assert GoogleCredentials(info=json.dumps(info)).fetch().value == Token("ya29.workload").value
    assert server.form["subject_token"] == "the-subject"


class Mine:
    """A credentials object as users have them."""

    token = None
    expiry: datetime | None = None

    def refresh(self, request: Any) -> None:
        assert isinstance(request, Fetcher)
        self.token = "ya29.mine"
        self.expiry = datetime(2030, 1, 1)


def test_a_credentials_object_of_the_users_own_is_refreshed() -> None:
    mine: Any = Mine()
    token = GoogleCredentials(credentials=mine).fetch()
    assert token == Token("ya29.mine", expires_at=datetime(2030, 1, 1, tzinfo=UTC).timestamp())


def test_several_sources_are_refused() -> None:
    with pytest.raises(ConfigError, match="give one of file, info and credentials"):
        GoogleCredentials(file="a", info="{}")


def test_the_http_client_follows_no_redirect_and_bounds_what_it_reads(server: TokenServer) -> None:
    server.answers |= {"/moved": (302, {}), "/long": (200, "x" * (2 * 1024 * 1024))}
    server.headers = {"location": f"{server.address}/token"}
    assert Fetcher()(f"{server.address}/moved", method="POST", body="a=b").status == 302
    assert len(Fetcher()(f"{server.address}/long").data) == 1024 * 1024
    assert server.paths == ["/moved", "/long"]


def test_a_server_that_cannot_be_reached_is_google_auths_error() -> None:
    from google.auth.exceptions import TransportError

    with pytest.raises(TransportError):
        Fetcher()("http://127.0.0.1:1/token", timeout=1.0)
