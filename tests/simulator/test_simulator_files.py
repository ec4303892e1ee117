"""The file host in its modes (flock-api.md 13; checklist line 9)."""

from __future__ import annotations

import hashlib
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from archiver.errors import UsageError


@pytest.fixture
def files(flock) -> dict[str, dict]:
    """One file of each mode that has bytes, by mode."""
    flock.play_all()
    return {row["mode"]: row for row in flock.truth("file") if row["size"] > 0}


def test_every_mode_is_there(files):
    assert set(files) >= {"direct", "redirect", "forbidden", "login_page"}


def test_direct(http, files):
    answer = http.get(files["direct"]["url"])
    assert answer.status_code == 200
    assert hashlib.sha256(answer.content).hexdigest() == files["direct"]["sha256"]
    assert int(answer.headers["content-length"]) == files["direct"]["size"] == len(answer.content)


def test_redirect_leads_to_a_signed_url_on_another_port(flock, http, files):
    file = files["redirect"]
    answer = http.get(file["url"])
    assert answer.status_code == 302
    target = urlsplit(answer.headers["location"])
    assert f"{target.scheme}://{target.netloc}" == flock.signed_url != flock.files_url
    assert set(parse_qs(target.query)) == {"Expires", "Signature", "Key-Pair-Id", "response-content-disposition"}
    bytes_of_it = http.get(answer.headers["location"])
    assert hashlib.sha256(bytes_of_it.content).hexdigest() == file["sha256"]
    assert "attachment" in bytes_of_it.headers["content-disposition"]


def test_a_signed_url_cannot_be_changed_or_used_late(flock, http, files):
    good = http.get(files["redirect"]["url"]).headers["location"]
    expires = parse_qs(urlsplit(good).query)["Expires"][0]
    other = next(row["path"] for row in flock.truth("file") if row["path"] != files["redirect"]["path"])
    for bad in (
        good.replace(f"Expires={expires}", f"Expires={int(expires) + 1}"),
        good.replace(files["redirect"]["path"], other),
        flock.signed_url + files["redirect"]["path"],
    ):
        assert http.get(bad).status_code == 403
    flock.configure(file_url_seconds=-10)
    assert http.get(http.get(files["redirect"]["url"]).headers["location"]).status_code == 403


def test_forbidden_login_page_and_missing(flock, http, files):
    assert http.get(files["forbidden"]["url"]).status_code == 403
    page = http.get(files["login_page"]["url"])
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert http.get(f"{flock.files_url}/nothing/here").status_code == 404


@pytest.mark.parametrize("mode", ["direct", "redirect", "forbidden", "login_page", "missing"])
def test_the_mode_can_be_chosen_by_path_or_url(flock, http, files, mode):
    file = files["direct"]
    flock.set_file_mode(file["url"], mode)
    expected = {"direct": 200, "redirect": 302, "forbidden": 403, "login_page": 200, "missing": 404}
    assert http.get(file["url"]).status_code == expected[mode]
    flock.set_file_mode(file["path"], "direct")
    assert http.get(file["url"]).content
    with pytest.raises(UsageError):
        flock.set_file_mode("/nothing", "direct")


def test_the_same_bytes_are_there_under_several_names(files, flock):
    digests = [row["sha256"] for row in flock.truth("file") if row["size"] > 0 and not row["path"].endswith("_t")]
    assert len(set(digests)) < len(digests)


def test_a_picture_is_one(flock, http, files):
    picture = next(row for row in flock.truth("file") if row["mime"] == "image/png" and row["size"] > 100)
    flock.set_file_mode(picture["path"], "direct")
    assert http.get(picture["url"]).content.startswith(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")


def test_a_flock_token_at_a_file_host_is_a_violation(flock, http, files):
    token = next(iter(flock.user_tokens.values()))
    url = files["direct"]["url"]
    http.get(url, headers={"Authorization": "Bearer something-else"})
    assert flock.violations() == []
    http.get(url, headers={"Authorization": f"Bearer {token}"})
    http.get(url, params={"token": token})
    http.get(flock.signed_url + "/x", headers={"Authorization": token})
    assert [violation["kind"] for violation in flock.violations()] == ["token_at_file_host"] * 3


@pytest.mark.parametrize(
    ("kind", "status"),
    [("internal_error", 500), ("unavailable", 503), ("bad_gateway", 502), ("forbidden", 403), ("missing", 404)],
)
def test_faults_with_a_status(flock, http, files, kind, status):
    flock.inject(kind, "files", count=1)
    assert http.get(files["direct"]["url"]).status_code == status
    assert http.get(files["direct"]["url"]).status_code == 200


def test_a_file_that_breaks_off(flock, http, files):
    flock.inject("truncated", f"files:{files['direct']['path']}", count=1)
    with pytest.raises(httpx.RemoteProtocolError):
        http.get(files["direct"]["url"])
    assert http.get(files["direct"]["url"]).status_code == 200
