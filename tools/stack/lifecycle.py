"""Lets raw events leave the object store: a lifecycle rule of the bucket, and who follows it.

S3 itself follows the rules of its buckets, once a day. SeaweedFS keeps them, and follows them when it is told to.
Requests are signed by hand (AWS Signature Version 4), for pyarrow knows no rules.
"""

import hashlib
import hmac
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from settings import S3Settings, Settings
from tools.stack.ports import HOST

TIMEOUT_S = 20.0
PASS_S = 60
RULE = "raw-events"
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


class LifecycleError(RuntimeError):
    """The store refused the rule, or to follow it; the text has its words."""


def rule_of(settings: Settings) -> tuple[str, bytes]:
    """(bucket, the rule in XML): what is archived leaves after so many days, and nothing else does."""
    bucket, _, folder = settings.archive.path.removeprefix("s3://").partition("/")
    return bucket, rule_xml(f"{folder}/", f"<Days>{settings.archive.kept_days}</Days>")


def rule_xml(prefix: str, expiration: str) -> bytes:
    """A bucket's only rule: objects whose keys begin so expire."""
    return (
        f'<LifecycleConfiguration xmlns="{_NAMESPACE}"><Rule><ID>{RULE}</ID><Filter><Prefix>{prefix}</Prefix></Filter>'
        f"<Status>Enabled</Status><Expiration>{expiration}</Expiration></Rule></LifecycleConfiguration>"
    ).encode()


def put_rule(s3: S3Settings, bucket: str, rule: bytes) -> None:
    """Make this the bucket's only rule. Raises LifecycleError."""
    if s3.endpoint is None or s3.access_key is None or s3.secret_key is None:
        raise LifecycleError("s3.endpoint, s3.access_key and s3.secret_key must be set to put a rule; set all of them")
    url = f"{s3.endpoint}/{bucket}?lifecycle="
    headers = signed("PUT", url, rule, s3.access_key, s3.secret_key.get_secret_value(), s3.region, datetime.now(UTC))
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, data=rule, method="PUT", headers=headers), timeout=TIMEOUT_S
        ):
            return
    except urllib.error.HTTPError as error:
        raise LifecycleError(f"bucket {bucket} takes no lifecycle rule: {error}: {error.read()[:500]!r}") from error
    except OSError as error:
        raise LifecycleError(f"{s3.endpoint} does not answer: {error}") from error


def signed(
    method: str, url: str, body: bytes, access_key: str, secret_key: str, region: str, now: datetime
) -> dict[str, str]:
    """The headers of a request to S3. The query of `url` must be as it is signed: sorted, with `=` after each name."""
    parts = urllib.parse.urlsplit(url)
    stamp, day = f"{now:%Y%m%dT%H%M%SZ}", f"{now:%Y%m%d}"
    headers = {
        "host": parts.netloc,
        "x-amz-content-sha256": hashlib.sha256(body).hexdigest(),
        "x-amz-date": stamp,
    }
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = "\n".join((method, parts.path or "/", parts.query, lines, names, headers["x-amz-content-sha256"]))
    scope = f"{day}/{region}/s3/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    authorization = f"AWS4-HMAC-SHA256 Credential={access_key}/{scope},SignedHeaders={names},Signature={signature}"
    return {**headers, "authorization": authorization}


def follow_rules(ports: Mapping[str, int]) -> None:
    """One pass over all of SeaweedFS's buckets, which deletes what is due. Raises LifecycleError."""
    command = [
        str(Path(sys.executable).with_name("weed")),
        "shell",
        f"-master={HOST}:{ports['seaweed_master']}.{ports['seaweed_master_grpc']}",
        f"-filer={HOST}:{ports['seaweed_filer']}.{ports['seaweed_filer_grpc']}",
    ]
    told = f"s3.lifecycle.run-shard -shards 0-15 -s3 {HOST}:{ports['s3_grpc']} -runtime {PASS_S}s\n"
    done = subprocess.run(command, input=told, capture_output=True, text=True, timeout=3 * PASS_S, check=False)
    # The shell ends with 0 whatever became of the command.
    if "complete" not in done.stdout:
        raise LifecycleError(f"SeaweedFS did not follow its lifecycle rules: {(done.stdout + done.stderr)[-1000:]}")
