# SPDX-License-Identifier: GPL-2.0-or-later
"""Which Xen wrote this stream, and whether a receiver of a given release would take it (stream.md 8)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from dissector.check import hvm
from dissector.check.libxc import policy_entries
from dissector.check.model import BODY_LENGTH, Hit, in_body
from dissector.check.session import number
from dissector.spec import libxc, libxl, releases
from dissector.spec.conditions import VCPU
from dissector.spec.cpu import NO_SUBLEAF
from dissector.spec.hvm import HVM_PARAM, HVM_SAVE_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dissector.spec import model
    from dissector.spec.releases import Release, SectionLength
    from dissector.wire.events import Record

_RELEASE: Final = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})(?:\.([0-9]{1,4}))?")


class Target(NamedTuple):
    """A release that is asked for.

    Attributes:
        release: Major and minor number.
        point: Number of the point release; None: any.
    """

    release: Release
    point: int | None = None

    def __str__(self) -> str:
        return ".".join(map(str, (*self.release, *([] if self.point is None else [self.point]))))

    @property
    def doubt(self) -> str:
        """What makes an answer uncertain, to stand behind it; empty for a release that is known."""
        if self.release <= releases.LATEST:
            return ""
        return f"; the latest that is known here is {_dotted(releases.LATEST)}, and later ones are taken for it"

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read ``4.17`` or ``4.17.3``.

        Raises:
            ValueError: it is none, or too old for this stream format.
        """
        found = _RELEASE.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text!r} is no release of Xen; write 4.17 or 4.17.3")
        release = int(found[1]), int(found[2])
        if release < releases.FIRST:
            raise ValueError(f"Xen {text} reads legacy streams only; the format of these streams began with 4.6")
        return cls(release, None if found[3] is None else int(found[3]))


# -- who wrote it -----------------------------------------------------------------------------------------------------


class Clue(NamedTuple):
    """What a record says about the release that wrote it.

    Attributes:
        since: The first release that does so.
        until: The last one; None: still.
        what: What it does.
    """

    since: Release
    until: Release | None
    what: str


class Origin:
    """Narrows down the release of the sender."""

    def __init__(self) -> None:
        self.since: Clue | None = None
        """The clue that says the latest first release."""
        self.until: Clue | None = None
        """The clue that says the earliest last release."""
        self.said: Release | None = None
        """What the domain header says."""
        self._known: set[tuple[model.Record, int | None]] = set()

    def take(self, record: Record) -> None:
        """Look at a record of the sender; one of each kind and length is enough."""
        look = _CLUES.get(record.definition)
        kind = (record.definition, record.body_length)
        if look is None or kind in self._known or len(self._known) > 4096:
            return
        self._known.add(kind)
        for clue in look(record):
            if self.since is None or clue.since > self.since.since:
                self.since = clue
            if clue.until is not None and (
                self.until is None or self.until.until is None or clue.until < self.until.until
            ):
                self.until = clue
        if record.definition is libxc.DOMAIN_HEADER:
            major, minor = number(record, "xen_major"), number(record, "xen_minor")
            self.said = (major, minor) if major and minor is not None else None

    def text(self) -> str:
        """Say which releases can have written it; empty if nothing is known."""
        if self.since is None:
            return ""
        first = self.since.since
        last = self.until.until if self.until is not None else None
        if last is not None and last < first:
            assert self.until is not None
            return (
                f"no release writes all of this: {self.since.what} since {_dotted(first)}, "
                f"{self.until.what} until {_dotted(last)}{self._header()}"
            )
        span = (
            _dotted(first)
            if first == last
            else f"{_dotted(first)} {'or later' if last is None else f'to {_dotted(last)}'}"
        )
        clues = [self.since.what] if first > releases.FIRST else []
        clues += [self.until.what] if self.until is not None and self.until.what not in clues else []
        reason = f" ({', '.join(clues)})" if clues else ""
        return f"written by Xen {span}{reason}{self._header()}"

    def _header(self) -> str:
        return f"; the domain header says {_dotted(self.said)}" if self.said is not None else ""


def _image_header(record: Record) -> Iterator[Clue]:
    version = number(record, "version")
    if version == 2:
        yield Clue(releases.FIRST, (4, 13), "libxc v2")
    elif version == 3:
        yield Clue(releases.STREAM_V3, None, "libxc v3")


def _params(record: Record) -> Iterator[Clue]:
    if number(record, "count") == 0:
        yield Clue(releases.FIRST, (4, 8), "HVM_PARAMS without contents")
    for _, index, _ in hvm.params(record):
        if index in releases.HVM_PARAMS_SENT:
            since, until = releases.HVM_PARAMS_SENT[index]
            yield Clue(since, until, f"HVM parameter {HVM_PARAM.values.get(index, index)}")


def _context(record: Record) -> Iterator[Clue]:
    for section in hvm.sections(record):
        known = releases.SECTION_LENGTHS.get(section.typecode)
        for number_, (since, length) in enumerate(known.lengths if known else ()):
            if length == section.length and known is not None and len(known.lengths) > 1:
                until = known.lengths[number_ + 1][0] if number_ + 1 < len(known.lengths) else None
                since = min([since, *known.since_point]) if number_ + 1 == len(known.lengths) else since
                last = (until[0], until[1] - 1) if until else None
                yield Clue(since, last, f"{_section(section.typecode)} of {length} bytes")


def _extended(record: Record) -> Iterator[Clue]:
    size = number(record, "size")
    if size == 56:
        yield Clue(releases.FIRST, (4, 9), "X86_PV_VCPU_EXTENDED of 56 bytes")
    elif size == 64:
        yield Clue((4, 10), None, "X86_PV_VCPU_EXTENDED of 64 bytes")


def _msr_policy(record: Record) -> Iterator[Clue]:
    if (record.body_length or 0) >= 32:
        yield Clue(releases.TWO_MSR_POLICIES, None, "two MSRs in the policy")


def _emulator(record: Record) -> Iterator[Clue]:
    if number(record, "emulator_id") == 1:
        yield Clue(releases.FIRST, (4, 20), "QEMU traditional")


def _tsc(record: Record) -> Iterator[Clue]:
    if number(record, "mode") == 3:
        yield Clue(releases.FIRST, (4, 11), "TSC mode PVRDTSCP")


_CLUES: Final[Mapping[model.Record, Callable[[Record], Iterator[Clue]]]] = {
    libxc.IMAGE_HEADER: _image_header,
    libxc.DOMAIN_HEADER: lambda record: iter(()),
    libxc.HVM_PARAMS: _params,
    libxc.HVM_CONTEXT: _context,
    libxc.X86_PV_VCPU_EXTENDED: _extended,
    libxc.X86_MSR_POLICY: _msr_policy,
    libxc.X86_TSC_INFO: _tsc,
    libxl.EMULATOR_CONTEXT: _emulator,
    libxl.CHECKPOINT_STATE: lambda record: iter((Clue(releases.COLO, None, "COLO"),)),
}


# -- who would take it ------------------------------------------------------------------------------------------------


class Objection(NamedTuple):
    """What a receiver has against a record.

    Attributes:
        hit: Where, and what.
        certain: Every receiver of that release rejects it.
    """

    hit: Hit
    certain: bool = True


def objections(record: Record, target: Target) -> Iterator[Objection]:
    """Give what a receiver of release `target` does not accept of a record of the sender."""
    release = target.release
    since = _release(record.definition.since)
    if since > release:
        yield _against(0, f"{record.type} exists since {_dotted(since)}")
    length = record.body_length or 0
    if record.layer == "libxc" and length > releases.RECORD_LENGTH_MAX_BEFORE_410 and release < releases.LONG_RECORDS:
        yield _against(BODY_LENGTH, f"{record.type} of {length} bytes, it takes at most 8 MiB")
    look = _OBJECTIONS.get(record.definition)
    if look is not None:
        yield from look(record, target)


def _against(at: int, problem: str, *, certain: bool = True) -> Objection:
    return Objection(Hit(at, {"problem": problem}), certain)


def _version(record: Record, target: Target) -> Iterator[Objection]:
    version = number(record, "version")
    if version == 3 and target.release < releases.STREAM_V3:
        yield _against(12, "libxc v3, which exists since 4.14")


def _empty_params(record: Record, target: Target) -> Iterator[Objection]:
    if number(record, "count") == 0 and target.release < releases.EMPTY_PARAMS_TOLERATED:
        yield _against(in_body(record, 0), "HVM_PARAMS without contents, tolerated since 4.9")
    for at, index, _ in hvm.params(record):
        if index >= releases.HVM_PARAMS:
            yield _against(in_body(record, at), f"HVM parameter {index}, the last one is {releases.HVM_PARAMS - 1}")
            continue
        since = releases.HVM_PARAMS_SENT.get(index, (releases.FIRST, None))[0]
        if since > target.release:
            name = HVM_PARAM.values.get(index, "")
            yield _against(in_body(record, at), f"HVM parameter {index} ({name}), which exists since {_dotted(since)}")


def _empty_vcpu(record: Record, target: Target) -> Iterator[Objection]:
    if record.body_length == 8 and target.release < releases.EMPTY_VCPU_TOLERATED:
        yield _against(BODY_LENGTH, f"{record.type} without contents, tolerated since 4.11")


def _tsc_mode(record: Record, target: Target) -> Iterator[Objection]:
    if number(record, "mode") == 3 and target.release >= releases.TSC_MODE_3_GONE:
        yield _against(in_body(record, 0), "TSC mode 3 (PVRDTSCP), which the hypervisor has until 4.11")


def _traditional(record: Record, target: Target) -> Iterator[Objection]:
    if number(record, "emulator_id") == 1 and target.release >= releases.QEMU_TRADITIONAL_GONE:
        yield _against(in_body(record, 0), "state of QEMU traditional, which exists until 4.20")


def _policy_msrs(record: Record, target: Target) -> Iterator[Objection]:
    entries = (record.body_length or 0) // 16
    if entries > 1 and target.release == releases.STREAM_V3:
        yield _against(BODY_LENGTH, f"an MSR policy of {entries} entries, 4.14 takes 1")


def _policy_leaves(record: Record, target: Target) -> Iterator[Objection]:
    entries = (record.body_length or 0) // 24
    most = _latest(releases.CPUID_LEAVES_MAX, target.release)
    if most is not None and entries > most:
        yield _against(BODY_LENGTH, f"a CPUID policy of {entries} entries, it takes at most {most}")
        return
    extended = _latest(releases.CPUID_EXTENDED, target.release)
    features = _latest(releases.CPUID_FEATURES, target.release)
    if extended is None or features is None:
        return
    for at, (leaf, subleaf) in policy_entries(record, "II16x"):
        if leaf > extended:
            said = f"CPUID leaf {leaf:#x} in the policy, it takes leaves up to {extended:#x}"
        elif leaf == 7 and features < subleaf != NO_SUBLEAF:
            said = f"subleaf {subleaf} of CPUID leaf 7 in the policy, it takes subleaves up to {features}"
        else:
            continue
        yield _against(in_body(record, at), said)
        return


def _latest(table: tuple[tuple[Release, int], ...], release: Release) -> int | None:
    """Return what a table says of a release; None if it begins later."""
    return next((value for since, value in reversed(table) if since <= release), None)


def _sections(record: Record, target: Target) -> Iterator[Objection]:
    for section in hvm.sections(record):
        at = in_body(record, section.at)
        known = releases.SECTION_LENGTHS.get(section.typecode)
        name = _section(section.typecode)
        if section.typecode > releases.LAST_SECTION or (known is None and name.isdigit()):
            yield _against(at, f"HVM_CONTEXT section type {section.typecode} is unknown")
        elif (lengths := releases.OPEN_SECTIONS.get(section.typecode)) and not lengths.allows(section.length):
            yield _against(at, f"HVM_CONTEXT section {name} of {section.length} bytes, it wants {lengths}")
        elif section.typecode == releases.MSR_SECTION:
            yield from _msr_section(record, section, target)
        elif known is not None:
            objection = _length(section, known, target)
            if objection:
                yield _against(
                    at, f"HVM_CONTEXT section {name} of {section.length} bytes, {objection[0]}", certain=objection[1]
                )


def _length(section: hvm.Section, known: SectionLength, target: Target) -> tuple[str, bool] | None:
    """Say what is wrong with the length of a section, and whether that is certain; None: nothing."""
    own = next(length for since, length in reversed(known.lengths) if since <= target.release)
    certain = True
    point = known.since_point.get(target.release)
    if point is not None:
        certain = target.point is not None
        own = known.lengths[-1][1] if certain and (target.point or 0) >= point else own
    if section.length == own:
        return None
    if known.strict is None or target.release < known.strict:
        return f"it wants {own}", True
    if section.length > own:
        said = f"it takes at most {own}"
        return (said if certain else f"{said} before {_dotted(target.release)}.{point}"), certain
    return None


def _msr_section(record: Record, section: hvm.Section, target: Target) -> Iterator[Objection]:
    """Compare the MSRs with those that every Xen of that release knows."""
    start = section.at + 8 + 8
    for at in range(start, min(section.end, len(record.body)) - 15, 16):
        index = int.from_bytes(record.body[at : at + 4], "little")
        since = releases.MSRS_SENT.get(index)
        if index and (since is None or since > target.release):
            said = f"MSR {index:#x} of a vcpu, " + (
                f"known everywhere since {_dotted(since)}" if since else "known to none"
            )
            yield _against(in_body(record, at), said, certain=False)


def _section(typecode: int) -> str:
    return HVM_SAVE_TYPE.values.get(typecode, str(typecode))


def _release(text: str) -> Release:
    major, _, minor = text.partition(".")
    return int(major), int(minor)


def _dotted(release: Release) -> str:
    return f"{release[0]}.{release[1]}"


_OBJECTIONS: Final[Mapping[model.Record, Callable[[Record, Target], Iterator[Objection]]]] = {
    libxc.IMAGE_HEADER: _version,
    libxc.HVM_PARAMS: _empty_params,
    libxc.HVM_CONTEXT: _sections,
    libxc.X86_TSC_INFO: _tsc_mode,
    libxc.X86_MSR_POLICY: _policy_msrs,
    libxc.X86_CPUID_POLICY: _policy_leaves,
    libxl.EMULATOR_CONTEXT: _traditional,
    **dict.fromkeys(VCPU, _empty_vcpu),
}
