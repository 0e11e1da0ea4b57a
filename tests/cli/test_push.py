"""`edgesw push`, against a server that speaks the hub's upload protocol."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tiny import assert_one_line, edgesw

REPO = "somebody/tiny-4bit"
TOKEN = "hf_right"


class Hub(BaseHTTPRequestHandler):
    """Repositories, git LFS and commits, as huggingface_hub asks for them. Files over 10 kB go to LFS."""

    uploaded: dict[str, bytes]
    committed: dict[str, bytes]
    made: list[dict[str, Any]]
    cards: list[str]

    def log_message(self, *_: Any) -> None:
        """Nothing on the terminal."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer({"error": "Invalid credentials"}, 401)
        elif self.path == "/api/repos/create":
            self.made.append(json.loads(body))
            self.answer({"url": f"{self.base}/{REPO}"})
        elif self.path == "/api/validate-yaml":
            self.cards.append(json.loads(body)["content"])
            self.answer({"errors": [], "warnings": []})
        elif self.path == f"/api/models/{REPO}/preupload/main":
            files = json.loads(body)["files"]
            modes = [{"path": f["path"], "uploadMode": "lfs" if f["size"] > 10_000 else "regular"} for f in files]
            self.answer({"files": [{**mode, "shouldIgnore": False} for mode in modes]})
        elif self.path == f"/{REPO}.git/info/lfs/objects/batch":
            objects = [
                {**each, "actions": {"upload": {"href": f"{self.base}/lfs/{each['oid']}"}}}
                for each in json.loads(body)["objects"]
            ]
            self.answer({"transfer": "basic", "objects": objects})
        elif self.path == f"/api/models/{REPO}/commit/main":
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    self.committed[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    self.committed[value["path"]] = self.uploaded[value["oid"]]
            self.answer({"success": True, "commitOid": "0" * 40, "commitUrl": f"{self.base}/{REPO}/commit/{'0' * 40}"})
        else:
            self.answer({"error": f"no {self.path}"}, 404)

    def do_PUT(self) -> None:
        self.uploaded[self.path.rpartition("/")[2]] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer({})

    @property
    def base(self) -> str:
        return f"http://{self.headers['Host']}"

    def answer(self, said: dict[str, Any], code: int = 200) -> None:
        content = json.dumps(said).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def hub() -> Iterator[tuple[str, type[Hub]]]:
    handler = type("OwnHub", (Hub,), {"uploaded": {}, "committed": {}, "made": [], "cards": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", handler
    server.shutdown()
    server.server_close()


def push(endpoint: str, token: str, *words: object) -> subprocess.CompletedProcess[str]:
    """In a process of its own: huggingface_hub reads its settings when it is imported."""
    settings = {"HF_ENDPOINT": endpoint, "HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    program = f"from edgesw.cli import main; main({['push', *map(str, words)]})"
    return subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **settings}, capture_output=True, text=True, timeout=120
    )


def test_the_hub_gets_the_package_and_nothing_else(
    hub: tuple[str, type[Hub]], tiny_package: Path, tmp_path: Path
) -> None:
    """What lies beside a package in its folder, notes or keys, is not for everybody."""
    import shutil

    package = Path(shutil.copytree(tiny_package, tmp_path / "package"))
    (package / "private.txt").write_text("a key")
    endpoint, found = hub
    ran = push(endpoint, TOKEN, package, REPO, "--private")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == f"{endpoint}/{REPO}/commit/{'0' * 40}\n" and ran.stderr == ""
    expected = {
        path.relative_to(package).as_posix(): path.read_bytes() for path in package.rglob("*") if path.is_file()
    }
    del expected["private.txt"]
    assert found.committed == expected
    (made,) = found.made
    assert made["name"] == "tiny-4bit" and made["organization"] == "somebody"
    assert made.get("private") is True or made.get("visibility") == "private"


def test_a_hub_that_refuses_says_why_in_one_line(hub: tuple[str, type[Hub]], tiny_package: Path) -> None:
    endpoint, found = hub
    ran = push(endpoint, "hf_wrong", tiny_package, REPO)
    assert ran.returncode == 1
    assert ran.stderr.startswith("Error: upload failed: ") and ran.stderr.count("\n") == 1, ran.stderr
    assert "hf auth login" in ran.stderr
    assert found.committed == {}


def test_a_damaged_package_is_not_uploaded(hub: tuple[str, type[Hub]], tiny_package: Path, tmp_path: Path) -> None:
    """Everybody would download it before anybody noticed."""
    import shutil

    package = Path(shutil.copytree(tiny_package, tmp_path / "package"))
    content = bytearray((package / "model.onnx.data").read_bytes())
    content[100] ^= 1
    (package / "model.onnx.data").write_bytes(content)
    endpoint, found = hub
    ran = push(endpoint, TOKEN, package, REPO)
    assert ran.returncode == 1 and "model.onnx.data is damaged" in ran.stderr
    assert found.made == [] and found.committed == {}


def test_a_dry_run_lists_what_would_be_uploaded(tiny_package: Path) -> None:
    ran = edgesw("push", tiny_package, REPO, "--dry-run", "--json")
    assert ran.code == 0, ran.err
    files = json.loads(ran.out)["files"]
    assert files == {
        path.relative_to(tiny_package).as_posix(): path.stat().st_size
        for path in tiny_package.rglob("*")
        if path.is_file()
    }
    assert "model.onnx.data" in edgesw("push", tiny_package, REPO, "--dry-run").out
    assert_one_line(edgesw("push", tiny_package, "no repository"), 2, "OWNER/NAME")
