"""A real HTTP server on this machine that serves a corpus well or badly."""

import io
import threading
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    announced_bytes: int | None = None  # more than the body has: the transfer breaks off
    refuses_python: bool = False


@dataclass
class Server:
    url: str
    replies: dict[str, Reply] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def serve_raw(self, contents, prefix="ptb."):
        self.replies |= {f"/{prefix}{split}.txt": Reply(body=content) for split, content in contents.items()}
        return f"{self.url}/{prefix}{{split}}.txt"

    def serve_zip(self, contents, **reply):
        self.replies["/wikitext-2-v1.zip"] = Reply(body=archive(contents), **reply)
        return f"{self.url}/wikitext-2-v1.zip"


def archive(contents):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened:
        for split, content in contents.items():
            opened.writestr(f"wikitext-2/wiki.{split}.tokens", content)
    return file.getvalue()


@contextmanager
def running_server():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            running.requests.append(self.path)
            reply = running.replies.get(self.path, Reply(404))
            agent = self.headers.get("User-Agent", "")
            if reply.refuses_python and agent.lower().startswith(("python-urllib", "python-requests")):
                reply = Reply(403)
            self.send_response(reply.status)
            self.send_header("Content-Length", str(reply.announced_bytes or len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        running = Server(f"http://127.0.0.1:{listening.server_port}")
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield running
        finally:
            listening.shutdown()
            thread.join()
