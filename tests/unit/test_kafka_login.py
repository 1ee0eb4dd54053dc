"""Settings of a secured Kafka are refused unless they are whole, and become what each kind of client wants."""

from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from pydantic import ValidationError

from connectors.kafka_clients import client_config
from connectors.kafka_properties import java_properties
from connectors.secret_files import SecretFileError
from settings import KafkaSettings

SCRAM = {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512", "username": "views"}
OAUTH = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "OAUTHBEARER",
    "token_url": "https://login.example/token",
    "client_id": "views",
}


def scram(folder: Path, password: str) -> KafkaSettings:
    file = folder / "password"
    file.write_text(password, encoding="utf-8")
    return KafkaSettings.model_validate({**SCRAM, "password_file": str(file)})


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"security_protocol": "SASL_SSL"}, "kafka.sasl_mechanism is not set with kafka.security_protocol=SASL_SSL"),
        ({"sasl_mechanism": "PLAIN"}, "kafka.sasl_mechanism=PLAIN has no effect with .*security_protocol=PLAINTEXT"),
        ({"ca_file": "/ca.pem"}, "kafka.ca_file=/ca.pem has no effect with kafka.security_protocol=PLAINTEXT"),
        ({"username": "views"}, "kafka.username=views has no effect with kafka.sasl_mechanism=None"),
        (SCRAM, "kafka.password_file is not set with kafka.sasl_mechanism=SCRAM-SHA-512"),
        ({**SCRAM, "password_file": "/p", "token_scope": "s"}, "kafka.token_scope=s has no effect with"),
        (OAUTH, "kafka.client_secret_file is not set with kafka.sasl_mechanism=OAUTHBEARER"),
        ({"security_protocol": "SSL", "certificate_file": "/c.pem"}, "kafka.key_file is not set"),
        # Java would read a colon as the end of the folder, and a brace as the end of the reference.
        ({**SCRAM, "password_file": "/a:b"}, "password_file"),
        ({**SCRAM, "password_file": "secrets/password"}, "password_file"),
        ({**SCRAM, "password_file": "/p", "username": "${env:HOME}"}, "username"),
    ],
)
def test_settings_that_are_not_whole_are_refused(values: dict[str, str], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        KafkaSettings.model_validate(values)


def test_a_python_client_has_the_password_itself(tmp_path: Path) -> None:
    config = client_config(scram(tmp_path, "swordfish"))
    assert config["sasl.password"] == "swordfish"
    assert config["security.protocol"] == "SASL_SSL"


def test_neither_settings_nor_java_s_properties_hold_a_secret(tmp_path: Path) -> None:
    kafka = scram(tmp_path, "swordfish")
    properties = java_properties(kafka)
    assert "swordfish" not in f"{kafka!r} {properties}"
    assert properties["sasl.jaas.config"].endswith(
        f'ScramLoginModule required username="views" password="${{directory:{tmp_path}:password}}";'
    )
    assert properties["config.providers"] == "directory"


def test_a_certificate_needs_no_login(tmp_path: Path) -> None:
    files = {f"{name}_file": tmp_path / f"{name}.pem" for name in ("ca", "certificate", "key")}
    kafka = KafkaSettings.model_validate(
        {"security_protocol": "SSL", **{name: str(path) for name, path in files.items()}}
    )
    properties = java_properties(kafka)
    assert properties["ssl.truststore.location"] == str(files["ca_file"])
    assert properties["ssl.keystore.key"] == f"${{directory:{tmp_path}:key.pem}}"
    with pytest.raises(SecretFileError, match=r"kafka\.ca_file=.*ca\.pem cannot be read \(No such file or directory\)"):
        client_config(kafka)
    for path in files.values():
        path.touch()
    assert client_config(kafka) == {
        "bootstrap.servers": "127.0.0.1:9092",
        "log_level": 2,
        "security.protocol": "SSL",
        "ssl.ca.location": str(files["ca_file"]),
        "ssl.certificate.location": str(files["certificate_file"]),
        "ssl.key.location": str(files["key_file"]),
    }


def test_without_security_the_properties_are_few() -> None:
    assert java_properties(KafkaSettings()) == {
        "bootstrap.servers": "127.0.0.1:9092",
        "security.protocol": "PLAINTEXT",
    }


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("swordfish\n", "has a line break"),
        ("", "is empty"),
        ('sword"fish', "has a quotation mark or a backslash"),
        ("sword\\fish", "has a quotation mark or a backslash"),
    ],
)
def test_a_password_that_one_kind_of_client_could_not_take_is_refused(
    tmp_path: Path, content: str, complaint: str
) -> None:
    kafka = scram(tmp_path, content)
    with pytest.raises(SecretFileError, match=complaint) as refused:
        client_config(kafka)
    assert str(refused.value).startswith(f"kafka.password_file={kafka.password_file} ")
    assert "fish" not in str(refused.value)


def test_a_missing_file_and_one_that_is_not_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes(b"\xffsword")
    values: dict[str, Any] = {**SCRAM, "password_file": str(tmp_path / "password")}
    with pytest.raises(SecretFileError, match=r"password is not UTF-8"):
        client_config(KafkaSettings.model_validate(values))
    (tmp_path / "password").unlink()
    with pytest.raises(SecretFileError, match=r"kafka\.password_file=.*No such file"):
        client_config(KafkaSettings.model_validate(values))


def test_the_library_knows_the_names_of_oauthbearer(tmp_path: Path) -> None:
    """It refuses names that it does not know, and a mechanism that it was built without."""
    (tmp_path / "secret").write_text("swordfish", encoding="utf-8")
    kafka = KafkaSettings.model_validate(
        {
            **OAUTH,
            "bootstrap_servers": "127.0.0.1:9",
            "client_secret_file": str(tmp_path / "secret"),
            "token_scope": "k",
        }
    )
    AdminClient(client_config(kafka))
    properties = java_properties(kafka)
    assert 'clientId="views"' in properties["sasl.jaas.config"]
    assert 'scope="k"' in properties["sasl.jaas.config"]
    assert "swordfish" not in str(properties)
