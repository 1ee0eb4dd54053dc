"""What every client of confluent-kafka that the product makes begins with. Knows no topic."""

from typing import Any

from connectors.secret_files import SecretFileError, read_secret, readable
from settings import KafkaSettings

# Of syslog's levels: critical. Otherwise a client prints its own lines among those of a command, as when it is closed,
# and one for each connection that fails, which whoever uses the client is told anyway.
LOG_LEVEL = 2


def client_config(kafka: KafkaSettings) -> dict[str, Any]:
    """The brokers' addresses, how to be let in, and silence but for what is critical.

    It holds the password, so it must not be printed. Raises SecretFileError.
    """
    return {
        "bootstrap.servers": kafka.bootstrap_servers,
        "log_level": LOG_LEVEL,
        "security.protocol": kafka.security_protocol,
        **_encryption(kafka),
        **_login(kafka),
    }


def _encryption(kafka: KafkaSettings) -> dict[str, Any]:
    files = {
        "ssl.ca.location": ("ca_file", kafka.ca_file),
        "ssl.certificate.location": ("certificate_file", kafka.certificate_file),
        "ssl.key.location": ("key_file", kafka.key_file),
    }
    return {name: readable(f"kafka.{field}", path) for name, (field, path) in files.items() if path is not None}


def _login(kafka: KafkaSettings) -> dict[str, Any]:
    if kafka.sasl_mechanism is None:
        return {}
    if kafka.sasl_mechanism == "OAUTHBEARER":
        scope = {} if kafka.token_scope is None else {"sasl.oauthbearer.scope": kafka.token_scope}
        return {
            **scope,
            "sasl.mechanism": kafka.sasl_mechanism,
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.token.endpoint.url": kafka.token_url,
            "sasl.oauthbearer.client.id": kafka.client_id,
            "sasl.oauthbearer.client.secret": _secret("client_secret_file", kafka.client_secret_file),
        }
    return {
        "sasl.mechanism": kafka.sasl_mechanism,
        "sasl.username": kafka.username,
        "sasl.password": _secret("password_file", kafka.password_file),
    }


def _secret(field: str, path: str | None) -> str:
    # The settings refuse a mechanism without its file.
    assert path is not None, field
    secret = read_secret(f"kafka.{field}", path)
    if '"' in secret or "\\" in secret:
        # It is refused here, too, because in Java the error would come only when the job runs.
        raise SecretFileError(
            f"kafka.{field}={path} has a quotation mark or a backslash, which the login configuration of Flink's "
            "connectors cannot hold; choose another secret"
        )
    return secret
