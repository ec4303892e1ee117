"""Hosts and messages that mean harm: every URL, redirect and answer here is a trap, and none of them may cost more than its file."""

from __future__ import annotations

import gzip
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from archiver.capture import files as module
from archiver.capture.file_hosts import HostPolicy, UrlRefusedError, check_url
from archiver.capture.files import Downloader, FileOptions, FileResult, WantedFile
from archiver.clock import Clock, SystemClock
from tests.manual_clock import ManualClock
from tests.servers.scripted import Answer, ScriptedServer

ALLOWED = "f.flockusercontent.com"
POLICY = HostPolicy.of(["flockusercontent.com"])
PNG = b"\x89PNG not really"
# Long enough for a busy machine to come to the trap, short enough to wait for.
PATIENCE_SECONDS = 0.5


@pytest.fixture
def host() -> Iterator[ScriptedServer]:
    with ScriptedServer(lambda _: Answer(PNG, headers={"Content-Type": "image/png"})) as server:
        yield server


@contextmanager
def downloading(
    folder: Path, host: ScriptedServer, *, clock: Clock | None = None, **options: object
) -> Iterator[Callable[..., FileResult]]:
    """Give a function that fetches one path, or URL, of a host, and see that a failure leaves nothing on the disk."""
    chosen = FileOptions(hosts_allowed=("flockusercontent.com",), trusted_origins=(host.origin,), **options)  # type: ignore[arg-type]
    destination = folder / "destination"
    with Downloader(chosen, folder=folder / "downloads", clock=clock or ManualClock()) as downloader:

        def get(url: str = "/file", **declared: object) -> FileResult:
            wanted = WantedFile(url if ":" in url else host.origin + url, **declared)  # type: ignore[arg-type]
            result = downloader.download(wanted, destination)
            assert destination.exists() == (result.status == "stored")
            destination.unlink(missing_ok=True)
            return result

        yield get


class TestUrls:
    @pytest.mark.parametrize(
        "address",
        [
            "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "017700000001", "0177.0.0.1", "0",
            "169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "8.8.8.8", "134744072",
            "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:a9fe:a9fe]", "[::127.0.0.1]", "[fe80::1]", "[fe80::1%25lo]",
            "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fd00:ec2::254]",
            "\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021", "\u2460\u2461\u2466.0.0.1",
            "localhost", "localhost.localdomain", "metadata.google.internal", "metadata", "ip6-loopback",
        ],
    )  # fmt: skip
    def test_no_spelling_of_an_address_or_of_a_name_within_is_a_host_to_ask(self, address: str) -> None:
        for url in (f"https://{address}/x", f"https://{address}:443/x", f"https://{ALLOWED}@{address}/x"):
            with pytest.raises(UrlRefusedError):
                check_url(url, POLICY)

    @pytest.mark.parametrize(
        "url",
        [
            f"https://{ALLOWED}:pass@evil.test/", f"https://{ALLOWED}%40evil.test/", f"https://{ALLOWED}%00.evil.test/",
            f"https://evil.test?@{ALLOWED}/", f"https://evil.test#@{ALLOWED}/", f"https://evil.test\\@{ALLOWED}/",
            f"https:\\\\evil.test\\{ALLOWED}", f"https://evil.test\t.{ALLOWED}/", f"https://evil.test\r\nHost: {ALLOWED}/",
            f"https://@{ALLOWED}@evil.test/", f"https://evil.test/.{ALLOWED}", f"https://{ALLOWED}.evil.test/", "https://@/",
            f"HTTP://{ALLOWED}/", f"ftp://{ALLOWED}/", f"gopher://{ALLOWED}/", f"unix://{ALLOWED}/", f"jar:https://{ALLOWED}/!/",
        ],
    )  # fmt: skip
    def test_no_disguise_leads_elsewhere(self, url: str) -> None:
        with pytest.raises(UrlRefusedError):
            check_url(url, POLICY)


class TestRedirects:
    @pytest.mark.parametrize(
        "where",
        [
            "ftp://f.flockusercontent.com/x", "gopher://f.flockusercontent.com/x", "data:image/png;base64,AAAA", "javascript:x",
            "file:///etc/passwd", "about:blank", "//evil.test/x", "\\\\evil.test\\x", "https:evil.test", "https:///evil.test/x",
            "http://f.flockusercontent.com/downgraded", "https://2130706433/", "https://[::ffff:127.0.0.1]/", "https://0x7f.1/",
            "https://user@f.flockusercontent.com/", "https://:pass@f.flockusercontent.com/",
            "https://f.flockusercontent.com:25/", "https://" + "x" * 9_000, "https://[", "http://127.0.0.1:99999/", "\x01\x02",
        ],
    )  # fmt: skip
    def test_lead_nowhere_but_to_what_a_message_could_name(
        self, host: ScriptedServer, tmp_path: Path, where: str
    ) -> None:
        host.script = lambda request: (
            Answer(status=302, headers={"Location": where}) if request.path == "/file" else Answer(b"", status=404)
        )
        with downloading(tmp_path, host) as get:
            result = get()
        assert result.status == "failed"
        # Relative to its own host a redirect may lead anywhere; to another host, port or scheme it did not.
        assert result.reason not in ("network_error", "timed_out")
        assert {request.headers["host"] for request in host.requests} == {f"127.0.0.1:{host.port}"}

    @pytest.mark.parametrize(
        "script",
        [
            lambda request: "/b" if request.path == "/file" else "/file",
            lambda request: request.target + "x",
            lambda _request: "",
            lambda _request: "?",
        ],
    )
    def test_without_end_come_to_an_end(self, host: ScriptedServer, tmp_path: Path, script: Callable[..., str]) -> None:
        host.script = lambda request: Answer(status=307, headers={"Location": script(request)})
        with downloading(tmp_path, host) as get:
            assert get().reason == "too_many_redirects"
        assert len(host.requests) == module.REDIRECTS_MAX + 1

    def test_have_no_body_that_anybody_reads(self, host: ScriptedServer, tmp_path: Path) -> None:
        """A redirect announces a terabyte, sends some of it and waits; we are gone by then."""
        never = threading.Event()
        host.script = lambda request: (
            Answer(
                raw=b"HTTP/1.1 302 X\r\nLocation: /next\r\nContent-Length: 1000000000000\r\n\r\n" + bytes(9_999),
                hold=never,
            )
            if request.path == "/file"
            else Answer(PNG)
        )
        with downloading(tmp_path, host, clock=SystemClock()) as get:
            assert get().status == "stored"
        never.set()

    def test_carry_no_credentials_to_the_next_host(self, host: ScriptedServer, tmp_path: Path) -> None:
        host.script = lambda request: (
            Answer(status=302, headers={"Location": "/next", "Set-Cookie": "session=1", "WWW-Authenticate": "Basic"})
            if request.path == "/file"
            else Answer(PNG)
        )
        with downloading(tmp_path, host) as get:
            get("/file?token=from-the-message")
        (_, then) = host.requests
        assert then.headers.keys().isdisjoint({"authorization", "cookie", "referer", "proxy-authorization"})
        assert then.target == "/next"


class TestTime:
    """Each of these keeps every single wait short and never comes to an end."""

    @staticmethod
    def drip(first: bytes, more: Callable[[int], bytes]) -> type[ScriptedServer]:
        class Dripping(ScriptedServer):
            stop = threading.Event()

            def _serve(self, connection: socket.socket) -> None:
                try:
                    connection.recv(4096)
                    connection.sendall(first)
                    number = 0
                    while not self.stop.wait(0.01):
                        connection.sendall(more(number))
                        number += 1
                except OSError:
                    return

        return Dripping

    @pytest.mark.parametrize(
        ("first", "more"),
        [
            (b"", lambda _: b"H"),
            (b"HTTP/1.1 200 OK\r\n", lambda number: f"x{number}: y\r\n".encode()),
            (b"", lambda _: b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
            (b"HTTP/1.1 200 OK\r\n\r\n", lambda _: b"x"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", lambda _: b"1\r\nx\r\n"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1", lambda _: b";x"),
            (
                b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x10\x00\x00\x00\x00\x00\x03",
                lambda _: b"name",
            ),
        ],
    )
    def test_is_what_a_drip_cannot_win(self, tmp_path: Path, first: bytes, more: Callable[[int], bytes]) -> None:
        with self.drip(first, more)(lambda _: Answer()) as host:
            with downloading(tmp_path, host, clock=SystemClock(), timeout_seconds=PATIENCE_SECONDS) as get:
                result = get()
            host.stop.set()  # type: ignore[attr-defined]
        assert result.status == "failed"
        # A head that is no HTTP may be found out before the time is over.
        assert result.reason in ("timed_out", "network_error")

    def test_ends_a_handshake_that_never_ends(self, tmp_path: Path) -> None:
        """A host of TLS that takes the connection and says nothing."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            origin = f"https://127.0.0.1:{silent.getsockname()[1]}"
            options = FileOptions(
                hosts_allowed=("flockusercontent.com",), trusted_origins=(origin,), timeout_seconds=PATIENCE_SECONDS
            )
            with Downloader(options, folder=tmp_path / "downloads", clock=SystemClock()) as downloader:
                result = downloader.download(WantedFile(f"{origin}/x"), tmp_path / "destination")
        assert (result.status, result.reason) == ("failed", "timed_out")


class TestSizes:
    @pytest.mark.parametrize(
        "length",
        ["-1", "+5", "5.0", "1e3", "0x10", "5, 6", "9" * 30, "9" * 5_000, "\u0665", "", "5\r\nContent-Length: 6"],
    )
    def test_that_are_no_numbers_are_no_answer(self, host: ScriptedServer, tmp_path: Path, length: str) -> None:
        host.script = lambda _: Answer(raw=f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode() + PNG)
        with downloading(tmp_path, host) as get:
            assert get(size=len(PNG)).status == "failed"

    def test_that_are_larger_than_what_comes_store_nothing(self, host: ScriptedServer, tmp_path: Path) -> None:
        host.script = lambda _: Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + PNG)
        with downloading(tmp_path, host) as get:
            assert get().reason == "truncated"

    def test_that_are_smaller_than_what_comes_end_the_file_there(self, host: ScriptedServer, tmp_path: Path) -> None:
        """What a host says of its own file counts; what the message says of it stands beside it in the row."""
        host.script = lambda _: Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n" + PNG)
        with downloading(tmp_path, host) as get:
            result = get(size=len(PNG))
        assert (result.status, result.size) == ("stored", 4)

    def test_beside_chunks_do_not_count(self, host: ScriptedServer, tmp_path: Path) -> None:
        chunked = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n0\r\n\r\n"
        host.script = lambda _: Answer(raw=chunked)
        with downloading(tmp_path, host) as get:
            assert get().size == 6

    def test_of_heads_are_bounded(self, host: ScriptedServer, tmp_path: Path) -> None:
        host.script = lambda _: Answer(raw=b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n" + PNG)
        with downloading(tmp_path, host) as get:
            assert get().reason == "network_error"

    @pytest.mark.parametrize("announces", [True, False])
    def test_of_what_a_bomb_unpacks_to_count_and_cost_no_memory(
        self, host: ScriptedServer, tmp_path: Path, announces: bool
    ) -> None:
        bomb = gzip.compress(bytes(100_000_000))
        head = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Encoding: gzip\r\n"
        head += f"Content-Length: {len(bomb)}\r\n".encode() if announces else b""
        host.script = lambda _: Answer(raw=head + b"\r\n" + bomb)
        with downloading(tmp_path, host, size_bytes_max=2_000_000) as get:
            get()  # whatever a first download makes for good is made
            tracemalloc.start()
            try:
                result = get()
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
        assert (result.status, result.reason) == ("given_up", "too_large")
        assert peak < 16_000_000

    def test_a_packed_file_that_is_cut_is_not_stored_as_a_shorter_one(
        self, host: ScriptedServer, tmp_path: Path
    ) -> None:
        packed = gzip.compress(bytes(range(256)) * 100)[:-20]
        host.script = lambda _: Answer(packed, headers={"Content-Type": "image/png", "Content-Encoding": "gzip"})
        with downloading(tmp_path, host) as get:
            assert get().reason == "truncated"


class TestPagesInsteadOfFiles:
    PAGE = b"<!DOCTYPE html><html><form>Sign in</form></html>"

    @pytest.mark.parametrize("served_as", ["text/html", "text/plain", "image/png", "application/octet-stream", ""])
    @pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b"\r\n \t" * 20])
    def test_are_known_by_how_they_begin_where_the_message_declares_what_cannot_be_one(
        self, host: ScriptedServer, tmp_path: Path, served_as: str, start: bytes
    ) -> None:
        host.script = lambda _: Answer(start + self.PAGE, headers={"Content-Type": served_as})
        with downloading(tmp_path, host) as get:
            for mime in ("image/png", "IMAGE/JPEG; q=1", "application/pdf", "video/mp4"):
                result = get(mime=mime)
                assert (result.status, result.reason, result.http_status) == ("failed", "login_page", 200)

    @pytest.mark.parametrize(
        ("mime", "body"),
        [
            ("text/plain", PAGE), ("application/vnd.ms-excel", b"<html><table></table></html>"), ("", PAGE),
            ("image/svg+xml", b"<svg></svg>"), ("image/png", b""), ("image/png", b"<ht"), ("image/png", b" " * 9_999), ("image/png", PNG),
        ],
    )  # fmt: skip
    def test_are_not_seen_where_a_file_may_begin_so(
        self, host: ScriptedServer, tmp_path: Path, mime: str, body: bytes
    ) -> None:
        host.script = lambda _: Answer(body, headers={"Content-Type": "application/octet-stream"})
        with downloading(tmp_path, host) as get:
            result = get(mime=mime)
        assert (result.status, result.size) == ("stored", len(body))
