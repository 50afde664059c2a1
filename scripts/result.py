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


def tree():
    """What host.json says of the tree and its compiler, for a host that has neither."""
    here = host_of("/nonexistent")
    return {key: here[key] for key in ("rustc", "revision", "revision_dirty")}


def described(commit="HEAD"):
    """A commit as a binary that was built from it names it, or None where there is no tree."""
    command = ["git", "describe", "--always", "--abbrev=12", commit]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def not_of_head(out, place, programs, build):
    """Why programs at a place may not go on measuring into a folder, or None: one commit makes a result, and it is this tree's.

    A release binary holds its revision as text. Whether the tree had changes is not told apart: host.json says it.
    """
    revision = described()
    if revision is None:
        return None
    other = [str(program) for program in programs if not place.bears(program, revision)]
    if other:
        return f"not built from this commit, {revision}: {', '.join(other)}; build: {build}"
    path = pathlib.Path(out, "host.json")
    before = read_host(out)["revision"] if path.exists() else None
    if before and described(before) != revision:
        return f"{out} is of another commit, {before[:12]}, and this is {revision}: check that out, or name another folder"
    return None


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
