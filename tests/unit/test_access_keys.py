"""The file of keys: what an entry may be, how it is changed, and what becomes of a file that cannot be read."""

import stat
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from connectors.key_file import change_keys, read_keys
from schemas.access_keys import Key, KeyFileError, check, decode, encode, id_of, new_key
from services.access.known_keys import KnownKeys, Told
from services.refused import RefusedError

PUBLIC = {"kinds": ("view",), "origins": ("https://www.example.com",), "video_id_prefix": "acme-"}


def made(scope: Any = "write", **more: Any) -> tuple[Key, str]:
    key, text = new_key(scope, "acme")
    return msgspec.structs.replace(key, **more), text


def test_a_key_is_known_by_its_text_and_the_file_has_no_secret() -> None:
    key, text = made()
    assert text.startswith(f"vc_write_{key.id}_")
    assert id_of(text) == key.id
    content = encode([key])
    assert decode(content) == (key,)
    secret = text.rpartition("_")[2]
    assert len(secret) == 32
    assert secret.encode() not in content


@pytest.mark.parametrize(
    ("scope", "fields", "words"),
    [
        ("pubwrite", {**PUBLIC, "kinds": ()}, "must name kinds"),
        ("pubwrite", {**PUBLIC, "origins": ()}, "must name origins"),
        ("pubread", {**PUBLIC, "video_id_prefix": ""}, "must name video_id_prefix"),
        ("pubwrite", {**PUBLIC, "origins": ("www.example.com",)}, "no origin"),
        ("pubwrite", {**PUBLIC, "origins": ("https://a.example/path",)}, "no origin"),
        ("pubwrite", {**PUBLIC, "kinds": ("canary:a",)}, "scope canary"),
        ("write", {"kinds": ("canary:a",)}, "scope canary"),
        ("write", {"kinds": ("blocked:view",)}, "reserved"),
        ("write", {"kinds": ("*",)}, "publishable"),
    ],
)
def test_a_key_that_could_do_too_much_is_refused(scope: Any, fields: dict[str, Any], words: str) -> None:
    key, _ = made(scope, **fields)
    with pytest.raises(KeyFileError, match=words):
        check(key)
    with pytest.raises(KeyFileError, match=key.id):
        decode(encode([key]))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not as it should be"),
        (b'{"version": 2, "keys": []}', "version 2"),
        (b'{"version": 1, "keys": [{"id": "abcdef"}]}', "scope"),
        (b'{"version": 1, "keys": [], "more": 1}', "more"),
    ],
)
def test_a_file_that_is_not_one_says_what_is_wrong(content: bytes, words: str) -> None:
    with pytest.raises(KeyFileError, match=words):
        decode(content)


def test_an_id_is_there_once() -> None:
    key, _ = made()
    with pytest.raises(KeyFileError, match="twice"):
        decode(encode([key, key]))


def test_the_file_is_for_its_owner_alone_and_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "keys.json"
    with pytest.raises(KeyFileError, match="cannot be read"):
        read_keys(path)
    key, _ = made()
    change_keys(path, lambda keys: (*keys, key))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(KeyFileError, match="reserved"):
        change_keys(path, lambda keys: (msgspec.structs.replace(keys[0], kinds=("blocked:a",)),))
    assert read_keys(path) == (key,)
    # Only the file and its lock: no half-written one is left.
    assert {one.name for one in path.parent.iterdir()} == {"keys.json", ".keys.json.lock"}


def test_changes_at_one_time_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keys = [made()[0] for _ in range(16)]

    def add(key: Key) -> None:
        change_keys(path, lambda before: (*before, key))

    threads = [threading.Thread(target=add, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {key.id for key in read_keys(path)} == {key.id for key in keys}


def refusal(known: KnownKeys, text: str) -> str:
    with pytest.raises(RefusedError) as caught:
        known.find(text)
    assert caught.value.status == 401
    return caught.value.error


def test_what_is_told_holds_until_the_file_says_the_same() -> None:
    known = KnownKeys()
    key, text = made()
    known.replace([key])
    assert known.find(text).caller.key == key.id
    withdrawn = msgspec.structs.replace(key, withdrawn_at=key.created_at)
    assert known.tell(key.id, Told(withdrawn_at=key.created_at))
    assert "withdrawn" in refusal(known, text)
    # The old version of the file comes once more, then the new one, and then one that takes it back.
    known.replace([key])
    assert "withdrawn" in refusal(known, text)
    known.replace([withdrawn])
    assert "withdrawn" in refusal(known, text)
    known.replace([key])
    assert known.find(text).key == key


def test_what_is_told_of_a_key_holds_before_the_file_has_it() -> None:
    known = KnownKeys()
    key, text = made()
    assert not known.tell(key.id, Told(withdrawn_at=key.created_at))
    known.replace([key])
    assert "withdrawn" in refusal(known, text)


def test_a_wrong_secret_is_answered_like_an_unknown_key() -> None:
    known = KnownKeys()
    key, text = made()
    known.replace([key])
    wrong = text[:-1] + ("0" if text[-1] != "0" else "1")
    other = made()[1]
    assert refusal(known, wrong) == refusal(known, other) == refusal(known, "") == refusal(known, "vc_é")
    # The scope is a part of what was hashed: a key cannot be used for another.
    assert refusal(known, text.replace("vc_write", "vc_admin")) == refusal(known, other)
