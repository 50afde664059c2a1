"""What every result folder begins with: its name, the host it was measured on, and certificates for its runs."""

import datetime
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def folder_of(kind):
    """Where a result of today belongs, if the command names no other place."""
    return ROOT / f"results/{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}-{platform.node()}-{kind}"


def host_of(pollux):
    """What host.json holds, with the verdict of this binary on the host."""
    describe = [sys.executable, ROOT / "scripts/describe-host.py"]
    environment = {**os.environ, "POLLUX": str(pollux)}
    return json.loads(subprocess.run(describe, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True).stdout)


def write_host(out, host):
    """Keeps it beside the figures."""
    (out / "host.json").write_text(json.dumps(host, indent=2) + "\n", encoding="utf-8")


def read_host(out):
    """What was kept."""
    return json.loads(pathlib.Path(out, "host.json").read_text(encoding="utf-8"))


class Certificates:
    """Those of a twin on localhost and of a gateway that may speak for every device."""

    def __init__(self, folder):
        self.folder = folder

    @classmethod
    def made(cls, pollux, folder):
        """Fresh ones."""
        shutil.rmtree(folder, ignore_errors=True)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([pollux, "certs", "init", "--dir", folder, "--gateway", "bench"], check=True, **quiet)
        return cls(folder)

    @property
    def settings(self):
        """For `--set` of the twin."""
        files = {"cert": "server.pem", "key": "server.key", "ca": "ca.pem", "crl": "crl.pem"}
        return [f"tls.{key}={self.folder}/{name}" for key, name in files.items()]

    @property
    def trust(self):
        """What a caller asks of the twin."""
        return ["--ca", self.folder / "ca.pem"]

    @property
    def client(self):
        """The same, and how the caller proves itself."""
        return [*self.trust, "--cert", self.folder / "gateway-bench.pem", "--key", self.folder / "gateway-bench.key"]
