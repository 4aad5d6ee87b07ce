"""The configurations that are measured: the gateway with everything switched on, and nginx passing bytes through."""

import hashlib
from pathlib import Path

from bench.load import KEY

FORGETS, REMEMBERS, WAITS = "forgets", "remembers", "waits"
"""A cache too small for what is asked, so that every read is a miss and fills it; one that holds all of it; and one as the
first, with room for 300 calls in flight."""

_CACHE = {
    FORGETS: "cache: {ttl: 30s, max_bytes: 1MiB}",
    REMEMBERS: "cache: {ttl: 1h, max_bytes: 64MiB}",
    WAITS: "cache: {ttl: 30s, max_bytes: 1MiB}\nlimits: {concurrency: 300, per_caller: 1000}",
}
_GATEWAY = """\
default_connection: raze
connections:
  raze:
    provider: getraze
    base_url: http://127.0.0.1:{port}/external/v1
    api_key: bench-provider-key
    budget: {{calls: 100000000, per: 1h}}
  spott:
    provider: spott
    base_url: http://127.0.0.1:{port}
    api_key: bench-provider-key
    budget: {{calls: 100000000, per: 1h}}
callers:
  - name: bench
    key_sha256: {key}
    scopes: ["opportunities:read"]
    connections: [raze, spott]
circuit: {{failures: 10, open: 2s}}
state: sqlite:///{name}.db
{cache}
"""
_NGINX = """\
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log /dev/null crit;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/nginx-body;
  proxy_temp_path {folder}/nginx-proxy;
  fastcgi_temp_path {folder}/nginx-fastcgi;
  uwsgi_temp_path {folder}/nginx-uwsgi;
  scgi_temp_path {folder}/nginx-scgi;
  upstream provider {{
    server 127.0.0.1:{provider};
    keepalive 256;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://provider;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}
}}
"""


def gateway(folder: Path, kind: str, provider: int, name: str = "") -> Path:
    """The file of a gateway before the provider on this port. `name`: for one that has its own state."""
    path = folder / f"{name or kind}.yaml"
    key = hashlib.sha256(KEY.encode()).hexdigest()
    text = _GATEWAY.format(port=provider, key=key, cache=_CACHE[kind], name=name or kind)
    path.write_text(text, encoding="utf-8")
    return path


def nginx(folder: Path, port: int, provider: int) -> Path:
    """The file of an nginx with one worker and kept connections to the provider."""
    path = folder / "nginx.conf"
    path.write_text(_NGINX.format(folder=folder, port=port, provider=provider), encoding="utf-8")
    return path
