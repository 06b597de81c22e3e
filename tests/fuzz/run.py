# SPDX-License-Identifier: GPL-2.0-or-later
"""Fuzz one target with atheris: `python -m tests.fuzz.run TARGET SECONDS [libFuzzer options]`; see docs/fuzzing.md.

Inputs are kept in .fuzz/TARGET; one that fails is written to .fuzz/TARGET/failed-*, and is what belongs in the corpus.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import atheris

from tests.fuzz.targets import CORPUS, LONGEST, load

PLACE = Path(".fuzz")


def quoted(token):
    """Write bytes as a libFuzzer dictionary wants them."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in token) + '"'


def words(name):
    """Give what is worth putting into an input."""
    from tests.fuzz.seeds import tokens

    if name != "filters":
        return tokens()
    from dissector import filter_fields

    fixed = b'and or not in == != >= <= && || .. ~ { } ( ) " contains matches & 0x true -1 2026-11-22T21:35:10Z'.split()
    return fixed + [field.encode() for field in filter_fields.fields()]


def main():
    """Set a target up and let atheris go."""
    name, seconds, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["dissector"]):
        check, seeds = load(name)
    place = PLACE / name
    known, begin = place / "corpus", place / "seeds"
    for folder in (known, begin):
        folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds():
        (begin / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    dictionary = place / "words"
    dictionary.write_text("".join(quoted(word[:60]) + "\n" for word in words(name)))
    folders = [str(folder) for folder in (known, begin, CORPUS / name) if folder.is_dir()]
    arguments = [
        f"-max_total_time={seconds}",
        f"-artifact_prefix={place}/failed-",
        f"-dict={dictionary}",
        f"-max_len={LONGEST.get(name, 4096)}",
        "-rss_limit_mb=1024",
        "-timeout=20",
        "-print_final_stats=1",
        *options,
    ]
    atheris.Setup([sys.argv[0], *arguments, *folders], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
