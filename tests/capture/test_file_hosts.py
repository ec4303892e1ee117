"""Where files may be fetched from: the rules on URLs and addresses, without a network."""

from __future__ import annotations

import ipaddress
from contextlib import suppress

import httpx
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from archiver.capture.file_hosts import HostPolicy, UrlRefusedError, check_url, is_public_address, without_secrets
from archiver.errors import ConfigError

POLICY = HostPolicy.of(["flockusercontent.com", ".Flock.co"])
TRUSTING = HostPolicy.of(["flockusercontent.com"], ["http://127.0.0.1:8443", "https://files.test"])


@pytest.mark.parametrize(
    "url",
    [
        "https://flockusercontent.com/x",
        "https://f.flockusercontent.com/x?y=z",
        "https://F.FlockUserContent.COM/x",
        "https://f.flockusercontent.com:443/x",
        "https://a.b.flock.co/ä",
        "https://f.flockusercontent.com/a/../b#part",
    ],
)
def test_https_urls_of_allowed_hosts_pass(url):
    assert check_url(url, POLICY).scheme == "https"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://f.flockusercontent.com/x", "not_https"),
        ("ftp://f.flockusercontent.com/x", "not_https"),
        ("file:///etc/passwd", "not_https"),
        ("javascript:alert(1)", "not_https"),
        ("data:text/plain,x", "not_https"),
        ("//f.flockusercontent.com/x", "bad_url"),
        ("/x", "bad_url"),
        ("", "bad_url"),
        ("https://", "not_https"),
        ("https:///x", "not_https"),
        ("https://[::1", "bad_url"),
        ("https://f.flockusercontent.com/\x00", "bad_url"),
        ("https://f.flockusercontent.com/" + "x" * 9000, "bad_url"),
        ("https://u:p@f.flockusercontent.com/x", "url_with_user"),
        ("https://f.flockusercontent.com@evil.test/x", "url_with_user"),
        ("https://evil.test\\@f.flockusercontent.com/x", "url_with_user"),
        ("https://f.flockusercontent.com:8443/x", "odd_port"),
        ("https://f.flockusercontent.com:80/x", "odd_port"),
        ("https://evilflockusercontent.com/x", "host_not_allowed"),
        ("https://flockusercontent.com.evil.test/x", "host_not_allowed"),
        ("https://f.flockusercontent.com./x", "host_not_allowed"),
        ("https://evil.test/f.flockusercontent.com", "host_not_allowed"),
        ("https://evil.test#f.flockusercontent.com", "host_not_allowed"),
        ("https://evil.test%2f.flockusercontent.com/x", "host_not_allowed"),
        ("https://.flockusercontent.com/x", "host_not_allowed"),
        ("https://127.0.0.1/x", "host_not_allowed"),
        ("https://2130706433/x", "host_not_allowed"),
        ("https://0x7f.1/x", "host_not_allowed"),
        ("https://[::ffff:127.0.0.1]/x", "host_not_allowed"),
        ("http://127.0.0.1:8443/x", "not_https"),
    ],
)
def test_everything_else_is_refused_with_its_reason(url, reason):
    with pytest.raises(UrlRefusedError) as caught:
        check_url(url, POLICY)
    assert caught.value.reason == reason


def test_trusted_origins_are_spared_the_rules_and_only_they():
    assert check_url("http://127.0.0.1:8443/x", TRUSTING)
    assert check_url("https://files.test/x", TRUSTING)
    for url in (
        "http://127.0.0.1:8444/x",
        "https://127.0.0.1:8443/x",
        "http://files.test/x",
        "http://localhost:8443/x",
    ):
        with pytest.raises(UrlRefusedError):
            check_url(url, TRUSTING)


def test_even_a_trusted_origin_gets_no_user_and_password():
    with pytest.raises(UrlRefusedError) as caught:
        check_url("http://u:p@127.0.0.1:8443/x", TRUSTING)
    assert caught.value.reason == "url_with_user"


def test_trust_in_an_origin_covers_its_host_and_port_only():
    assert TRUSTING.trusts("127.0.0.1", 8443)
    assert TRUSTING.trusts("files.test", 443)
    assert not TRUSTING.trusts("127.0.0.1", 443)
    assert not TRUSTING.trusts("f.flockusercontent.com", 443)


@pytest.mark.parametrize("host", ["", "*", "10.0.0.1", "a..b", "https://flock.co", "flock.co/x", "-flock.co"])
def test_an_allowed_host_that_is_no_name_is_a_configuration_error(host):
    with pytest.raises(ConfigError, match="hosts_allowed"):
        HostPolicy.of([host])


@pytest.mark.parametrize(
    "origin", ["", "127.0.0.1:80", "ftp://x", "http://x/path", "http://u:p@x", "http://", "http://[::1"]
)
def test_a_trusted_origin_that_is_none_is_a_configuration_error(origin):
    with pytest.raises(ConfigError, match="trusted_origins") as caught:
        HostPolicy.of([], [origin])
    assert "u:p" not in str(caught.value)


class TestAddresses:
    @pytest.mark.parametrize(
        "address", ["8.8.8.8", "52.84.1.1", "2606:4700::1111", "2a00:1450:4001::200e", "64:ff9b::808:808"]
    )
    def test_public_addresses_pass(self, address):
        assert is_public_address(address)

    @pytest.mark.parametrize(
        "address",
        [
            *("127.0.0.1", "127.255.255.254", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
            *("169.254.169.254", "100.64.0.1", "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1"),
            *("203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
            *("::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::8.8.8.8", "fe80::1", "fe80::1%eth0", "fc00::1"),
            *("fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1", "2001::1", "2002:7f00:1::", "2002:808:808::1"),
            *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "3fff::1", "5f00::1", "100::1"),
            *("", "localhost", "1.2.3", "8.8.8.8 ", "08.8.8.8", "2606:4700::1111%eth0"),
        ],
    )
    def test_private_reserved_disguised_and_senseless_ones_do_not(self, address):
        assert not is_public_address(address)

    @given(st.ip_addresses(v=4))
    def test_no_ipv4_address_that_is_not_global_passes_in_any_disguise(self, address):
        public = is_public_address(str(address))
        assert not (
            public and (address.is_private or address.is_multicast or address.is_reserved or not address.is_global)
        )
        number = int(address)
        assert is_public_address(str(ipaddress.IPv6Address((0x64FF9B << 96) | number))) == public
        for disguise in (
            number | 0xFFFF << 32,
            number,
            0x2002 << 112 | number << 80,
            0x2001 << 112 | number ^ 0xFFFFFFFF,
        ):
            assert not is_public_address(str(ipaddress.IPv6Address(disguise)))

    @given(st.ip_addresses(v=6))
    def test_no_ipv6_address_passes_that_python_calls_anything_but_global(self, address):
        assume(address not in ipaddress.ip_network("64:ff9b::/96"))
        if is_public_address(str(address)):
            assert address.is_global
            assert not any((address.is_private, address.is_reserved, address.is_multicast, address.is_site_local))
            assert address.ipv4_mapped is address.sixtofour is address.teredo is None


labels = st.sampled_from(["evil", "flockusercontent", "flock", "com", "co", "test", "127", "0", "1", "f", ""])
joints = st.sampled_from([".", "@", ":", "/", "\\", "%2e", "#", "?", "。", "-", "..", ".\u200b"])


class TestNoTrickGetsPast:
    @example([("evil", "@"), ("flockusercontent", "."), ("com", "/")])
    @given(st.lists(st.tuples(labels, joints), min_size=1, max_size=8))
    def test_a_url_that_passes_leads_to_an_allowed_host(self, parts):
        url = "https://" + "".join(label + joint for label, joint in parts)
        try:
            checked = check_url(url, POLICY)
        except UrlRefusedError:
            return
        host = httpx.URL(str(checked)).host
        assert host in {"flockusercontent.com", "flock.co"} or host.endswith((".flockusercontent.com", ".flock.co"))
        assert (checked.scheme, checked.port, checked.userinfo) == ("https", None, b"")

    @given(st.text(max_size=60))
    def test_any_text_is_judged_without_an_accident(self, text):
        for url in (text, f"https://{text}", f"https://f.flock.co/{text}"):
            with suppress(UrlRefusedError):
                check_url(url, POLICY)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.test/x", "https://a.test/x"),
        ("https://a.test/x?Expires=1&Signature=s&Key-Pair-Id=k&Policy=p", "https://a.test/x"),
        ("https://a.test/x?X-Amz-Signature=s&x-amz-anything=1&v=2#frag", "https://a.test/x?v=2"),
        ("https://a.test/x?X-Goog-Signature=s&token=t&sig=s", "https://a.test/x"),
        (
            "https://a.test/x?response-content-disposition=attachment%3B%20filename%3D%22a%20b%22&Expires=1",
            "https://a.test/x?response-content-disposition=attachment%3B+filename%3D%22a+b%22",
        ),
    ],
)
def test_what_the_archive_keeps_of_a_url_holds_no_signature(url, shown):
    assert without_secrets(httpx.URL(url)) == shown
