from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx2
import openai
import pytest

from bifrost.account import Key, StaticAccount
from bifrost.config import ProviderConfig
from bifrost.errors import ConfigError, InvalidRequestError, UnsupportedError
from bifrost.operations.chat.messages import Message
from bifrost.operations.chat.request import ChatRequest, WebSearch
from bifrost.operations.embeddings import EmbeddingRequest
from bifrost.operations.models import ModelsRequest
from bifrost.providers.azure import AZURE, AzureSettings
from bifrost.providers.base import Built, Target
from bifrost.wire.secrets import Secret
from tests.table import table
from tests.wire.signing import sign

if TYPE_CHECKING:
    from collections.abc import Callable

    from bifrost.operations.base import OperationName

ENDPOINT = "https://resource.openai.azure.com"
DATED = AzureSettings(api_version="2024-10-21")
CHAT = ChatRequest(model="asked", messages=[Message(role="user", content="Hello")])
REQUESTS: dict[OperationName, Any] = {
    "chat": CHAT,
    "embeddings": EmbeddingRequest(model="asked", input=["Hello"]),
    "models": ModelsRequest(),
}


def build(
    endpoint: OperationName, settings: Any = None, *, model: str = "my deployment/1", request: Any = None
) -> Built:
    target = Target(provider="azure", model="" if endpoint == "models" else model, settings=settings)
    return AZURE.codecs[endpoint].build(request or REQUESTS[endpoint], target)


def path(endpoint: OperationName, settings: Any = None, *, model: str = "my deployment/1") -> str:
    return build(endpoint, settings, model=model).request.path


def test_without_a_version_the_paths_are_those_of_v1() -> None:
    assert path("chat") == "/openai/v1/chat/completions"
    assert path("embeddings") == "/openai/v1/embeddings"
    assert path("models") == "/openai/v1/models"
    assert path("chat", AzureSettings()) == "/openai/v1/chat/completions"
    assert json.loads(build("chat").request.body)["model"] == "my deployment/1"


def test_with_a_version_the_deployment_stands_in_the_path() -> None:
    deployed = "/openai/deployments/my%20deployment%2F1"
    assert path("chat", DATED) == f"{deployed}/chat/completions?api-version=2024-10-21"
    assert path("embeddings", DATED) == f"{deployed}/embeddings?api-version=2024-10-21"
    assert path("models", DATED) == "/openai/models?api-version=2024-10-21"


@table(
    ("model", "step"), [("a?b#c", "a%3Fb%23c"), ("gpt-4.1_x~y", "gpt-4.1_x~y"), ("ü", "%C3%BC"), ("a\r\nb", "a%0D%0Ab")]
)
def test_a_deployments_name_cannot_leave_its_step_of_the_path(model: str, step: str) -> None:
    assert path("chat", DATED, model=model).split("/")[3] == step


@pytest.mark.parametrize("model", [".", "..", "..."])
def test_a_deployment_that_would_climb_is_refused(model: str) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be the name of a deployment"):
        path("chat", DATED, model=model)


@table("version", ["", "v1", "latest", "2024-10-21&x=y", "2024-10-21-beta", "2024/10/21"])
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(ConfigError, match=r"AzureSettings\.api_version"):
        AzureSettings(api_version=version)


def test_a_preview_is_a_version() -> None:
    assert path("models", AzureSettings(api_version="2025-04-01-preview")).endswith("?api-version=2025-04-01-preview")


def test_settings_of_another_kind_are_refused() -> None:
    with pytest.raises(ConfigError, match="a key's settings are dict; give AzureSettings"):
        path("chat", {"api_version": "2024-10-21"})


def test_settings_come_with_the_key() -> None:
    key = Key(name="main", value="secret", settings=DATED, aliases={"gpt-4o": "my-deployment"})
    account = StaticAccount(keys={"azure": [key]}, configs={"azure": ProviderConfig(base_url=ENDPOINT)})
    assert account.keys("azure", None)[0].settings is DATED


def test_the_web_cannot_be_searched() -> None:
    request = ChatRequest(model="asked", messages=CHAT.messages, web_search=WebSearch())
    with pytest.raises(UnsupportedError, match="azure cannot search the web"):
        build("chat", request=request)


def test_the_row_is_what_the_vendor_says() -> None:
    assert (AZURE.name, AZURE.base_url) == ("azure", "")
    assert AZURE.key_variables == ("AZURE_OPENAI_API_KEY",)
    assert AZURE.base_url_variable == "AZURE_OPENAI_ENDPOINT"
    assert AZURE.request_id_headers[0] == "apim-request-id"


# --- the vendor's SDK as the judge


ASKED: dict[OperationName, Callable[[openai.OpenAI], Any]] = {
    "chat": lambda sdk: sdk.chat.completions.create(model="dep", messages=[{"role": "user", "content": "Hello"}]),
    "embeddings": lambda sdk: sdk.embeddings.create(model="dep", input=["Hello"]),
    "models": lambda sdk: sdk.models.list(),
}


def sent_by(make: Callable[[httpx2.Client], openai.OpenAI], endpoint: OperationName) -> httpx2.Request:
    sent: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(400, json={"error": {"message": "m"}})

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as http:
        client = make(http)
        with pytest.raises(openai.BadRequestError):
            ASKED[endpoint](client)
    (request,) = sent
    return request


@pytest.mark.parametrize("endpoint", REQUESTS)
def test_the_sdk_sends_the_same_with_a_version(endpoint: OperationName) -> None:
    theirs = sent_by(
        lambda http: openai.AzureOpenAI(
            api_key="secret", azure_endpoint=ENDPOINT, api_version="2024-10-21", http_client=http, max_retries=0
        ),
        endpoint,
    )
    ours = build(endpoint, DATED, model="dep").request
    sign(ours.headers, AZURE.auth, Secret("secret"))
    assert (ours.method, ENDPOINT + ours.path) == (theirs.method, str(theirs.url))
    assert json.loads(ours.body or b"{}") == json.loads(theirs.content or b"{}")
    assert ours.headers["api-key"].encode().decode() == theirs.headers["api-key"]


@pytest.mark.parametrize("endpoint", REQUESTS)
def test_the_sdk_sends_the_same_without_a_version(endpoint: OperationName) -> None:
    theirs = sent_by(
        lambda http: openai.OpenAI(
            api_key="secret", base_url=f"{ENDPOINT}/openai/v1/", http_client=http, max_retries=0
        ),
        endpoint,
    )
    ours = build(endpoint, model="dep").request
    assert (ours.method, ENDPOINT + ours.path) == (theirs.method, str(theirs.url))
    assert json.loads(ours.body or b"{}") == json.loads(theirs.content or b"{}")
