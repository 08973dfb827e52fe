"""Where requests of Bedrock go, with which credential, and what the environment says of both."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from bifrost import Bifrost, ConfigError, InvalidRequestError, Key, StaticAccount
from bifrost.account import EnvAccount, how_to_set
from bifrost.operations.chat.options import chat_request
from bifrost.providers.azure import AzureSettings
from bifrost.providers.base import Target
from bifrost.providers.bedrock import BEDROCK, BedrockSettings
from bifrost.providers.bedrock.settings import address_of
from bifrost.testing import MockTransport
from bifrost.wire.http import HttpRequest
from bifrost.wire.secrets import Secret

ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/mi1dadi0g15f"
HOST = "bedrock-runtime.us-east-1.amazonaws.com"
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
ACCESS, SECRET, TOKEN = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "IQoJb3JpZ2luX2VjEXAMPLE=="
NOW = 1_790_000_000.0


def path_of(model: str, settings: BedrockSettings | None = None, *, stream: bool = False) -> str:
    target = Target(provider="bedrock", model=model, settings=settings, stream=stream)
    return BEDROCK.codecs["chat"].build(chat_request(model, "hi", system=None, options={}), target).request.path


def test_the_region_names_the_address() -> None:
    east, own = "https://bedrock-runtime.us-east-1.amazonaws.com", "https://vpce-1.example"
    for settings, base_url, expected in (
        (BedrockSettings(region="us-east-1"), "", east),
        (BedrockSettings(region="cn-north-1"), "", "https://bedrock-runtime.cn-north-1.amazonaws.com.cn"),
        (BedrockSettings(region="us-east-1"), own, own),
        (BedrockSettings(region="us-east-1", endpoint=own), east, own),
        (BedrockSettings(), "", ""),
        (BedrockSettings(), own, own),
        (None, own, own),
        (None, "", ""),
    ):
        assert address_of(settings, base_url) == expected, (settings, base_url)


def test_invalid_settings_are_refused() -> None:
    for region in ("US East", "us-east-1.evil.example/", "", "a" * 40):
        with pytest.raises(ConfigError, match=r"BedrockSettings\.region"):
            BedrockSettings(region=region)
    with pytest.raises(ConfigError, match=r"BedrockSettings\.endpoint"):
        BedrockSettings(endpoint="vpce-1")
    with pytest.raises(ConfigError, match="a key's settings are AzureSettings; give BedrockSettings"):
        address_of(AzureSettings(), "")


def test_a_model_is_escaped_once_in_the_path() -> None:
    escaped = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fmi1dadi0g15f"
    assert path_of(ARN) == f"/model/{escaped}/converse"
    assert path_of(CLAUDE, stream=True) == "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream"
    assert path_of(CLAUDE, BedrockSettings(profiles={CLAUDE: ARN})) == f"/model/{escaped}/converse"
    assert path_of("meta.llama3", BedrockSettings(profiles={CLAUDE: ARN})) == "/model/meta.llama3/converse"
    with pytest.raises(InvalidRequestError, match="cannot be the id of a model"):
        path_of("..")


@pytest.mark.parametrize("token", [None, TOKEN], ids=["static", "temporary"])
@pytest.mark.parametrize("model", [CLAUDE, ARN, "meta.llama3-8b ü~'()"])
def test_aws_credentials_sign_as_botocore_does(model: str, token: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    request = HttpRequest(
        method="POST", path=path_of(model), headers={"content-type": "application/json"}, body=b'{"messages":[]}'
    )
    theirs = AWSRequest(
        method="POST",
        url=f"https://{HOST}{request.path}",
        data=request.body,
        headers={"content-type": "application/json"},
    )
    key = Secret(":".join(filter(None, (ACCESS, SECRET, token))))
    BEDROCK.auth.sign(request, key, now=NOW, host=HOST, settings=BedrockSettings(region="us-east-1"))
    moment = {name: value.encode().decode() for name, value in request.headers.items()}["x-amz-date"]
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: at(moment))
    SigV4Auth(Credentials(ACCESS, SECRET, token), "bedrock", "us-east-1").add_auth(theirs)
    ours = {name.lower(): value.encode().decode() for name, value in request.headers.items()}
    assert ours == {name.lower(): value for name, value in theirs.headers.items()}


def at(moment: str) -> datetime:
    return datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def test_a_bedrock_key_is_a_bearer_token() -> None:
    request = HttpRequest(method="POST", path="/model/a/converse", headers={})
    BEDROCK.auth.sign(request, Secret("ABSKQmVkcm9ja0FQSUtleS0x"), now=NOW, host=HOST, settings=None)
    assert request.headers["authorization"].encode() == b"Bearer ABSKQmVkcm9ja0FQSUtleS0x"
    assert "ABSK" not in repr(request.headers)


def test_the_environment_has_three_forms() -> None:
    keys = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}
    region = {"AWS_DEFAULT_REGION": "eu-west-1"}
    for environ, name, value, where in (
        ({"AWS_BEARER_TOKEN_BEDROCK": "ABSK1"}, "AWS_BEARER_TOKEN_BEDROCK", "ABSK1", None),
        ({**keys, **region}, "AWS_ACCESS_KEY_ID", f"{ACCESS}:{SECRET}", "eu-west-1"),
        (
            {**keys, **region, "AWS_SESSION_TOKEN": TOKEN, "AWS_REGION": "us-east-1"},
            "AWS_ACCESS_KEY_ID",
            f"{ACCESS}:{SECRET}:{TOKEN}",
            "us-east-1",
        ),
        ({**keys, "AWS_BEARER_TOKEN_BEDROCK": "ABSK1"}, "AWS_BEARER_TOKEN_BEDROCK", "ABSK1", None),
    ):
        account = EnvAccount(environ)
        assert account.providers() == ["bedrock"]
        [key] = account.keys("bedrock", None)
        assert (key.name, key.value) == (name, Secret(value))
        assert key.settings == (None if where is None else BedrockSettings(region=where))
    assert EnvAccount({"AWS_ACCESS_KEY_ID": ACCESS, **region}).providers() == []
    assert EnvAccount({"AWS_ACCESS_KEY_ID": ACCESS, **region}).keys("bedrock", None) == []


def test_what_to_set_is_said() -> None:
    both = "AWS_BEARER_TOKEN_BEDROCK or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_REGION"
    assert how_to_set(BEDROCK) == f"set {both}, or add a key with settings to the account"
    joined = attrs.evolve(BEDROCK, key_variables=(), settings_variables={}, base_url="https://a.example")
    assert how_to_set(joined).startswith("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or add a key")


@pytest.mark.anyio
async def test_a_key_without_a_region_has_no_address() -> None:
    async with Bifrost(EnvAccount({"AWS_BEARER_TOKEN_BEDROCK": "ABSK1"})) as client:
        with pytest.raises(ConfigError, match=r"set AWS_REGION, or give ProviderConfig\(base_url=.*BedrockSettings"):
            await client.chat("bedrock/amazon.nova-micro-v1:0", "hi")


@pytest.mark.anyio
async def test_keys_of_several_regions_are_used_at_their_own_address() -> None:
    mock = MockTransport()
    mock.reply("hello").always()
    keys = [
        Key(name=region, value=f"{ACCESS}:{SECRET}", settings=BedrockSettings(region=region))
        for region in ("us-east-1", "eu-west-1")
    ]
    async with Bifrost(StaticAccount(keys={"bedrock": keys}), transport=mock) as client:
        for region in ("us-east-1", "eu-west-1"):
            reply = await client.chat("bedrock/amazon.nova-micro-v1:0", "hi", key=region)
            assert reply.text == "hello"
            assert reply.attempts[0].key == region
