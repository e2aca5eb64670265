"""An editor for the tests: it starts the real server and talks to it over its streams, message by message."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

from tests.shared_files import ROOT

Json: TypeAlias = Any
PATIENCE = 120.0  # seconds; a server that says nothing for so long is taken for dead


def uri_of(path: Path | str) -> str:
    """The URI of a file; a text is one already."""
    return path if isinstance(path, str) else path.as_uri()


class Editor:
    """A client of `amctc lsp`; as a context manager it shakes hands, and says goodbye at the end."""

    def __init__(self, *, snippets: bool = False, encodings: tuple[str, ...] = ("utf-16",)) -> None:
        self.capabilities: Json = {
            "general": {"positionEncodings": list(encodings)},
            "textDocument": {
                "completion": {"completionItem": {"snippetSupport": snippets}},
                "publishDiagnostics": {"relatedInformation": True},
            },
        }
        self.server: Json = None
        self.status: int | None = None
        self._process = subprocess.Popen(
            [sys.executable, "-m", "amctc", "lsp"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._messages: queue.Queue[Json] = queue.Queue()
        self._errors = b""
        self._threads = [threading.Thread(target=task, daemon=True) for task in (self._listen, self._drain)]
        self._next = 0
        self._version = 0

    def __enter__(self) -> Editor:
        for thread in self._threads:
            thread.start()
        self.server = self.ask("initialize", processId=None, rootUri=None, capabilities=self.capabilities)
        self.tell("initialized")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, where: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.ask("shutdown")
                self.tell("exit")
                self.status = self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
            for thread in self._threads:
                thread.join()
            for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
                if stream is not None:
                    stream.close()
        if kind is None:
            assert b"Traceback" not in self._errors, self._errors.decode()

    def ask(self, method: str, **params: Json) -> Json:
        """The result of a request."""
        self._next += 1
        self._send({"id": self._next, "method": method, "params": params})
        answer = self._wait(lambda message: message.get("id") == self._next and "method" not in message)
        assert "error" not in answer, answer
        return answer["result"]

    def tell(self, method: str, **params: Json) -> None:
        """Send a notification."""
        self._send({"method": method, "params": params})

    def open(self, path: Path | str, text: str | None = None) -> Json:
        """Open a file (or a URI), with its content or another text, and give the diagnostics that come back."""
        self._version += 1
        shown = Path(path).read_text(encoding="utf-8") if text is None else text
        document = {"uri": uri_of(path), "languageId": "amctc", "version": self._version, "text": shown}
        self.tell("textDocument/didOpen", textDocument=document)
        return self.diagnostics(path)

    def change(self, path: Path, text: str) -> Json:
        """Replace the text of an open file, and give the diagnostics that come back."""
        self._version += 1
        document = {"uri": path.as_uri(), "version": self._version}
        self.tell("textDocument/didChange", textDocument=document, contentChanges=[{"text": text}])
        return self.diagnostics(path)

    def diagnostics(self, path: Path | str) -> Json:
        """The diagnostics of a file, as they are published next."""

        def published(message: Mapping[str, Json]) -> bool:
            return message.get("method") == "textDocument/publishDiagnostics"

        params = self._wait(published)["params"]
        assert params["uri"] == uri_of(path)
        assert params.get("version", self._version) == self._version
        return params["diagnostics"]

    def at(self, method: str, path: Path, line: int, character: int, **more: Json) -> Json:
        """Ask about a place; lines and characters begin at 0."""
        place = {"line": line, "character": character}
        return self.ask(f"textDocument/{method}", textDocument={"uri": path.as_uri()}, position=place, **more)

    def _send(self, message: Mapping[str, Json]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._process.stdin.flush()

    def _wait(self, wanted: Any) -> Json:
        while True:
            message = self._messages.get(timeout=PATIENCE)
            assert message is not None, f"the server ended: {self._errors.decode()}"
            assert message.get("method") != "window/showMessage", message
            if wanted(message):
                return message

    def _listen(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        while True:
            length = 0
            while (line := stream.readline()).strip():
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            if not line:
                self._messages.put(None)
                return
            self._messages.put(json.loads(stream.read(length)))

    def _drain(self) -> None:
        stream = self._process.stderr
        assert stream is not None
        for line in stream:
            self._errors += line
