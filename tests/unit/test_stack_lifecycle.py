"""Raw events leave by a rule of the bucket: what it says, and how the request for it is signed."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

from settings import ArchiveSettings, Settings
from tools.stack.lifecycle import rule_of, signed

OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


def fields(rule: bytes) -> dict[str, str]:
    """The texts of its elements by name."""
    return {element.tag.split("}")[1]: element.text or "" for element in ET.fromstring(rule).iter() if element.text}


def test_the_rule_is_about_the_archive_alone() -> None:
    bucket, rule = rule_of(Settings(archive=ArchiveSettings(path="s3://events/raw/views", kept_days=30)))
    assert bucket == "events"
    assert fields(rule) == {"ID": "raw-events", "Prefix": "raw/views/", "Status": "Enabled", "Days": "30"}


def test_the_documented_rule_is_the_same() -> None:
    (block,) = (block for block in re.findall(r"```json\n(.*?)```", OPERATIONS, re.DOTALL) if "Expiration" in block)
    (documented,) = json.loads(block)["Rules"]
    bucket, rule = rule_of(Settings())
    assert f"--bucket {bucket}" in re.sub(r"\s+", " ", OPERATIONS)
    assert {
        "ID": documented["ID"],
        "Status": documented["Status"],
        "Prefix": documented["Filter"]["Prefix"],
        "Days": str(documented["Expiration"]["Days"]),
    } == fields(rule)


def test_requests_are_signed_as_s3_signs_them() -> None:
    """The example of its documentation, "GET Bucket Lifecycle"."""
    headers = signed(
        "GET",
        "https://examplebucket.s3.amazonaws.com/?lifecycle=",
        b"",
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "us-east-1",
        datetime(2013, 5, 24, tzinfo=UTC),
    )
    assert headers["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
        "SignedHeaders=host;x-amz-content-sha256;x-amz-date,"
        "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
    )
