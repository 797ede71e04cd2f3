"""The doctor against services on loopback: what answers, what does not, and that nothing leaks."""

from __future__ import annotations

import json
import os
import platform
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

import pytest
from pytest_socket import SocketConnectBlockedError

from harness import doctor
from harness.doctor import Diagnosis, Service, diagnose, render, to_dict
from harness.models import wheels

SECRET = "hunter2"  # noqa: S105 (what must not be shown)


@dataclass
class Local:
    """A server on loopback: /200, /403 and /407 answer so, /hang answers when the test ends."""

    port: int
    """Where it listens."""
    lines: list[str] = field(default_factory=list)
    """Request lines that came in."""
    released: threading.Event = field(default_factory=threading.Event)
    """Set when the test ends."""

    def service(self, path: str, override: str | None = None) -> Service:
        """A service of that path."""
        return Service(path.strip("/"), f"http://127.0.0.1:{self.port}{path}", f"what {path} gives", override)


@pytest.fixture
def local() -> Iterator[Local]:
    """A server that is up while the test runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            here.lines.append(self.requestline)
            name = self.path.rpartition("/")[2]
            if name == "hang":
                here.released.wait(30)
                return
            self.send_response(int(name))
            self.end_headers()

        def do_CONNECT(self) -> None:
            here.lines.append(self.requestline)
            self.send_response(403, f"no {SECRET} here")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        here = Local(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield here
        here.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def closed_port() -> int:
    """A port on loopback where nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def everything(diagnosis: Diagnosis) -> str:
    """All text that a user could see."""
    return render(diagnosis) + json.dumps(to_dict(diagnosis))


def missing(diagnosis: Diagnosis) -> dict[str, str]:
    """What each missing thing would enable."""
    return {m.name: m.enables for m in diagnosis.missing}


def test_the_network_is_blocked_in_tests() -> None:
    with pytest.raises(SocketConnectBlockedError):
        socket.create_connection(("192.0.2.1", 80), timeout=1)  # TEST-NET-1, RFC 5737


def test_an_error_status_is_an_answer(local: Local) -> None:
    found = diagnose(5, [local.service("/200"), local.service("/403")])
    assert [(r.answers, r.detail) for r in found.services] == [(True, "HTTP 200"), (True, "HTTP 403")]
    assert "answers (HTTP 403)" in render(found)
    assert not {"200", "403"} & set(missing(found))
    assert len(local.lines) == 2


def test_silence_ends_at_the_time_out_and_holds_up_nobody(local: Local) -> None:
    start = time.monotonic()
    found = diagnose(0.5, [local.service("/hang"), local.service("/200"), local.service("/hang")])
    assert time.monotonic() - start < 2
    assert [r.detail for r in found.services] == ["no answer within 0.5 s", "HTTP 200", "no answer within 0.5 s"]
    assert missing(found)["hang"] == "what /hang gives"


def test_a_name_server_that_hangs_cannot_outlast_the_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def slow(url: str, timeout_s: float) -> tuple[bool, str]:
        release.wait(30)
        return True, "HTTP 200"

    monkeypatch.setattr(doctor, "_ask", slow)
    start = time.monotonic()
    found = diagnose(0.2, [Service("slow", "https://example.invalid/", "something")])
    waiting = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    assert all(thread.daemon for thread in waiting), "the console script could not end"
    release.set()
    assert time.monotonic() - start < 2
    assert found.services[0].detail == "no answer within 0.2 s"


def test_a_closed_port_is_a_finding(closed_port: int) -> None:
    found = diagnose(5, [Service("shut", f"http://127.0.0.1:{closed_port}/", "imagery")])
    assert found.services[0].detail == "connection refused"
    assert found.services[0].duration_s is None
    assert "not reachable: connection refused" in render(found)
    assert render(found).endswith("need none of what is missing.")
    assert missing(found)["shut"] == "imagery"


def test_plain_http_behind_a_tls_address_is_a_finding(local: Local) -> None:
    found = diagnose(5, [Service("tls", f"https://127.0.0.1:{local.port}/200", "imagery")])
    assert not found.services[0].answers
    assert "SSL" in found.services[0].detail


def test_requests_go_through_the_proxy_and_its_password_stays_unseen(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://user:{SECRET}@127.0.0.1:{local.port}")
    monkeypatch.setenv("HF_TOKEN", f"hf_{SECRET}")
    monkeypatch.setenv("PC_SDK_SUBSCRIPTION_KEY", SECRET)
    asked = [
        Service("plain", "http://service.invalid/200", "a"),
        Service("login", "http://service.invalid/407", "b"),
        Service("tunnel", "https://service.invalid/", "c"),
    ]
    found = diagnose(5, asked)
    assert sorted(line.rpartition(" ")[0] for line in local.lines) == [
        "CONNECT service.invalid:443",
        "GET http://service.invalid/200",
        "GET http://service.invalid/407",
    ]
    assert [(r.answers, r.detail) for r in found.services] == [
        (True, "HTTP 200"),
        (False, "the proxy asks for a login (HTTP 407)"),
        (False, "the proxy refuses (HTTP 403)"),
    ]
    states = {s.name: s.state for s in found.environment}
    assert {states[n] for n in ("HF_TOKEN", "PC_SDK_SUBSCRIPTION_KEY", "HTTP_PROXY", "HTTPS_PROXY")} == {"set"}
    assert states["NO_PROXY"] == "not set"
    assert SECRET not in everything(found)


@pytest.mark.parametrize(
    "proxy",
    [
        f"http://user:{SECRET}@127.0.0.1:port",
        f"http:/user:{SECRET}@127.0.0.1:1",
        f"http://user@127.0.0.1:{SECRET}:1",
        f"socks5://user:{SECRET}@127.0.0.1:1",
        f"http://[user:{SECRET}@127.0.0.1:1",
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_malformed_proxy_does_not_show_its_password(proxy: str, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{scheme}_proxy", proxy)
    # Loopback only, whichever way the proxy is understood: nothing listens on port 1.
    found = diagnose(5, [Service("any", f"{scheme}://127.0.0.1:1/", "imagery")])
    assert not found.services[0].answers
    assert SECRET not in everything(found)


def test_the_hub_mirror_is_asked_and_shown_without_its_password(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://user:{SECRET}@127.0.0.1:{local.port}/mirror/?token={SECRET}")
    found = diagnose(5, [Service("hub", "https://huggingface.co/api/200", "weights", "HF_ENDPOINT")])
    assert local.lines == ["GET /mirror/api/200 HTTP/1.1"]
    assert found.services[0].address == f"http://127.0.0.1:{local.port}"
    states = {s.name: s.state for s in found.environment}
    assert states["HF_ENDPOINT"] == f"set (http://127.0.0.1:{local.port})"
    assert SECRET not in everything(found)


@pytest.mark.parametrize("value", [f"mirror/{SECRET}", f"file:///{SECRET}", f"http://host:{SECRET}/", "http://["])
def test_a_hub_mirror_that_is_no_address_is_not_opened(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", value)
    found = diagnose(5, [Service("hub", "https://huggingface.co/api/200", "weights", "HF_ENDPOINT")])
    assert found.services[0].detail == "HF_ENDPOINT is not an http address"
    assert missing(found)["hub"] == "weights"
    assert SECRET not in everything(found)


def test_versions_are_read_without_importing(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in ("torch", "numpy"):
            raise metadata.PackageNotFoundError(name)
        return "9.9"

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(metadata, "requires", lambda _: ["numpy==2.4.6", "rich==15.0.0", "pytest==9; extra == 'tests'"])
    found = diagnose(5, [])
    assert [(p.name, p.version, p.pinned) for p in found.packages] == [
        ("numpy", None, "2.4.6"),
        ("rich", "9.9", "15.0.0"),
    ]
    gaps = missing(found)
    assert gaps["numpy"] == "every command"
    assert "not needed for the audit" in gaps["torch"]
    assert "terratorch" not in gaps
    assert "need none" not in render(found)
    assert re.search(r"rich +9\.9 \(this project pins 15\.0\.0\)", render(found))


@pytest.mark.parametrize(
    ("installed", "text"),
    [
        ("2.13.0+cpu", r"torch +2\.13\.0\+cpu$"),
        ("2.13.0", r"torch +2\.13\.0$"),
        ("2.9.1+rocm7", r"torch +2\.9\.1\+rocm7 \(this project pins 2\.13\.0\)$"),
    ],
)
def test_a_local_build_of_the_pinned_version_does_not_differ(
    installed: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: installed if name == "torch" else "1")
    monkeypatch.setattr(metadata, "requires", lambda _: ['torch==2.13.0; extra == "models"', "rich==1"])
    found = diagnose(5, [])
    assert re.search(text, render(found), re.MULTILINE)
    assert [p.name for p in found.packages] == ["rich"]
    assert {p.name: p.pinned for p in found.optional if p.pinned} == {"torch": "2.13.0"}


@pytest.mark.parametrize(
    ("system", "driver", "torch", "gpu", "gap"),
    [
        ("Linux", "nvidia", "2.13.0+cpu", "NVIDIA", True),
        ("Linux", "nvidia", "2.13.0", "NVIDIA", False),
        ("Linux", "amd", "2.13.0+cpu", "AMD", False),
        ("Linux", None, "2.13.0+cpu", "none found", False),
        ("Darwin", "nvidia", "2.13.0", "not looked for", False),
    ],
)
def test_a_gpu_that_the_installed_torch_leaves_unused_is_a_gap(
    system: str, driver: str | None, torch: str, gpu: str, gap: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: torch)
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(wheels, "gpu", lambda: driver)
    found = diagnose(5, [])
    assert found.gpu == gpu
    assert re.search(rf"^  gpu +{gpu}$", render(found), re.MULTILINE)
    assert ("CUDA build of torch" in missing(found)) is gap


def test_a_checkout_that_is_not_installed_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", nothing)
    monkeypatch.setattr(metadata, "requires", nothing)
    found = diagnose(5, [])
    assert found.harness is None
    assert found.packages == ()
    assert "not installed; run: python -m pip install -e ." in render(found)


def test_a_folder_that_cannot_be_written_is_a_finding(tmp_path: Path) -> None:
    new = tmp_path / "eval" / "reports"
    assert diagnose(5, [], new).reports.writable
    assert not new.exists()
    (tmp_path / "file").touch(mode=0o755)
    found = diagnose(5, [], tmp_path / "file" / "reports")
    assert not found.reports.writable
    assert found.reports.free_gb > 0
    assert missing(found)[found.reports.path] == "writing reports"


def test_a_folder_without_permission_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    assert not diagnose(5, [], tmp_path).reports.writable


def test_reports_go_where_the_claims_are(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert diagnose(5, []).reports.path == str(root / "eval" / "reports")
    (tmp_path / "eval" / "claims").mkdir(parents=True)
    assert diagnose(5, []).reports.path == str(tmp_path / "eval" / "reports")


def test_columns_line_up_and_the_json_has_a_schema(local: Local) -> None:
    found = diagnose(5, [local.service("/200"), Service("a longer name", f"http://127.0.0.1:{local.port}/403", "b")])
    rows = [line for line in render(found).splitlines() if "answers (" in line]
    assert len({row.index("answers (") for row in rows}) == 1
    assert not any(line != line.rstrip() for line in render(found).splitlines())
    plain = json.loads(json.dumps(to_dict(found)))
    assert plain["schema"] == 1
    assert plain["services"][0]["detail"] == "HTTP 200"
