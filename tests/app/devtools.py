"""A browser without a screen, told what to do through a pipe, by Chromium's DevTools protocol."""

import base64
import json
import os
import subprocess
import threading
import time
from urllib.parse import urlsplit

ANSWER_S = 30
"""Longest wait for an answer of the browser; it gives most within milliseconds."""


class Chromium:
    """One page. Use in a `with`; `requests` are the addresses that it has asked for so far."""

    def __init__(self, program, profile, width=1280, height=900):
        there, self._to = os.pipe()
        self._from, back = os.pipe()
        os.set_inheritable(there, True)
        os.set_inheritable(back, True)
        flags = (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
        )
        # The browser reads from 3 and writes to 4, whatever the pipes' own numbers are.
        moved = f'exec 3<&{there} 4>&{back}; exec "$@"'
        self._process = subprocess.Popen(
            ["bash", "-c", moved, "bash", program, *flags, "about:blank"],
            pass_fds=(there, back),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(there)
        os.close(back)
        self._number, self._session = 0, None
        self._answers, self._arrived = {}, threading.Condition()
        self.requests, self.failures = [], []
        threading.Thread(target=self._listen, daemon=True).start()
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime"):
            self.call(f"{domain}.enable")
        self.resize(width, height)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._process.terminate()
        self._process.wait(timeout=ANSWER_S)
        os.close(self._to)

    def _listen(self):
        left = b""
        while chunk := os.read(self._from, 1 << 20):
            *messages, left = (left + chunk).split(b"\0")
            for message in map(json.loads, messages):
                self._take(message)

    def _take(self, message):
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        elif message.get("method") == "Runtime.exceptionThrown":
            self.failures.append(message["params"]["exceptionDetails"]["text"])
        elif "id" in message:
            with self._arrived:
                self._answers[message["id"]] = message
                self._arrived.notify_all()

    def call(self, method, **params):
        """Ask for something; gives the result."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        with self._arrived:
            assert self._arrived.wait_for(lambda: number in self._answers, ANSWER_S), method
            answer = self._answers.pop(number)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, url):
        self.call("Page.navigate", url=url)

    def resize(self, width, height):
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def run(self, script):
        """Give what a script of one expression comes to, as JSON has it."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get(
            "value"
        )

    def wait_for(self, script, limit_s=60):
        """Wait until an expression comes to something."""
        end_s = time.monotonic() + limit_s
        while not (value := self.run(script)):
            assert time.monotonic() < end_s, f"waited {limit_s} s for {script}"
            time.sleep(0.1)
        return value

    def give_file(self, selector, path):
        """Choose a file, as in the dialogue that a press on the field opens."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        field = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=field)

    def take_picture(self):
        """Give the page as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])

    def hosts(self):
        """Give all hosts that were asked for anything."""
        return {urlsplit(url).hostname for url in self.requests if url.startswith("http")}
