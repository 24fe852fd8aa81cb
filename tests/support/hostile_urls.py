"""URLs that must never be called by a daemon with default settings: every spelling of what is not public that we know of."""

# ruff: noqa: RUF001, SIM905 - look-alikes are the point, and lists of words read best as words
from __future__ import annotations

from typing import Final

_LOOPBACK: Final = """
127.0.0.1 127.0.0.2 127.1 127.0.1 127.255.255.254 127.000.000.001 0177.0.0.1 0177.0.0.01 00000177.0.0.1 0x7f.0.0.1
0x7f.1 0x7F.0x0.0x0.0x1 0x7f000001 0X7F000001 2130706433 017700000001 0000017700000001 0x7f.0.1 0177.0x0.1 127.0x1
127.0.0.1. 127.1. 2130706433. 0x7f000001. 127%2e0%2e0%2e1 %31%32%37.0.0.1 127.0.0.%31 0%78%37f.1 ①②⑦.⓪.⓪.①
１２７.０.０.１ 127。0。0。1 127．0．0．1 127｡0｡0｡1 ①②⑦。0。0。1 𝟏𝟐𝟕.𝟎.𝟎.𝟏 ０x7f.1 0ｘ7f000001 2１30706433 ²130706433
""".split()
_OTHER_V4: Final = """
0.0.0.0 0 0x0 00 0.0 0.1.2.3 10.0.0.1 10.255.255.255 10.1 0xa.1 012.0.0.1 167772161 010.8.8.8 172.16.0.1 172.31.255.254
0254.020.0.1 192.168.0.1 192.168.1 0xc0a80001 3232235521 0300.0250.0.1 100.64.0.1 100.127.255.254 169.254.0.1
169.254.169.254 0xa9fea9fe 2852039166 0251.0376.0251.0376 169.254.43518 169.16689662 169.254.169.254. 169.254.170.2
100.100.100.200 168.63.129.16 192.0.0.192 192.0.0.1 192.0.2.1 192.88.99.1 198.18.0.1 198.19.255.255 198.51.100.7
203.0.113.9 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255 4294967295 0xffffffff 037777777777
""".split()
_NO_ADDRESS: Final = """
4294967296 0x100000000 40000000000 256.0.0.1 127.0.0.256 1.2.3.4.5 127.0.0.0.1 08.8.8.8 0x7g.1 127.0.0.0x 0x7f.0.0.0x100
127.0.0.1.0x 127..1 .127.0.0.1 127.0.0.1.. example..com -.. %00 exa%00mple.com example.com%00.127.0.0.1
127.0.0.1%20.example.com a%2fb.example.com a%5cb.example.com a%40b.example.com %2531%2532%2537.0.0.1 xn--.example.com..
""".split()
_V6: Final = """
[::1] [::] [0:0:0:0:0:0:0:1] [0000::0001] [::0.0.0.1] [::127.0.0.1] [::7f00:1] [::ffff:127.0.0.1] [::ffff:7f00:1]
[::FFFF:127.0.0.1] [0:0:0:0:0:ffff:127.0.0.1] [::ffff:10.0.0.1] [::ffff:169.254.169.254] [::ffff:8.8.8.8]
[::ffff:0:127.0.0.1] [64:ff9b::127.0.0.1] [64:ff9b::7f00:1] [64:ff9b::10.0.0.1] [64:ff9b::8.8.8.8]
[64:ff9b:1::10.0.0.1] [2002:7f00:1::] [2002:7f00:1::1] [2002:a00:1::1] [2002:a9fe:a9fe::] [2002:c0a8:1::1]
[2001:0:7f00:1::] [2001:0:4136:e378:8000:63bf:80ff:fffe] [2001:0:4136:e378:8000:63bf:3fff:fdd2] [2001:2::1] [2001:10::1]
[2001:20::1] [2001:db8::1] [3fff::1] [fe80::1] [fe80::1%25eth0] [fe80::1%eth0] [2606:4700::1%25lo] [fec0::1] [fc00::1]
[fd00::1] [fd00:ec2::254] [fd20:ce::254] [ff02::1] [ff0e::1] [100::1] [4000::1] [5f00::1] [8000::1] [1::1]
[2606:4700::5efe:7f00:1] [2606:4700::200:5efe:a00:1] [::ffff:0x7f.1] [[::1]] [127.0.0.1] [] [::%31]
""".split()
_NAMES: Final = """
localhost LOCALHOST localhost. lOcAlHoSt ｌocalhost %6cocalhost loc%61lhost foo.localhost a.b.localhost. foo.local
printer.local. FOO.LOCAL metadata.google.internal metadata.google.internal. instance-data.ec2.internal x.internal
x.invalid x.test x.onion expyuzz4wqqyqhjn.onion router.home.arpa home.arpa kubernetes kubernetes.default.svc.cluster.local
postgres redis intranet db a com. ⓛⓞⓒⓐⓛⓗⓞⓢⓣ foo。local foo．internal metadata。google。internal 0x 0xg
""".split()
_WHOLE: Final = [
    "http://user@127.0.0.1/",
    "http://user:pass@example.com/",
    "http://@example.com/",
    "http://:@example.com/",
    "http://example.com%40127.0.0.1/",
    "http://example.com@127.0.0.1/",
    "http://127.0.0.1@example.com/",
    "http://example.com\\@127.0.0.1/",
    "http://127.0.0.1\\@example.com/",
    "http://127.0.0.1\\.example.com/",
    "http:\\\\127.0.0.1\\",
    "http://example.com\t@127.0.0.1/",
    "http://127.0.0.1\n.example.com/",
    "http://127.0.0.1\r\nHost: example.com/",
    "http://127.0.0.1\x00.example.com/",
    "http://127.0.0.1 /",
    " http://127.0.0.1/",
    "http://127.0.0.1?@example.com/",
    "http://127.0.0.1#@example.com/",
    "http://127.0.0.1;@example.com/",
    "http://127.0.0.1:80@example.com/",
    "http://127.0.0.1:80:80/",
    "http://127.0.0.1:99999/",
    "http://example.com:99999/",
    "http://example.com:0x50/",
    "http:///127.0.0.1/",
    "http:/127.0.0.1/",
    "http:127.0.0.1/",
    "//127.0.0.1/",
    "127.0.0.1/",
    "///127.0.0.1",
    "file:///etc/passwd",
    "ftp://127.0.0.1/",
    "gopher://127.0.0.1:6379/_INFO",
    "dict://127.0.0.1:11211/",
    "ldap://127.0.0.1/",
    "unix:///var/run/docker.sock",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
    "ws://127.0.0.1/",
    "jar:http://127.0.0.1!/",
    "data:text/plain,x",
    "javascript:alert(1)",
    "url:http://127.0.0.1/",
    "http://[::1/",
    "http://::1/",
    "http://::1]/",
    "http://[::1]x/",
    "http://x[::1]/",
    "http://[v1.127.0.0.1]/",
    "http://",
    "http://?",
    "http://#",
    "http://:80/",
    "https:///",
    "",
    "http://" + "a" * 64 + ".com/",
    "http://" + "a." * 130 + "com/",
    "http://\u00ad/",
    "http://\u200d.com/",
    "http://\ud800.com/",
    "http://exa\u2024mple/",
    "http://127\u20240.0.1/",
]

HOSTILE: Final = [
    *(f"http://{host}/" for host in (*_LOOPBACK, *_OTHER_V4, *_NO_ADDRESS, *_V6, *_NAMES)),
    *(f"https://{host}:8443/x" for host in ("127.0.0.1", "0x7f.1", "[::ffff:127.0.0.1]", "169.254.169.254")),
    *_WHOLE,
]

# What must stay callable: host as it is read.
PUBLIC: Final = {
    "http://example.com/": "example.com",
    "https://EXAMPLE.com.:8443/a?b=c#d": "example.com",
    "http://ex%61mple.com/": "example.com",
    "http://bücher.example/": "xn--bcher-kva.example",
    "http://faß.de/": "xn--fa-hia.de",
    "http://my_service.example.com/": "my_service.example.com",
    "http://localhost.example.com/": "localhost.example.com",
    "http://local.example/": "local.example",
    "http://127.0.0.1.example.com/": "127.0.0.1.example.com",
    "http://not-local.net/": "not-local.net",
    "http://8.8.8.8/": "8.8.8.8",
    "http://0x08080808/": "8.8.8.8",
    "http://1.1/": "1.0.0.1",
    "http://172.32.0.1/": "172.32.0.1",
    "http://100.128.0.1/": "100.128.0.1",
    "http://198.20.0.1/": "198.20.0.1",
    "http://223.255.255.254/": "223.255.255.254",
    "http://[2606:4700:4700::1111]/": "2606:4700:4700::1111",
    "http://[2002:808:808::1]/": "2002:808:808::1",
    "http://[2a00:1450:4001::200e]:80/": "2a00:1450:4001::200e",
}
