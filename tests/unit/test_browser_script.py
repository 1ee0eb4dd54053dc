"""The browser script as a file: small, made of its source, never another under the same name, served to all pages."""

import base64
import gzip
import hashlib
import re
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from schemas.browser_script import VERSION, VERSIONS, integrity, record, script, source, tag, versioned
from services.ingest.script import NEWEST_S
from services.ingest.try_page import QUERY_PORT
from settings import AccessSettings, IngestSettings, Settings
from tests.support.ingest_writer import ingest_client
from tools.minify.making import is_installed, minified
from tools.ops.app import app as operators
from tools.stack.machine.haproxy import haproxy
from tools.stack.machine.ports import DEFAULT_PORTS

ROOT = Path(__file__).parents[2]
SIZE_MAX = 2560
MADE_AGAIN = "run `python -m tools.minify`; after a release, raise VERSION in schemas/browser_script.py first"


def sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def test_it_has_at_most_two_and_a_half_kilobytes() -> None:
    assert len(gzip.compress(script(), 9, mtime=0)) <= SIZE_MAX


def test_every_version_is_as_it_was_made() -> None:
    assert tuple(record()) == VERSIONS
    assert {version: sha256(script(version)) for version in VERSIONS} == {
        version: made.made for version, made in record().items()
    }


def test_the_newest_was_made_of_the_source() -> None:
    assert record()[VERSION].source == sha256(source()), MADE_AGAIN
    if is_installed():
        assert minified(source()) == script(), MADE_AGAIN


def test_it_knows_no_cookie_and_names_no_other_host() -> None:
    assert not re.search(rb"cookie|https?://", script())


def test_a_version_is_kept_for_ever_and_the_newest_for_an_hour() -> None:
    client = ingest_client()
    for path, said in (("/vc.js", f"max-age={NEWEST_S}"), (f"/vc.{VERSION}.js", "immutable")):
        answer = client.get(path)
        assert (answer.status_code, answer.content) == (200, script())
        assert said in answer.headers["cache-control"]
        assert answer.headers["content-type"].startswith("text/javascript")
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get(f"/vc.{VERSION + 1}.js").status_code == 404


def test_an_unchanged_script_is_not_sent_again() -> None:
    client = ingest_client()
    tags = set()
    for encoding in ("gzip", "identity"):
        headers = {"Accept-Encoding": encoding}
        first = client.get("/vc.js", headers=headers)
        assert first.headers.get("content-encoding", "identity") == encoding
        again = client.get("/vc.js", headers={**headers, "If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
        tags.add(first.headers["etag"])
    assert len(tags) == 2


def test_every_page_may_read_it_whatever_origins_may_send() -> None:
    """A browser runs a script with `integrity` of another origin only if the page may read it."""
    client = ingest_client(Settings(access=AccessSettings(mode="open", origins="https://www.example.com")))
    for origin in ({}, {"Origin": "https://elsewhere.example"}):
        assert client.get("/vc.js", headers=origin).headers["access-control-allow-origin"] == "*"


def test_the_tag_names_version_and_hash() -> None:
    digest = base64.b64encode(hashlib.sha384(script()).digest()).decode()
    assert integrity() == f"sha384-{digest}"
    made = tag("https://counts.example.com/vc.js", "vc_pubwrite_a_b")
    assert f'src="https://counts.example.com{versioned("/vc.js")}"' in made
    assert f'integrity="{integrity()}"' in made
    assert 'data-key="vc_pubwrite_a_b"' in made
    assert "data-key" not in tag("https://counts.example.com/vc.js")


def test_the_path_is_a_setting() -> None:
    client = ingest_client(Settings(ingest=IngestSettings(script_path="/js/plays.js")))
    assert client.get(f"/js/plays.{VERSION}.js").status_code == 200
    assert client.get("/vc.js").status_code == 404
    assert ingest_client(Settings(ingest=IngestSettings(script_path=""))).get("/vc.js").status_code == 404


@pytest.mark.parametrize("path", ["vc.js", "/vc", "/", "//host/vc.js", "/{x}.js", "/vc.js?"])
def test_a_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="script_path"):
        IngestSettings(script_path=path)


def test_the_page_to_try_asks_the_usual_port_of_query() -> None:
    assert DEFAULT_PORTS["query"] == QUERY_PORT


def test_the_recipe_for_haproxy_is_one(tmp_path: Path) -> None:
    (recipe,) = re.findall(
        r"^```haproxy\n(.*?)^```", (ROOT / "docs" / "browser.md").read_text(), re.MULTILINE | re.DOTALL
    )
    program = haproxy()
    assert program is not None
    rest = "defaults\n    mode http\n    timeout client 5s\n    timeout connect 5s\n    timeout server 5s\n"
    file = tmp_path / "haproxy.cfg"
    file.write_text(f"{rest}{recipe}\nbackend pages\n    server pages 10.0.0.6:80\n")
    done = subprocess.run([program, "-c", "-f", file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_page_to_try_is_there_in_open_access_alone() -> None:
    answer = ingest_client().get("/try")
    assert (answer.status_code, versioned("/vc.js") in answer.text) == (200, True)
    assert ingest_client(Settings(access=AccessSettings(mode="keys"))).get("/try").status_code == 404
    assert ingest_client(Settings(ingest=IngestSettings(script_path=""))).get("/try").status_code == 404


def test_the_command_shows_the_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    run = CliRunner()
    monkeypatch.setenv("VIEW_COUNTS_ACCESS_MODE", "keys")
    shown = run.invoke(operators, ["script", "--at", "https://counts.example.com/", "--key", "vc_pubwrite_a_b"])
    assert shown.output.strip() == tag("https://counts.example.com/vc.js", "vc_pubwrite_a_b")
    secret = run.invoke(operators, ["script", "--key", "vc_write_a_b"])
    assert (secret.exit_code, "vc_write_a_b" in secret.output) == (1, False)
    monkeypatch.setenv("VIEW_COUNTS_ACCESS_MODE", "open")
    local = run.invoke(operators, ["script"]).output.strip()
    assert local == tag("http://127.0.0.1:8080/vc.js", is_local=True)
    assert " data-local" in local
