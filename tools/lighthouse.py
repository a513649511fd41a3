"""Measure a page of the built site with Lighthouse, as a phone on a slow network sees it.

    npm install --prefix ../lh lighthouse
    python tools/lighthouse.py ../lh/node_modules/.bin/lighthouse book/activations/04-smooth.html

The site is served compressed, as any web host does. The result goes to benchmarks/lighthouse.json.
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
import threading
from datetime import date
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "_build/html"
FLAGS = "--headless=new --no-sandbox --disable-gpu --disable-quic --disable-background-networking"
COMPRESSED = {".html", ".css", ".js", ".svg", ".json"}


class Compressed(SimpleHTTPRequestHandler):
    """A file server that compresses text."""

    def __init__(self, *args):
        super().__init__(*args, directory=str(SITE))

    def log_message(self, format, *args):
        pass

    def send_head(self):
        path = Path(self.translate_path(self.path))
        if path.suffix not in COMPRESSED or not path.is_file():
            return super().send_head()
        body = gzip.compress(path.read_bytes())
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return BytesIO(body)


def main(lighthouse, page):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Compressed)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/{page}"
    run = [lighthouse, url, "--quiet", "--output=json", f"--chrome-flags={FLAGS}"]
    environment = os.environ | {"CHROME_PATH": shutil.which("chromium") or ""}
    output = subprocess.run(run, check=True, capture_output=True, env=environment).stdout
    report = json.loads(output)
    requests = report["audits"]["network-requests"]["details"]["items"]
    record = {
        "date": date.today().isoformat(),
        "lighthouse": report["lighthouseVersion"],
        "page": page,
        "scores": {k: round(100 * c["score"]) for k, c in report["categories"].items()},
        "kilobytes": round(sum(r["transferSize"] for r in requests) / 1000),
        "requests": len(requests),
        "failed": [
            a["title"]
            for a in report["audits"].values()
            if a["score"] == 0 and a["scoreDisplayMode"] == "binary"
        ],
    }
    text = json.dumps(record, indent=1)
    (ROOT / "benchmarks/lighthouse.json").write_text(text + "\n", "utf-8")
    print(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
