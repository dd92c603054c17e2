"""Downloads from a server on this machine, which can also break off, lie and fail."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from lfmkit import data
from lfmkit.data import download

NAME = "miniboone/data.npy"


def packed(**members):
    """A tar.gz of plain files (bytes) and links (text)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                tar.addfile(entry)
            else:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def content():
    buffer = io.BytesIO()
    np.save(buffer, np.random.default_rng(0).normal(size=(2000, 12)))
    return buffer.getvalue()


class Server(ThreadingHTTPServer):
    """Answers with `body`, in the way that `mode` says."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.mode, self.requests = b"", "whole", 0

    def handle_error(self, request, client_address):
        pass  # a client that went away in the middle is what some tests are about


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.requests += 1
        if server.mode == "closed":
            return self.connection.close()
        if server.mode == "missing":
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(len(server.body)))
        self.end_headers()
        if server.mode == "slow":
            for byte in server.body:
                self.wfile.write(bytes([byte]))
                time.sleep(0.05)
        self.wfile.write(server.body[: len(server.body) // 2] if server.mode == "cut" else server.body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path, content):
    monkeypatch.delenv(download.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(download, "URL", f"http://127.0.0.1:{server.server_port}/data.tar.gz")

    def offer(body):
        server.body = body
        monkeypatch.setattr(download, "MD5", hashlib.md5(body).hexdigest())

    server.offer = offer
    offer(packed(**{"data/readme": b"hello", f"data/{NAME}": content, "data/last": b"end"}))
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache" / "lfmkit" / "maf"


def found(cache):
    return sorted(str(p.relative_to(cache)) for p in cache.rglob("*") if p.is_file() and p.name != ".lock")


def test_the_first_call_downloads_and_later_ones_do_not(server, cache, content, capsys):
    table = data.table("miniboone")
    assert len(table.train) == 1620
    assert found(cache) == ["data.tar.gz", NAME]  # and nothing else of the archive
    assert (cache / NAME).read_bytes() == content
    said = capsys.readouterr()
    assert said.err == f"downloading {download.URL} (857 MB) to {cache}\n"
    assert said.out == ""
    assert np.array_equal(data.table("miniboone").train, table.train)
    assert server.requests == 1
    (cache / NAME).unlink()  # unpacked again from the archive that is there
    download.member(NAME)
    assert server.requests == 1
    assert (cache / NAME).read_bytes() == content


def test_a_bar_where_somebody_watches(server, monkeypatch, capsys):
    monkeypatch.setattr(download, "watched", lambda: True)
    data.table("miniboone")
    assert "100%" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("cut", "there is no connection, or it was cut off"),
        ("closed", "there is no connection, or it was cut off"),
        ("missing", "the server answered 404 Not Found"),
    ],
)
def test_a_server_that_fails_and_recovers(mode, message, server, cache):
    server.mode = mode
    with pytest.raises(OSError, match=message) as caught:
        data.table("miniboone")
    text = str(caught.value)
    assert text.startswith(f"cannot download {download.URL} (857 MB): ")
    assert f"set LFMKIT_DATA to the folder that holds {NAME}" in text
    assert "\n" not in text
    assert found(cache) == []
    server.mode = "whole"
    assert len(data.table("miniboone").train) == 1620


def test_no_server_at_all(server, cache, monkeypatch):
    monkeypatch.setattr(download, "URL", "http://127.0.0.1:9/data.tar.gz")
    with pytest.raises(OSError, match="there is no connection"):
        data.table("gas")
    assert found(cache) == []


def test_a_wrong_checksum_is_thrown_away(server, cache):
    server.body = server.body[:-1] + b"?"
    with pytest.raises(OSError, match=f"has not the checksum {download.MD5} and was deleted"):
        data.table("miniboone")
    assert found(cache) == []


def test_an_archive_that_rotted_in_the_cache_is_fetched_again(server, cache):
    cache.mkdir(parents=True)
    (cache / "data.tar.gz").write_bytes(server.body[:-9])
    assert len(data.table("miniboone").train) == 1620
    assert server.requests == 1
    assert (cache / "data.tar.gz").read_bytes() == server.body


def test_a_killed_download_starts_clean(server, cache):
    """Killed without a chance to tidy up: the next call does, and gets the whole file."""
    server.mode = "slow"
    code = (
        "from lfmkit.data import download;"
        f"download.URL, download.MD5 = {download.URL!r}, {download.MD5!r}; download.member({NAME!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env=os.environ, stderr=subprocess.DEVNULL)
    deadline = time.time() + 60
    while not list(cache.glob("tmp*")) and time.time() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (half,) = found(cache)
    assert half.startswith("tmp")
    (cache / f".data.npy.{process.pid}.tmp").write_bytes(b"half")  # as if it was unpacking
    server.mode = "whole"
    assert len(data.table("miniboone").train) == 1620
    assert found(cache) == ["data.tar.gz", NAME]


def test_stopped_by_hand_leaves_nothing(server, cache, monkeypatch):
    import pooch

    def interrupted(url, output, *rest):
        with open(output, "wb") as file:
            file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch, "HTTPDownloader", lambda **options: interrupted)
    with pytest.raises(KeyboardInterrupt):
        data.table("miniboone")
    assert found(cache) == []


def test_a_full_disk_while_downloading(server, tiny_disk, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tiny_disk))
    assert len(server.body) > 64 * 1024
    with pytest.raises(OSError, match=r"cannot download .*: the disk is full"):
        data.table("miniboone")
    assert found(tiny_disk / "lfmkit" / "maf") == []


def test_a_full_disk_while_unpacking(server, tiny_disk, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tiny_disk))
    server.offer(packed(**{f"data/{NAME}": bytes(200_000)}))
    assert len(server.body) < 1000
    with pytest.raises(OSError, match=r"cannot unpack .*data\.tar\.gz to .*: the disk is full\. Make room"):
        data.table("miniboone")
    assert found(tiny_disk / "lfmkit" / "maf") == ["data.tar.gz"]


def test_a_cache_that_cannot_be_made(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(OSError, match=r"cannot write to .*maf"):
        data.table("miniboone")
    assert server.requests == 0


def test_members_go_nowhere_else(server, cache, content, tmp_path):
    """Only members that are asked for are taken, to places that the kit chooses."""
    outside = tmp_path / "outside"
    server.offer(
        packed(
            **{
                "../outside": b"a",
                f"{outside}": b"b",
                "data/../../../../outside": b"c",
                "data/link": str(tmp_path),
                "data/link/outside": b"d",
                f"./data/{NAME}": content,
            }
        )
    )
    assert len(data.table("miniboone").train) == 1620
    assert found(cache) == ["data.tar.gz", NAME]
    assert not outside.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache"]


def test_a_link_in_the_place_of_a_member(server, cache, tmp_path):
    (tmp_path / "secret").write_text("secret")
    server.offer(packed(**{f"data/{NAME}": str(tmp_path / "secret")}))
    with pytest.raises(OSError, match=rf"cannot unpack .*: data/{NAME} is not a plain file"):
        data.table("miniboone")
    assert found(cache) == ["data.tar.gz"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (packed(**{"data/other": b"x"}), r"does not hold data/miniboone/data\.npy: delete it and try again"),
        (b"no archive", r"cannot unpack .*\. Make room, or delete the archive"),
        (b"", r"cannot unpack .*\. Make room, or delete the archive"),
        (
            packed(**{f"data/{NAME}": bytes(9999)})[:60],
            r"cannot unpack .*\. Make room, or delete the archive",
        ),
    ],
    ids=["other", "no archive", "empty", "cut off"],  # bytes with the time of packing are no names
)
def test_an_archive_with_something_else(body, message, server, cache):
    server.offer(body)
    with pytest.raises(OSError, match=message) as caught:
        data.table("miniboone")
    assert "\n" not in str(caught.value)
    assert found(cache) == ["data.tar.gz"]


def test_own_files_go_before_the_network(server, tmp_path, content, monkeypatch):
    for layout in ("", "data/"):
        folder = tmp_path / f"mine{layout.rstrip('/')}"
        (folder / layout / NAME).parent.mkdir(parents=True)
        (folder / layout / NAME).write_bytes(content)
        monkeypatch.setenv(download.VARIABLE, str(folder))
        table = data.table("miniboone")
        assert table.provenance["file"] == "data.npy"
    assert server.requests == 0
