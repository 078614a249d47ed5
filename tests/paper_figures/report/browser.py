"""Headless Chromium, driven by its DevTools protocol over a pair of pipes: no port, no other package."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--disable-sync",
    "--remote-debugging-pipe",
)  # fmt: skip
_START = (  # Chromium reads commands from descriptor 3 and writes to 4
    "import fcntl, os, sys\n"
    "pair = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3]]\n"
    "for old, new in zip(pair, (3, 4)):\n"
    "    os.dup2(old, new)\n"
    "os.execvp(sys.argv[3], sys.argv[3:])\n"
)


class Browser:
    """One page of a running Chromium. `complaints` are messages of its console, errors and requests that failed."""

    def __init__(self, process, write, read, limit_s):
        self.process, self.complaints = process, []
        self._write, self._read, self._deadline = write, read, time.monotonic() + limit_s
        self._buffer, self._last, self._session = b"", 0, None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """The result of a command; AssertionError if Chromium refuses it or does not answer in time."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._last:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def open(self, path, width, height=900, dark=False, phone=False):
        """Show a file in a window of this size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path.as_uri())
        while not self.run("document.readyState === 'complete'"):
            time.sleep(0.02)

    def run(self, script):
        """The value of an expression of JavaScript; a promise is awaited."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def screenshot(self, path, top=0, height=None):
        """Write a PNG of the page, from `top` on, as wide as the window; by default to the page's end."""
        width, end = self.run("[innerWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": top, "width": width, "height": min(height or end, end - top), "scale": 1}
        taken = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))

    def print(self, path):
        """Write the page as PDF, A4."""
        taken = self.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, preferCSSPageSize=True)
        path.write_bytes(base64.b64decode(taken["data"]))

    def _receive(self):
        """The next message; events that complain are noted."""
        while b"\0" not in self._buffer:
            left = self._deadline - time.monotonic()
            assert left > 0, "Chromium does not answer"
            assert self.process.poll() is None, "Chromium has ended"
            if select.select([self._read], [], [], min(left, 1))[0]:
                self._buffer += os.read(self._read, 1 << 20)
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(text)
        method, about = message.get("method"), message.get("params", {})
        complains = method in ("Runtime.exceptionThrown", "Log.entryAdded", "Network.loadingFailed")
        if complains or (method == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert")):
            self.complaints.append((method, about))
        return message


@contextmanager
def running(folder, limit_s=120):
    """A browser whose profile is in a folder; it is ended at the end, or after `limit_s` seconds."""
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    start = [sys.executable, "-c", _START, str(theirs_in), str(theirs_out), CHROMIUM, *FLAGS]
    command = [*start, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, pass_fds=(theirs_in, theirs_out), **quiet)
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        browser = Browser(process, ours_out, ours_in, limit_s)
        yield browser
        browser._session = None
        browser.call("Browser.close")
        process.wait(10)
    finally:
        process.kill()
        process.wait()
        os.close(ours_in)
        os.close(ours_out)
