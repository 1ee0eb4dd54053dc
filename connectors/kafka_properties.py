"""The same settings as properties of Java's clients, for Flink's own connectors. Knows no Flink.

A secret is a reference to its file, ${directory:FOLDER:NAME}. Kafka's client replaces it when it is made, on the
JobManager or a TaskManager, so the job graph has the reference alone (docs/decisions/0052).
"""

from pathlib import PurePosixPath

from settings import KafkaSettings

# Flink's connector has Kafka's classes under names of its own.
KAFKA = "org.apache.flink.kafka.shaded.org.apache.kafka"
PROVIDER = f"{KAFKA}.common.config.provider.DirectoryConfigProvider"
_SECURITY = f"{KAFKA}.common.security"
_LOGIN_MODULES = {
    "PLAIN": f"{_SECURITY}.plain.PlainLoginModule",
    "SCRAM-SHA-256": f"{_SECURITY}.scram.ScramLoginModule",
    "SCRAM-SHA-512": f"{_SECURITY}.scram.ScramLoginModule",
    "OAUTHBEARER": f"{_SECURITY}.oauthbearer.OAuthBearerLoginModule",
}


def java_properties(kafka: KafkaSettings) -> dict[str, str]:
    """The brokers' addresses, and how to be let in."""
    properties = {"bootstrap.servers": kafka.bootstrap_servers, "security.protocol": kafka.security_protocol}
    if kafka.is_encrypted:
        properties |= _encryption(kafka)
    if kafka.sasl_mechanism is not None:
        properties |= _login(kafka, kafka.sasl_mechanism)
    if any("${directory:" in value for value in properties.values()):
        properties |= {"config.providers": "directory", "config.providers.directory.class": PROVIDER}
    return properties


def _encryption(kafka: KafkaSettings) -> dict[str, str]:
    properties: dict[str, str] = {}
    if kafka.ca_file is not None:
        properties |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": kafka.ca_file}
    if kafka.certificate_file is not None:
        properties |= {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.certificate.chain": _content_of(kafka.certificate_file),
            "ssl.keystore.key": _content_of(kafka.key_file),
        }
    return properties


def _login(kafka: KafkaSettings, mechanism: str) -> dict[str, str]:
    properties = {"sasl.mechanism": mechanism}
    if mechanism == "OAUTHBEARER":
        options = {"clientId": kafka.client_id, "clientSecret": _content_of(kafka.client_secret_file)}
        if kafka.token_scope is not None:
            options |= {"scope": kafka.token_scope}
        properties |= {
            "sasl.login.callback.handler.class": f"{_SECURITY}.oauthbearer.OAuthBearerLoginCallbackHandler",
            "sasl.oauthbearer.token.endpoint.url": str(kafka.token_url),
        }
    else:
        options = {"username": kafka.username, "password": _content_of(kafka.password_file)}
    listed = " ".join(f'{name}="{value}"' for name, value in options.items())
    return {**properties, "sasl.jaas.config": f"{_LOGIN_MODULES[mechanism]} required {listed};"}


def _content_of(file: str | None) -> str:
    # The settings refuse a mechanism without its file, and a certificate without its key.
    assert file is not None
    path = PurePosixPath(file)
    return f"${{directory:{path.parent}:{path.name}}}"
