"""AWS credentials from botocore's chain, for Bedrock. The package botocore is imported on first use.

Reference: https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html.
"""

from __future__ import annotations

from typing import Any

import attrs

from bifrost.credentials.base import Token
from bifrost.credentials.sdk import as_secret, failed, sdk
from bifrost.errors import ConfigError, TokenError
from bifrost.frozen import Frozen
from bifrost.misplaced_keys import hides_keys_in_init
from bifrost.wire.secrets import Secret, applied

_NAME = "AwsCredentials"


@hides_keys_in_init
@attrs.frozen(kw_only=True, eq=False, repr=False)
class AwsCredentials(Frozen):
    """Fetches AWS credentials for a key of Bedrock. Needs `pip install bifrost-llm[aws]`.

        Key(name="bedrock", credentials=AwsCredentials(role_arn="arn:aws:iam::123456789012:role/inference"))

    Without arguments it uses botocore's chain: the `AWS_...` variables, the shared files, SSO, a container's or an
    instance's role. Its tokens are what `SigV4Auth` signs with. Raises `ConfigError` for `profile` beside `keys`.
    """

    profile: str | None = None
    """The profile of the shared files. Default: `AWS_PROFILE`, or the default one."""

    keys: Secret | None = attrs.field(default=None, converter=as_secret)
    """`ACCESS_KEY_ID:SECRET_ACCESS_KEY` or `ACCESS_KEY_ID:SECRET_ACCESS_KEY:SESSION_TOKEN`, in place of the chain. A
    `str` is converted to a `Secret`. Default: none.
    """

    role_arn: str | None = None
    """The role to assume, with the credentials that were found. Default: none."""

    external_id: str | None = None
    """The external id that the role demands. Default: none."""

    session_name: str = "bifrost"
    """The name of the role's session in AWS's logs. Default: `bifrost`."""

    region: str | None = None
    """The region whose token service issues the role's credentials. Default: that of the profile or the variables."""

    def __attrs_post_init__(self) -> None:
        if self.profile is not None and self.keys is not None:
            raise ConfigError(f"{_NAME}: give either profile or keys")
        if self.external_id is not None and self.role_arn is None:
            raise ConfigError(f"{_NAME}: external_id belongs to a role; give role_arn too")

    def fetch(self) -> Token:
        """Return the credentials, and until when they are valid.

        Raises `TokenError`, or `ConfigError` if botocore is not installed.
        """
        module = sdk("botocore.session", package="botocore", extra="aws", user=_NAME)
        try:
            # Another session for each fetch: it would return its last credentials, which AWS may have refused.
            session = module.Session(profile=self.profile)
            if self.keys is not None:
                applied(lambda text: session.set_credentials(*text.split(":")), self.keys)
            return self._of_role(session) if self.role_arn is not None else _of_chain(session)
        except TokenError:
            raise
        except Exception as error:  # noqa: BLE001 - foreign code; translated below, outside the block
            failure = failed(_NAME, error, self.keys)
        raise failure

    def _of_role(self, session: Any) -> Token:
        external = {} if self.external_id is None else {"ExternalId": self.external_id}
        client = session.create_client("sts", region_name=self.region)
        try:
            answer = client.assume_role(RoleArn=self.role_arn, RoleSessionName=self.session_name, **external)
        finally:
            client.close()
        found = answer["Credentials"]
        return _token(
            found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"], found["Expiration"].timestamp()
        )


def _of_chain(session: Any) -> Token:
    credentials = session.get_credentials()
    if credentials is None:
        raise TokenError(f"{_NAME} found no credentials; set the AWS_... variables, a profile, or a role")
    found = credentials.get_frozen_credentials()
    # Of the credentials that are refreshed, botocore tells the time in this attribute only.
    expiry = getattr(credentials, "_expiry_time", None)
    return _token(found.access_key, found.secret_key, found.token, None if expiry is None else expiry.timestamp())


def _token(access: str, secret: str, session: str | None, expires_at: float | None) -> Token:
    return Token(":".join(filter(None, (access, secret, session))), expires_at=expires_at)
