"""Which addresses pictures may be fetched from: hosts that are allowed, of the open internet."""

from __future__ import annotations

import pytest

from compressor.errors import DataError
from serving.addresses import UrlError, is_allowed, is_public, parsed
from serving.settings import from_environment
from tests.serving.hosts import PUBLIC


def test_hosts_are_allowed_by_name_by_domain_and_by_port() -> None:
    allowed = ["a.test", "*.b.test", "c.test:8443", "[2606:4700::1111]"]
    yes = [
        ("a.test", 443),
        ("x.b.test", 443),
        ("x.y.b.test", 443),
        ("c.test", 8443),
        ("2606:4700::1111", 443),
    ]
    no = [("a.test", 8443), ("b.test", 443), ("xb.test", 443), ("c.test", 443), ("d.test", 443)]
    assert [is_allowed(*each, allowed) for each in yes + no] == [True] * len(yes) + [False] * len(no)
    assert is_allowed("any.test", 443, ["*"])
    assert not is_allowed("any.test", 444, ["*"])
    assert parsed("https://A.TEST./p?q#f", allowed).target == "/p?q"
    with pytest.raises(UrlError):
        parsed("https://b.test/", allowed)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        (PUBLIC, True),
        ("1.1.1.1", True),
        ("2606:4700::1111", True),
        ("::ffff:1.1.1.1", True),
        ("64:ff9b::1.1.1.1", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("192.0.0.192", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::7f00:1", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("2606:4700::1111%eth0", False),
        ("fc00::1", False),
        ("fd00:ec2::254", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("2001:db8::1", False),
        ("2001:0:7f00:1::", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:169.254.169.254", False),
        ("2002:7f00:1::", False),
        ("2002:a9fe:a9fe::", False),
        ("64:ff9b::10.0.0.1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b:1::1", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_only_addresses_of_the_open_internet_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize("given", ["https://a.test", "a.test/b", "a test", "*.", "a*.test", "*.*.test", "."])
def test_hosts_that_are_none_are_refused_at_the_start(given: str) -> None:
    with pytest.raises(DataError, match=r"COMPRESSOR_URLS: '.*' is not a host"):
        from_environment({"COMPRESSOR_URLS": f"good.test,{given}"})
    assert from_environment({"COMPRESSOR_URLS": "A.test, *.b.test:8443,*"}).urls == (
        "a.test",
        "*.b.test:8443",
        "*",
    )
