"""How clients reach the object store of a local stack."""

from settings import S3Settings
from tools.stack.files import S3_ACCESS_KEY, S3_SECRET_KEY
from tools.stack.stack import Stack


def s3_settings(stack: Stack) -> S3Settings:
    """The settings of a client of this stack's object store."""
    return S3Settings(endpoint=stack.endpoints["s3"], access_key=S3_ACCESS_KEY, secret_key=S3_SECRET_KEY)
