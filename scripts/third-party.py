#!/usr/bin/env python3
"""Writes the notices that go with the binary: each crate that is linked into it, the Rust standard library and, where it is
linked in as well, the C library, with the texts of their licences as their authors ship them.

The crates are those of `cargo tree` for the target: what only builds, tests or expands macros is not in the binary and not in
the list. A text that several ship word by word stands there once. A crate without a text is an error, so that whoever adds it
decides what to ship. Exit codes: 0 written, 1 a crate has no text, 3 the compiler came without the notices of its library.
"""

import argparse
import html
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAMES = re.compile(r"(un)?licen[sc]e|copying|copyright|notice", re.IGNORECASE)
# Source that is named after what it is about.
SOURCE = {".rs", ".c", ".h", ".py", ".toml", ".json", ".html", ".yml", ".yaml"}
LINE = "=" * 100


class Component:
    """What is linked in, and the texts that come with it as pairs of file name and text."""

    def __init__(self, name, licence, origin, texts):
        self.name, self.licence, self.origin, self.texts = name, licence, origin, texts


def output_of(*command):
    """What a command prints; its errors are seen, and end this."""
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def read(path):
    return path.read_text(encoding="utf-8", errors="replace")


def texts_below(folder):
    """The texts that a crate ships, also those of what it has taken from others."""
    for path in sorted(folder.rglob("*")):
        if NAMES.match(path.name) and path.suffix.lower() not in SOURCE and path.is_file():
            yield str(path.relative_to(folder)), read(path)


def text_of(licence):
    """Of a crate that ships no text: that of the Apache licence, where it may be had under it. It names no holder."""
    if licence and "Apache-2.0" in licence:
        return [("Apache-2.0, by its manifest", read(ROOT / "LICENSE-APACHE"))]
    return []


def crates(package, target):
    """The crates of others in the binary of this package."""
    tree = output_of(
        *("cargo", "tree", "--locked", "-p", package, "--target", target),
        *("-e", "normal,no-proc-macro", "--prefix", "none", "-f", "{p}"),
    )
    metadata = json.loads(output_of(*("cargo", "metadata", "--locked", "--format-version=1", "--filter-platform", target)))
    known = {(of["name"], "v" + of["version"]): of for of in metadata["packages"]}
    for name, version in sorted({tuple(line.split()[:2]) for line in tree.splitlines() if line}):
        of = known[name, version]
        if of["source"] is not None:
            origin = of["repository"] or f"https://crates.io/crates/{name}"
            texts = list(texts_below(Path(of["manifest_path"]).parent)) or text_of(of["license"])
            yield Component(f"{name} {of['version']}", of["license"] or "by its texts", origin, texts)


def plain(page):
    """The words of a piece of HTML."""
    words = html.unescape(re.sub(r"<(head|ul).*?</\1>|<[^>]*>", "", page, flags=re.DOTALL))
    return re.sub(r"\s*\n\s*", "\n", words).strip()


def library():
    """The standard library and the crates in it, as the notices that come with the compiler have them."""
    folder = Path(output_of("rustc", "--print", "sysroot").strip()) / "share/doc/rust"
    try:
        front, *chapters = re.split(r"<h3>\W*", read(folder / "COPYRIGHT-library.html"))
        texts = [(name, read(folder / "licenses" / name)) for name in ("Apache-2.0.txt", "MIT.txt", "Unicode-3.0.txt")]
    except FileNotFoundError as error:
        print(f"third-party: {error.filename} is missing: use a toolchain of rustup, which brings it", file=sys.stderr)
        sys.exit(3)
    version = output_of("rustc", "--version").split()[1]
    about = ("COPYRIGHT-library", plain(front))
    yield Component(f"Rust standard library {version}", "MIT OR Apache-2.0", "https://rust-lang.org", [about, *texts])
    for chapter in chapters:
        name, version = re.match(r"(.*?)-(\d.*?)\s*</h3>", chapter).groups()
        licence = re.search(r"License:</b>\s*(.*?)</p>", chapter)[1]
        texts = re.findall(r"<summary><code>(.*?)</code></summary>\s*<pre>(.*?)</pre>", chapter, re.DOTALL)
        texts = [(html.unescape(of), html.unescape(text)) for of, text in texts]
        yield Component(f"{name} {version} (std)", licence, f"https://crates.io/crates/{name}", texts)


def c_library(target):
    """Only musl is linked in; a C library that the system brings is the system's."""
    if target.endswith("-musl"):
        yield Component("musl", "MIT", "https://musl.libc.org", [("COPYRIGHT", read(ROOT / "deploy/musl-COPYRIGHT"))])


def same(text):
    """What two texts have in common that differ in how their lines are broken."""
    return " ".join(text.split())


def notices(target, linked, std):
    """The whole file: who is in the binary, then each text with those who ship it."""
    components = [*linked, *std]
    shipped = {}
    for component in components:
        for file, text in component.texts:
            shipped.setdefault(same(text), (text, []))[1].append(f"{component.name}: {file}")
    yield f"Pollux for {target} contains the software of others, under their licences."
    yield f"Linked in: {len(linked)} components."
    yield from listed(linked)
    yield "The Rust standard library is linked in; its own notices name the crates of every platform that it has:"
    yield from listed(std)
    for text, files in sorted(shipped.values(), key=lambda of: (-len(of[1]), of[1])):
        yield "\n".join([LINE, *files, LINE])
        yield text.strip("\n").expandtabs().replace("\r\n", "\n")


def listed(components):
    yield "\n".join(f"{of.name}  |  {of.licence}  |  {of.origin}" for of in components)


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    options.add_argument("--package", default="twin", help="the crate whose binary is shipped")
    options.add_argument("--target", required=True, help="what it is built for")
    options.add_argument("--out", type=Path, required=True, help="the file")
    options = options.parse_args()
    linked = [*crates(options.package, options.target), *c_library(options.target)]
    bare = [of.name for of in linked if not of.texts]
    if bare:
        print(f"third-party: no text of a licence comes with {', '.join(bare)}", file=sys.stderr)
        return 1
    options.out.parent.mkdir(parents=True, exist_ok=True)
    text = "\n\n".join(notices(options.target, linked, list(library())))
    options.out.write_text(text + "\n", encoding="utf-8")
    print(f"{options.out}: {len(linked)} components, {len(text.encode())} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
