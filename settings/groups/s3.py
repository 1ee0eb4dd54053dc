"""The object store."""

from typing import Self

from pydantic import Field, SecretStr, model_validator

from settings.groups.base import Group


class S3Settings(Group):
    """The object store for this product's Python code. Flink has settings of its own for it, s3.*."""

    endpoint: str | None = Field(None, description="The URL of the store, if it is not AWS S3.")
    region: str = Field("us-east-1", min_length=1, description="The region of the store.")
    access_key: str | None = Field(
        None,
        description="The access key. Set it together with secret_key; if neither is set, the credentials of the "
        "environment are used.",
    )
    secret_key: SecretStr | None = Field(None, description="The secret key. Set it together with access_key.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.access_key is None) != (self.secret_key is None):
            missing = "secret_key" if self.secret_key is None else "access_key"
            raise ValueError(f"s3.{missing} is not set and the other key is; set both or none")
        return self
