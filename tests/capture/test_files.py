"""Downloading files over real HTTP: what is stored, what is tried again, what is given up, and what must never happen."""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import ssl
import tempfile
import threading

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from archiver.capture import files as module
from archiver.capture.files import ATTEMPTS_MAX, RETRY_HOURS, Downloader, FileOptions, WantedFile
from archiver.clock import SystemClock
from archiver.errors import StorageError
from tests.manual_clock import ManualClock
from tests.servers.scripted import Answer, ScriptedServer

NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
BODY = b"\x89PNG not really " * 100


def served(body=BODY, mime="image/png", **headers):
    return Answer(body, headers={"Content-Type": mime, **headers})


def redirect(where, status=302):
    return Answer(b"gone away", status=status, headers={"Location": where})


@pytest.fixture
def host():
    with ScriptedServer(lambda _: served()) as server:
        yield server


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def make(host, clock, tmp_path):
    opened = []

    def make_downloader(*, resolve=None, ssl_context=None, trusted=None, use_clock=clock, **options):
        downloader = Downloader(
            FileOptions(
                hosts_allowed=("flockusercontent.com",),
                trusted_origins=(host.origin,) if trusted is None else trusted,
                **options,
            ),
            folder=tmp_path / "downloads",
            clock=use_clock,
            ssl_context=ssl_context,
            **({} if resolve is None else {"resolve": resolve}),
        )
        opened.append(downloader)
        return downloader

    yield make_downloader
    for downloader in opened:
        downloader.close()


@pytest.fixture
def get(make, host, tmp_path):
    """Fetch one path, or URL, of the scripted host."""

    def fetch(url="/file", *, downloader=None, **declared):
        full = url if "://" in url else host.origin + url
        return (downloader or make()).download(WantedFile(full, **declared), tmp_path / "destination")

    return fetch


def nothing_is_left(tmp_path):
    return not (tmp_path / "destination").exists() and not list(tmp_path.glob("downloads/*"))


class TestStored:
    def test_the_bytes_are_on_disk_with_their_digest_size_and_type(self, host, get, tmp_path):
        host.script = lambda _: served(mime="Image/PNG; charset=binary")
        result = get("/t/abc", mime="image/jpeg", size=7)
        assert (result.status, result.reason, result.http_status, result.attempts) == ("stored", None, 200, 1)
        assert result.path == tmp_path / "destination"
        assert result.path.read_bytes() == BODY
        assert (result.sha256, result.size) == (hashlib.sha256(BODY).hexdigest(), len(BODY))
        assert (result.mime_received, result.final_url) == ("image/png", f"{host.origin}/t/abc")
        assert result.retry_at_ms is None

    def test_an_empty_file_is_a_file(self, host, get):
        host.script = lambda _: served(b"")
        result = get()
        assert (result.status, result.size) == ("stored", 0)

    def test_chunked_and_compressed_bodies_are_what_they_unpack_to(self, host, get, tmp_path):
        packed = gzip.compress(BODY)
        host.script = lambda _: served(packed, **{"Content-Encoding": "gzip"})
        assert get().sha256 == hashlib.sha256(BODY).hexdigest()
        (tmp_path / "destination").unlink()
        host.script = lambda _: Answer(
            raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        )
        assert get(size=9).sha256 == hashlib.sha256(b"abcde").hexdigest()

    def test_redirects_are_followed_and_the_signature_is_not_kept(self, host, get):
        signed = "/signed?v=1&Expires=99&Signature=abc&Key-Pair-Id=K#frag"
        host.script = lambda request: redirect(signed) if request.path == "/file" else served()
        result = get()
        assert (result.status, result.final_url) == ("stored", f"{host.origin}/signed?v=1")
        assert host.requests[1].target == "/signed?v=1&Expires=99&Signature=abc&Key-Pair-Id=K"

    def test_requests_carry_no_credentials_no_cookies_and_no_referer(self, host, get):
        host.script = lambda request: (
            Answer(status=302, headers={"Location": "/next", "Set-Cookie": "s=1"})
            if request.path == "/file"
            else served()
        )
        get()
        for request in host.requests:
            assert request.verb == "GET"
            assert set(request.headers) <= {"host", "accept", "accept-encoding", "user-agent", "connection"}

    def test_html_is_a_file_where_html_was_declared(self, host, get, tmp_path):
        page = b"<html>minutes of the meeting</html>"
        host.script = lambda _: served(page, "text/html; charset=utf-8")
        for declared in (
            {"mime": "text/html"},
            {"mime": "TEXT/HTML; charset=x"},
            {"name": "minutes.HTM"},
            {"name": "minutes.html", "mime": "application/octet-stream"},
            {"mime": "text/plain", "size": len(page)},
        ):
            assert get(**declared).status == "stored", declared
            (tmp_path / "destination").unlink()


class TestTryAgainLater:
    @pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 418, 204, 206, 304])
    def test_a_host_that_says_no_is_asked_again_another_night(self, host, get, tmp_path, status):
        host.script = lambda _: Answer(b"", status=status)
        result = get()
        assert (result.status, result.reason, result.http_status) == ("failed", "http_status", status)
        assert result.retry_at_ms == NOW_MS + RETRY_HOURS[0] * HOUR_MS
        assert len(host.requests) == 1
        assert nothing_is_left(tmp_path)

    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
    def test_a_passing_trouble_is_tried_again_at_once_a_few_times(self, host, get, clock, status):
        host.script = lambda _: Answer(b"", status=status)
        assert get().http_status == status
        assert len(host.requests) == module.TRIES_AT_ONCE_MAX
        assert len(clock.slept) == module.TRIES_AT_ONCE_MAX - 1

    def test_waits_grow_from_hours_to_days_and_then_the_file_is_given_up(self, host, get, clock):
        host.script = lambda _: Answer(b"", status=404)
        waits = []
        for attempts in range(ATTEMPTS_MAX):
            result = get(attempts=attempts)
            assert result.attempts == attempts + 1
            waits.append(None if result.retry_at_ms is None else (result.retry_at_ms - clock.now_ms()) // HOUR_MS)
        assert waits == [*RETRY_HOURS, None]
        assert (result.status, result.reason) == ("given_up", "http_status")

    def test_a_login_page_is_not_the_file(self, host, get, tmp_path):
        host.script = lambda _: served(b"<html>Sign in</html>", "text/html; charset=utf-8")
        for declared in ({"mime": "image/png"}, {"mime": "text/plain", "size": 5}, {"name": "a.png"}, {}):
            result = get(**declared)
            assert (result.status, result.reason, result.http_status) == ("failed", "login_page", 200)
        assert nothing_is_left(tmp_path)

    @pytest.mark.parametrize(
        "answer",
        [
            Answer(BODY, body_sent=100),
            Answer(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc"),
            Answer(raw=b"HTTP/1.1 200 OK\r\n\r\nabc"),
            Answer(b""),
        ],
    )
    def test_a_truncated_body_is_never_stored(self, host, get, tmp_path, answer):
        host.script = lambda _: answer
        result = get(size=len(BODY))
        assert (result.status, result.reason) == ("failed", "truncated")
        assert len(host.requests) == module.TRIES_AT_ONCE_MAX
        assert nothing_is_left(tmp_path)

    def test_a_truncated_body_is_made_good_by_the_next_try(self, host, get):
        answers = [Answer(BODY, body_sent=100), served()]
        host.script = lambda _: answers.pop(0)
        assert get().sha256 == hashlib.sha256(BODY).hexdigest()

    def test_an_expired_signature_is_renewed_from_the_url_in_the_message(self, host, get):
        tickets = iter(range(10))

        def script(request):
            if request.path == "/file":
                return redirect(f"/signed?ticket={next(tickets)}")
            return served() if request.target.endswith("ticket=1") else Answer(b"expired", status=403)

        host.script = script
        assert get().status == "stored"
        assert [request.target for request in host.requests] == [
            "/file",
            "/signed?ticket=0",
            "/file",
            "/signed?ticket=1",
        ]

    def test_a_broken_encoding_is_not_stored(self, host, get, tmp_path):
        for encoding in ("gzip", "br", "zstd", "made-up"):
            host.script = lambda _, encoding=encoding: served(b"not that", **{"Content-Encoding": encoding})
            assert get().reason == "bad_encoding"
        assert nothing_is_left(tmp_path)

    def test_a_host_that_is_not_there(self, make, tmp_path):
        with ScriptedServer(lambda _: Answer()) as gone:
            pass
        downloader = make(trusted=(gone.origin,))
        result = downloader.download(WantedFile(f"{gone.origin}/x"), tmp_path / "destination")
        assert (result.status, result.reason, result.http_status) == ("failed", "network_error", None)

    def test_a_name_that_cannot_be_resolved(self, make, get):
        def resolve(_host, _port):
            raise OSError("no such name")

        result = get("https://f.flockusercontent.com/x", downloader=make(resolve=resolve))
        assert (result.status, result.reason) == ("failed", "network_error")

    @pytest.mark.parametrize("raw", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"])
    def test_what_is_no_http(self, host, get, raw):
        host.script = lambda _: Answer(raw=raw)
        assert get().reason == "network_error"

    def test_the_time_for_one_file_bounds_headers_and_body(self, host, make, get, tmp_path):
        release = threading.Event()
        downloader = make(timeout_seconds=0.1, use_clock=SystemClock())
        for raw in (b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"):
            host.script = lambda _, raw=raw: Answer(raw=raw, hold=release)
            result = get(downloader=downloader)
            assert (result.status, result.reason) == ("failed", "timed_out")
        release.set()
        assert nothing_is_left(tmp_path)

    def test_a_host_that_drips_cannot_hold_on_beyond_the_time(self, make, tmp_path):
        stop = threading.Event()

        class Drip(ScriptedServer):
            def _serve(self, connection):
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                while not stop.wait(0.01):
                    connection.sendall(b"x")

        with Drip(lambda _: Answer()) as dripping:
            downloader = make(trusted=(dripping.origin,), timeout_seconds=0.2, use_clock=SystemClock())
            result = downloader.download(WantedFile(f"{dripping.origin}/x"), tmp_path / "destination")
            stop.set()
        assert result.reason == "timed_out"


class TestGivenUp:
    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("http://f.flockusercontent.com/x", "not_https"),
            ("https://evil.test/x", "host_not_allowed"),
            ("https://u:p@f.flockusercontent.com/x", "url_with_user"),
            ("https://f.flockusercontent.com:8443/x", "odd_port"),
            ("file:///etc/passwd", "not_https"),
            ("https://[::1", "bad_url"),
        ],
    )
    def test_a_url_that_must_not_be_fetched_is_final(self, get, url, reason):
        result = get(url)
        assert (result.status, result.reason, result.retry_at_ms) == ("given_up", reason, None)

    def test_a_file_that_says_it_is_too_large_is_not_begun(self, host, make, get, tmp_path):
        result = get(downloader=make(size_bytes_max=len(BODY) - 1))
        assert (result.status, result.reason) == ("given_up", "too_large")
        assert nothing_is_left(tmp_path)

    def test_a_file_that_becomes_too_large_is_cut_off(self, host, make, get, tmp_path):
        host.script = lambda _: Answer(raw=b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_000)
        result = get(downloader=make(size_bytes_max=999_999))
        assert (result.status, result.reason) == ("given_up", "too_large")
        assert nothing_is_left(tmp_path)

    def test_a_file_that_unpacks_to_too_much_is_cut_off(self, host, make, get, tmp_path):
        host.script = lambda _: served(gzip.compress(bytes(5_000_000)), **{"Content-Encoding": "gzip"})
        assert get(downloader=make(size_bytes_max=1_000_000)).reason == "too_large"
        assert nothing_is_left(tmp_path)

    def test_a_file_of_just_the_size_allowed_is_stored(self, make, get):
        assert get(downloader=make(size_bytes_max=len(BODY))).status == "stored"


class TestRedirects:
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_five_are_followed(self, host, get, status):
        host.script = lambda request: redirect(f"{request.target}x", status) if len(request.target) < 10 else served()
        assert (get().status, len(host.requests)) == ("stored", 6)

    def test_a_sixth_is_not(self, host, get):
        host.script = lambda request: redirect(request.target)
        result = get()
        assert (result.status, result.reason, len(host.requests)) == ("failed", "too_many_redirects", 6)

    @pytest.mark.parametrize(
        ("where", "reason"),
        [
            ("http://127.0.0.1:1/admin", "not_https"),
            ("http://169.254.169.254/latest/meta-data", "not_https"),
            ("https://169.254.169.254/latest/meta-data", "host_not_allowed"),
            ("https://evil.test/", "host_not_allowed"),
            ("https://u:p@f.flockusercontent.com/", "url_with_user"),
            ("https://f.flockusercontent.com:22/", "odd_port"),
            ("file:///etc/passwd", "not_https"),
            ("https://private.flockusercontent.com/", "private_address"),
            ("https://[::1", "bad_redirect"),
        ],
    )
    def test_each_hop_is_checked_anew_and_a_refusal_there_is_not_final(self, host, make, get, where, reason):
        downloader = make(resolve=lambda name, _: ["127.0.0.1" if name == "127.0.0.1" else "10.0.0.1"])
        host.script = lambda _: redirect(where)
        result = get(downloader=downloader)
        assert (result.status, result.reason) == ("failed", reason)
        assert len(host.requests) == 1

    def test_a_redirect_to_nowhere(self, host, get):
        host.script = lambda _: Answer(b"", status=302)
        assert (get().reason, len(host.requests)) == ("bad_redirect", 1)


class TestAddresses:
    @pytest.mark.parametrize(
        "addresses",
        [
            ["127.0.0.1"],
            ["8.8.8.8", "127.0.0.1"],
            ["::ffff:8.8.8.8"],
            ["169.254.169.254"],
            ["fe80::1%eth0"],
            ["nonsense"],
        ],
    )
    def test_a_name_that_stands_for_one_private_address_is_not_connected_to(self, host, make, get, addresses):
        result = get("https://f.flockusercontent.com/x", downloader=make(resolve=lambda *_: addresses))
        assert (result.status, result.reason) == ("failed", "private_address")
        assert host.requests == []

    def test_the_connection_goes_to_the_address_that_was_checked(self, host, make, get):
        asked = []

        def resolve(name, port):
            asked.append((name, port))
            return ["127.0.0.1"]

        # No resolver of this machine knows the name: the connection can only rest on the answer that was looked at.
        origin = f"http://files.invalid:{host.port}"
        result = get(f"{origin}/x", downloader=make(resolve=resolve, trusted=(origin,)))
        assert (result.status, asked) == ("stored", [("files.invalid", host.port)])
        assert host.requests[0].headers["host"] == f"files.invalid:{host.port}"

    def test_of_several_addresses_the_first_that_answers_is_taken(self, host, make, get):
        origin = f"http://files.invalid:{host.port}"
        downloader = make(resolve=lambda *_: ["127.0.0.2", "::1", "127.0.0.1"], trusted=(origin,))
        assert get(f"{origin}/x", downloader=downloader).status == "stored"


class TestTls:
    def test_the_name_is_sent_and_proven_although_the_connection_goes_to_an_address(self, make, get):
        server_context, client_context = contexts("files.invalid")
        with ScriptedServer(lambda _: served(), tls=server_context) as secure:
            origin = f"https://files.invalid:{secure.port}"
            downloader = make(resolve=lambda *_: ["127.0.0.1"], trusted=(origin,), ssl_context=client_context)
            assert get(f"{origin}/x", downloader=downloader).status == "stored"
            assert secure.server_names == ["files.invalid"]

    def test_a_certificate_for_another_name_is_refused(self, make, get):
        server_context, client_context = contexts("other.invalid")
        with ScriptedServer(lambda _: served(), tls=server_context) as secure:
            origin = f"https://files.invalid:{secure.port}"
            downloader = make(resolve=lambda *_: ["127.0.0.1"], trusted=(origin,), ssl_context=client_context)
            assert get(f"{origin}/x", downloader=downloader).reason == "network_error"
            assert secure.requests == []

    def test_a_certificate_of_an_unknown_authority_is_refused(self, make, get):
        server_context, _ = contexts("files.invalid")
        with ScriptedServer(lambda _: served(), tls=server_context) as secure:
            origin = f"https://files.invalid:{secure.port}"
            downloader = make(resolve=lambda *_: ["127.0.0.1"], trusted=(origin,))
            assert get(f"{origin}/x", downloader=downloader).reason == "network_error"


class TestManyFiles:
    def test_each_comes_with_its_result_and_failures_leave_nothing(self, host, make, tmp_path):
        host.script = lambda request: (
            Answer(b"", status=404) if request.path.endswith("7") else served(request.path.encode(), "text/plain")
        )
        wanted = [WantedFile(f"{host.origin}/{n}") for n in range(40)]
        results = dict(make().download_all(wanted))
        assert set(results) == set(wanted)
        for file, result in results.items():
            if file.url.endswith("7"):
                assert result.status == "failed"
            else:
                assert result.path.read_text() == file.url.removeprefix(host.origin)
        kept = sum(result.status == "stored" for result in results.values())
        assert len(list((tmp_path / "downloads").iterdir())) == kept == 36

    def test_they_are_fetched_side_by_side(self, host, make):
        barrier = threading.Barrier(4, timeout=10)

        def script(_):
            barrier.wait()
            return served()

        host.script = script
        downloader = make(connections=4)
        results = list(downloader.download_all(WantedFile(f"{host.origin}/{n}") for n in range(4)))
        assert {result.status for _, result in results} == {"stored"}

    def test_who_stops_reading_leaves_no_files_behind(self, host, make, tmp_path):
        results = make(connections=2).download_all(WantedFile(f"{host.origin}/{n}") for n in range(100))
        _, first = next(results)
        results.close()
        assert list((tmp_path / "downloads").iterdir()) == [first.path]
        assert len(host.requests) < 20

    def test_what_a_killed_run_left_is_removed(self, make, tmp_path):
        folder = tmp_path / "downloads"
        folder.mkdir()
        (folder / "0f.download").write_bytes(b"half")
        (folder / "mine.txt").write_bytes(b"not of ours")
        make()
        assert [path.name for path in folder.iterdir()] == ["mine.txt"]

    def test_only_we_may_look_into_the_folder(self, make, tmp_path):
        make()
        assert (tmp_path / "downloads").stat().st_mode & 0o077 == 0


class TestOurOwnTrouble:
    def test_a_destination_that_exists_is_not_touched(self, get, tmp_path):
        (tmp_path / "destination").write_bytes(b"mine")
        with pytest.raises(StorageError, match="cannot be kept"):
            get()
        assert (tmp_path / "destination").read_bytes() == b"mine"

    def test_a_folder_that_is_not_there_is_a_storage_error(self, make, host, tmp_path):
        with pytest.raises(StorageError, match="cannot be kept"):
            make().download(WantedFile(f"{host.origin}/x"), tmp_path / "nowhere" / "x")

    def test_a_folder_that_cannot_be_made_is_a_storage_error(self, make, tmp_path):
        (tmp_path / "downloads").write_bytes(b"a file")
        with pytest.raises(StorageError, match="cannot be kept"):
            make()

    def test_no_url_is_logged_because_signatures_stand_in_them(self, host, get):
        host.script = lambda _: Answer(b"", status=403)
        with structlog.testing.capture_logs() as events:
            get("/file?Signature=s3cret")
        assert events
        assert "s3cret" not in repr(events)


def contexts(name):
    """Return a server's TLS context with a certificate for this name, and a client's that trusts its authority alone."""
    now = dt.datetime.now(dt.UTC)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])

    def builder(subject, public_key):
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
        )

    root = (
        builder(authority, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName([x509.DNSName(name)])
    certificate = (
        builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key.public_key())
        .add_extension(names, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(pem)
        file.flush()
        server.load_cert_chain(file.name)
    client = ssl.create_default_context(cadata=root.public_bytes(serialization.Encoding.PEM).decode())
    return server, client
