"""Hosts and addresses as they may stand in config.yaml, and which of them are this machine."""

import ipaddress
import re
from urllib.parse import unquote, urlsplit

from gateway.config.forms import refuse


def is_loopback(host: str) -> bool:
    """Whether `host` is reachable from this machine only: 127.0.0.0/8, ::1 or localhost."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def host(text: str) -> str:
    """`text` if it is an IP address or a host name; raises as `refuse` does."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        labels = text.lower().split(".")
        named = all(re.fullmatch("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", label) for label in labels)
        # resolvers take `0` and `127.1` for addresses, so what ends in a number is an address or nothing
        if not named or re.fullmatch("[0-9]+|0x[0-9a-f]*", labels[-1]):
            raise refuse("an IP address such as 127.0.0.1 or a host name") from None
    return text


def base_url(text: str) -> str:
    """The address without a slash at its end, scheme and host in lower case; `sandbox` as it is."""
    if text == "sandbox":
        return text
    try:
        parts = urlsplit(text)
        name, port = parts.hostname or "", parts.port
    except ValueError:
        name, port = "", None
    if "@" in text.partition("://")[2].partition("/")[0]:
        raise refuse("an address without user name and password")
    try:
        host(name)
    except ValueError:
        raise refuse("an address with a host, such as https://api.example.com/v1") from None
    for mark, word in (("?", "query"), ("#", "fragment")):
        if mark in text:
            raise refuse(f"an address without a {word}")
    path = parts.path.rstrip("/")
    if {".", ".."} & set(unquote(path).replace("\\", "/").split("/")):
        raise refuse("an address without `.` and `..` in its path")
    if not re.fullmatch(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*", path):
        raise refuse("an address whose path is plain URL text")
    name = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{name}{'' if port is None else f':{port}'}{path}"
