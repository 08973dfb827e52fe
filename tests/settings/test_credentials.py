"""Credentials that expire, as both forms of a file say them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from bifrost import AwsCredentials, EntraCredentials, GoogleCredentials, Key, Secret
from bifrost.frozen import Frozen
from bifrost.settings.credentials import SOURCES
from bifrost.settings.environment import Environment
from bifrost.settings.original.credentials import FIELDS
from bifrost.settings.original.form import KeyBlock
from bifrost.settings.original.keys import read_keys
from bifrost.settings.problems import Problems
from bifrost.settings.shape import Reader, fields_of
from tests.settings.files import ENVIRON, problems, problems_json, read, read_json

OURS = """
[providers.azure]
base_url = "https://mine.openai.azure.com"
[[providers.azure.keys]]
name = "identity"
weight = 2
credentials = {{ type = "{type}" {more} }}
"""


def ours(type: str = "entra", more: str = "", **environ: str) -> Key:  # noqa: A002 - the word of the file
    """Read the only key of a file in bifrost's own form."""
    text = OURS.format(type=type, more=more and f", {more}")
    keys = read(text, environ={**ENVIRON, **environ}).account.keys("azure", None)
    (key,) = keys
    return key


def test_a_key_of_a_file_may_have_credentials() -> None:
    key = ours()
    assert (key.name, key.value, key.weight) == ("identity", None, 2)
    assert key.credentials == EntraCredentials()


@pytest.mark.parametrize(
    ("type", "more", "made"),
    [
        (
            "entra",
            'tenant_id = "t", client_id = "c", client_secret = "env.SECRET"',
            EntraCredentials(tenant_id="t", client_id="c", client_secret="hunter2"),
        ),
        ("google", 'file = "env.FILE", scopes = ["a", "b"]', GoogleCredentials(file="/x.json", scopes=["a", "b"])),
        ("google", 'info = "{}"', GoogleCredentials(info="{}")),
        (
            "aws",
            'keys = "env.SECRET", role_arn = "arn", region = "eu-central-1"',
            AwsCredentials(keys="hunter2", role_arn="arn", region="eu-central-1"),
        ),
    ],
)
def test_their_fields_are_those_of_the_classes(type: str, more: str, made: Any) -> None:  # noqa: A002 - as above
    key = ours(type, more, SECRET="hunter2", FILE="/x.json")
    assert key.credentials == made
    assert "hunter2" not in repr(key.credentials)


def test_every_class_can_be_named_and_objects_cannot() -> None:
    named = {kind: set(fields_of(shape)) for kind, shape in SOURCES.items()}
    assert "credential" not in named["entra"]
    assert "credentials" not in named["google"]
    for kind, shape in SOURCES.items():
        objects = {field.name for field in attrs.fields(shape) if field.name in ("credential", "credentials")}
        assert named[kind] == {field.name for field in attrs.fields(shape)} - objects


@pytest.mark.parametrize(
    ("credentials", "told"),
    [
        ("{}", "credentials.type: this must be the type of the credentials; there are: entra, google, aws"),
        ('{ type = "entre" }', "credentials.type: this must be the type of the credentials; did you mean 'entra'?"),
        ("{ type = 3 }", "credentials.type: this must be the type of the credentials; there are: entra, google, aws"),
        ('{ type = "entra", tenent_id = "t" }', "credentials.tenent_id: there is no such setting; did you mean"),
        ('{ type = "entra", tenant_id = 3 }', "credentials.tenant_id: expected text, found the number 3"),
        ('{ type = "entra", tenant_id = "t" }', "credentials: EntraCredentials: give tenant_id, client_id and"),
        ('{ type = "aws", keys = "env.NOWHERE" }', "credentials.keys: the environment variable NOWHERE is not set"),
        ('{ type = "google", file = "a", info = "b" }', "credentials: GoogleCredentials: give one of file, info"),
        ('"entra"', "credentials: expected a table, found text"),
    ],
)
def test_what_is_wrong_is_told_at_its_place(credentials: str, told: str) -> None:
    text = OURS.replace('{{ type = "{type}" {more} }}', credentials)
    found = problems(text)
    assert len(found) == 1
    assert found[0].startswith(f"providers.azure.keys[0].{told}"), found


def test_a_key_has_a_value_or_credentials() -> None:
    text = OURS.format(type="entra", more="") + '\nvalue = "env.K1"'
    assert problems(text) == ["providers.azure.keys[0].credentials: the key has a value too; remove one of them"]
    text = '[providers.ollama]\nkeys = [{ credentials = { type = "entra" } }]'
    assert problems(text) == ["providers.ollama.keys[0].credentials: ollama needs no key; remove this"]


# --- the original's form


def azure(block: dict[str, Any], **key: Any) -> Any:
    block = {"endpoint": "https://mine.openai.azure.com", **block}
    return {"client": {}, "providers": {"azure": {"keys": [{"name": "k", "azure_key_config": block, **key}]}}}


APPLICATION = {"client_id": "c", "client_secret": "env.SECRET", "tenant_id": {"value": "t"}}


def test_azures_application_goes_before_the_value() -> None:
    made = EntraCredentials(tenant_id="t", client_id="c", client_secret="hunter2")
    for value in ({}, {"value": "env.K1"}):
        settings = read_json(azure(APPLICATION, **value), environ={**ENVIRON, "SECRET": "hunter2"})
        (key,) = settings.account.keys("azure", None)
        assert (key.value, key.credentials, settings.notes) == (None, made, ())


def test_a_key_of_azure_without_anything_is_this_machines_identity() -> None:
    (key,) = read_json(azure({})).account.keys("azure", None)
    assert key.credentials == EntraCredentials()
    (key,) = read_json(azure({}, value="env.K1")).account.keys("azure", None)
    assert (key.value, key.credentials) == (Secret(ENVIRON["K1"]), None)


def test_half_an_application_is_told() -> None:
    (told,) = problems_json(azure({"tenant_id": "t"}))
    assert told.startswith("providers.azure.keys[0].azure_key_config: EntraCredentials: give tenant_id")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Regional(Frozen):
    """The settings of a key of Vertex AI or Bedrock."""

    region: str | None = None
    project: str | None = None


def of_block(name: str, block: dict[str, Any], **key: Any) -> Key:
    """Read a key with a block of a provider whose keys have a region."""
    found = Problems()
    reading: Any = SimpleNamespace(problems=found, environment=Environment({"SECRET": "hunter2"}), note=None)
    keys, _ = read_keys(
        [{"name": "k", name: block, **key}],
        provider="regional",
        settings=Regional,
        keyless=False,
        empty_means_all=False,
        at="keys",
        reader=Reader(found),
        reading=reading,
    )
    assert not found
    (made,) = keys
    return made


ROLE = {"role_arn": "arn", "external_id": "e", "session_name": "s", "region": "eu-central-1"}


@pytest.mark.parametrize(
    ("name", "block", "value", "credentials"),
    [
        ("vertex_key_config", {"project_id": "p", "region": "r"}, None, GoogleCredentials()),
        ("vertex_key_config", {"auth_credentials": "env.SECRET"}, None, GoogleCredentials(info="hunter2")),
        ("bedrock_key_config", {"access_key": "A", "secret_key": "env.SECRET"}, Secret("A:hunter2"), None),
        ("bedrock_key_config", {"access_key": "A", "secret_key": "S", "session_token": "T"}, Secret("A:S:T"), None),
        ("bedrock_key_config", {"region": "r"}, None, AwsCredentials(region="r")),
        ("bedrock_key_config", ROLE, None, AwsCredentials(**ROLE)),
        (
            "bedrock_key_config",
            {"access_key": "A", "secret_key": "S", **ROLE},
            None,
            AwsCredentials(keys="A:S", **ROLE),
        ),
    ],
)
def test_the_other_clouds_have_theirs(name: str, block: dict[str, Any], value: Any, credentials: Any) -> None:
    key = of_block(name, block)
    assert (key.value, key.credentials) == (value, credentials)
    region, project = block.get("region"), block.get("project_id")
    assert key.settings == (Regional(region=region, project=project) if region or project else None)


def test_an_api_key_goes_before_aws_credentials() -> None:
    key = of_block("bedrock_key_config", {"access_key": "A", "secret_key": "S"}, value="bedrock-api-key-1")
    assert (key.value, key.credentials) == (Secret("bedrock-api-key-1"), None)


def test_every_field_of_the_blocks_is_read() -> None:
    for fields in FIELDS.values():
        assert set(fields) <= set(KeyBlock.__struct_fields__)
