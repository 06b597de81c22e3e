# SPDX-License-Identifier: GPL-2.0-or-later
"""Where ``xendissect check`` and Xen's verify-stream-v2 do not agree about a changed stream, and why.

``python -m tests.cross.verifier_table > docs/check-verifier.md`` writes the page.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from dissector.spec.rules import BY_ID
from tests.check.scripts import LIMITS, findings_in, stream_batches
from tests.cross.xen_verifier import verdict

if TYPE_CHECKING:
    from dissector.wire.events import Finding

ACCEPTS = ""
"""What the verifier complains about when it accepts."""
NOTHING: tuple[str, ...] = ()
"""No finding of ours that has to do with it."""


@dataclass(frozen=True)
class Why:
    """One explanation.

    Attributes:
        theirs: The verifier's whole complaint, a regular expression; empty: it accepts.
        ours: Id of our first error; where we have none, of the warning or note about the same thing. One of these.
        why: The explanation.
        stream: A stream where it applies.
        what: The change there; empty: none.
        change: Which changes it is about, a regular expression.
    """

    theirs: str
    ours: tuple[str, ...]
    why: str
    stream: str
    what: str = ""
    change: str = ".*"


class Verdicts(NamedTuple):
    """What both say about a stream.

    Attributes:
        rejected: We find an error, or no stream at all.
        first: Id of our first error.
        said: Ids of everything that we say.
        code: Exit code of the verifier.
        complaint: What it says.
    """

    rejected: bool
    first: str
    said: frozenset[str]
    code: int
    complaint: str

    @property
    def differ(self) -> bool:
        """Whether one accepts and the other does not."""
        return self.rejected != bool(self.code)


def verdicts(data: bytes, form: str) -> Verdicts:
    """Ask both."""
    batches = stream_batches(data, form, LIMITS)
    found = findings_in(batches)
    errors = sorted((one for one in found if one.severity == "error"), key=_place)
    nothing = len(batches[-1]) == 1  # the total alone: the command says "no capture file or migration stream"
    first = errors[0].id if errors else ""
    code, complaint = verdict(data, form)
    said = frozenset(one.id for one in found if one.severity != "error")
    return Verdicts(bool(errors) or nothing, first, said, code, complaint)


def _place(finding: Finding) -> tuple[bool, int]:
    return finding.id.startswith("ending."), finding.offset or 0


def explanations(what: str, both: Verdicts) -> list[Why]:
    """Return the rows of the table that explain a difference: one, if all is well."""
    return [row for row in TABLE if re.fullmatch(row.change, what) and _explains(row, both)]


def _explains(row: Why, both: Verdicts) -> bool:
    if both.rejected:
        return row.theirs == ACCEPTS and both.first in row.ours
    if row.theirs == ACCEPTS or not re.fullmatch(row.theirs, both.complaint):
        return False
    return row.ours == NOTHING or not both.said.isdisjoint(row.ours)


HANDED_OVER = ".*: a CHECKPOINT in front"
OTHERWISE = "(?!.*: a CHECKPOINT in front).*"
TABLE = (
    # -- it accepts, we find an error --
    Why(
        ACCEPTS,
        ("xl.save_file_header.byteorder",),
        "It skips the xl header and looks at the magic, the length and STREAMv2 only. xl compares the byte order.",
        "save-image",
        "xl SAVE_FILE_HEADER: bit 0 of byteorder",
    ),
    Why(
        ACCEPTS,
        ("xl.save_file_header.mandatory_flags",),
        "Likewise. xl refuses mandatory flags that it does not know.",
        "save-image",
        "xl SAVE_FILE_HEADER: bit 2 of mandatory_flags",
    ),
    Why(
        ACCEPTS,
        ("xl.config.length",),
        "It skips the optional data. xl finds them truncated.",
        "save-image",
        "xl CONFIG: config_len all ones",
    ),
    Why(
        ACCEPTS,
        ("libxl.stream_header.big_endian", "stream.big_endian"),
        "It tests the option with the number of the bit (0) in place of its mask, and so never sees it. Both readers "
        "of Xen refuse such a stream. (Here only the bit was turned over: the records are little endian.)",
        "save-image",
        "libxl STREAM_HEADER: bit 0 of options",
    ),
    Why(
        ACCEPTS,
        ("libxl.checkpoint_end.place",),
        "It knows no order of libxl records. libxl rejects a CHECKPOINT_END outside of a checkpoint.",
        "save-image",
        "libxl END: a CHECKPOINT_END in front",
    ),
    Why(
        ACCEPTS,
        ("libxl.checkpoint_state.place",),
        "Likewise: CHECKPOINT_STATE is good only where COLO waits for one.",
        "save-image",
        "libxl END: a CHECKPOINT_STATE in front",
    ),
    Why(
        ACCEPTS,
        ("stream.framing",),
        "It takes any CHECKPOINT_STATE that is not empty. We take one for a record only if its body has 4 bytes.",
        "save-image",
        "libxl EMULATOR_CONTEXT: type 0x5",
        change="libxl .*: type 0x5",
    ),
    Why(
        ACCEPTS,
        ("libxl.emulator.guest_type",),
        "It does not look whose stream it is. libxl has device models for HVM guests only.",
        "xl-pv64-v3",
        "libxl END: an EMULATOR_CONTEXT in front",
    ),
    Why(
        ACCEPTS,
        (
            "libxc.hvm_context.missing",
            "libxc.vcpu.basic_missing",
            "libxl.end.inside_checkpoint",
            "libxl.record.unknown",
            "stream.framing",
        ),
        "Behind CHECKPOINT a receiver reads libxl records; it goes on with libxc ones. What is wrong first depends on "
        "what comes then.",
        "save-image",
        "libxc END: a CHECKPOINT in front",
        change=HANDED_OVER,
    ),
    Why(
        ACCEPTS,
        ("libxc.hvm_context.missing",),
        "It asks for no record but END. A receiver has no CPU state to load.",
        "save-image",
        "libxc HVM_CONTEXT: left out",
        change=OTHERWISE,
    ),
    Why(
        ACCEPTS,
        ("libxc.vcpu.basic_missing",),
        "Likewise, without the registers of vcpu 0.",
        "xl-pv64-v3",
        "libxc X86_PV_VCPU_BASIC: left out",
        change=OTHERWISE,
    ),
    Why(
        ACCEPTS,
        ("libxc.static_data_end.missing",),
        "Likewise. libxc takes no memory before STATIC_DATA_END in a v3 stream.",
        "save-image",
        "libxc STATIC_DATA_END: left out",
    ),
    Why(
        ACCEPTS,
        ("libxc.static_data_end.repeated",),
        "It does not count records. libxc rejects the second one.",
        "save-image",
        "libxc STATIC_DATA_END: twice",
    ),
    Why(
        ACCEPTS,
        ("libxc.record.guest_type",),
        "It does not look whose stream it is. libxc has no handler for records of the other kind of guest.",
        "save-image",
        "libxc END: a SHARED_INFO in front",
    ),
    Why(
        ACCEPTS,
        ("libxc.x86_pv_info.order",),
        "It knows no order of records. libxc wants one X86_PV_INFO, and before all that depends on the guest's width.",
        "xl-pv64-v3",
        "libxc X86_PV_INFO: twice",
    ),
    Why(
        ACCEPTS,
        ("libxc.x86_pv_info.value",),
        "It tests width and levels apart. There are PV guests of (4, 3) and (8, 4) only.",
        "xl-pv64-v3",
        "libxc X86_PV_INFO: guest_width 8, pt_levels 3",
    ),
    Why(
        ACCEPTS,
        ("libxc.x86_pv_p2m_frames.order",),
        "It knows no order of records. Before P2M_FRAMES every pfn of a PV guest is out of range.",
        "xl-pv64-v3",
        "libxc X86_PV_P2M_FRAMES: left out",
    ),
    Why(
        ACCEPTS,
        ("libxc.x86_pv_p2m_frames.range",),
        "It wants a multiple of 8. libxc computes the number of frames from the range and the width.",
        "xl-pv64-v3",
        "libxc X86_PV_P2M_FRAMES: end 1024 pfns later",
    ),
    Why(
        ACCEPTS,
        ("libxc.page_data.pfn",),
        "It does not compare pfns with p2m_end_pfn; libxc does.",
        "xl-pv64-v3",
        "libxc X86_PV_P2M_FRAMES: end 1",
    ),
    Why(
        ACCEPTS,
        ("libxc.vcpu.length",),
        "It wants at least 8 bytes. libxc knows how long each of these is for the guest's width.",
        "xl-pv64-v3",
        "libxc X86_PV_VCPU_BASIC: body of +8",
    ),
    # -- it rejects, we have no error --
    Why(
        "RecordError: Data not NUL terminated",
        NOTHING,
        "Its fault: under Python 3 it compares a number with a character, so that no xenstore data are right to it. "
        "libxl takes them.",
        "xl-hvm-xenstore",
    ),
    Why(
        "StreamError: Unrecognised record type 0x[89a-f][0-9a-f]{7}",
        ("record.unknown_optional",),
        "The specification lets readers skip libxc records with bit 31, and libxc does; it has no such case.",
        "save-image",
        "libxc END: an unknown optional record in front",
    ),
    Why(
        "StreamError: Bad image (id|marker): .*",
        ("stream.legacy",),
        "Without its header a stream may look like a legacy one, which begins with a bare number. We say so, and look "
        "no further.",
        "libxc-file",
        "libxc IMAGE_HEADER: left out",
        change=".*_HEADER: left out",
    ),
    Why(
        "StreamError: Reserved bits set in X86_PV_INFO: .*",
        ("libxc.x86_pv_info.reserved",),
        "libxc ignores these bytes.",
        "xl-pv64-v3",
        "libxc X86_PV_INFO: bit 0 of reserved[0]",
    ),
    Why(
        "StreamError: Reserved bits set in image options field: .*",
        ("libxl.stream_header.options",),
        "libxl ignores reserved options.",
        "save-image",
        "libxl STREAM_HEADER: bit 2 of options",
    ),
    Why(
        "StreamError: Reserved bits set in image (options field|header): .*",
        ("libxc.image_header.reserved",),
        "libxc ignores reserved fields.",
        "save-image",
        "libxc IMAGE_HEADER: bit 0 of reserved1",
    ),
    Why(
        "StreamError: Reserved bits set in domain header .*",
        ("libxc.domain_header.reserved",),
        "Likewise.",
        "save-image",
        "libxc DOMAIN_HEADER: bit 0 of reserved1",
    ),
    Why(
        "(StreamError: Reserved bits set in PAGE_DATA record|RecordError: Reserved bits set in pfn).*",
        ("libxc.page_data.reserved",),
        "Likewise.",
        "save-image",
        "libxc PAGE_DATA: bit 52 of the first pfn",
    ),
    Why(
        "StreamError: Reserved bits set in x86_pv_vcpu_.*",
        ("libxc.vcpu.reserved",),
        "Likewise.",
        "xl-pv64-v3",
        "libxc X86_PV_VCPU_BASIC: bit 0 of reserved",
    ),
    Why(
        "StreamError: Reserved bits set in X86_TSC_INFO: .*",
        ("libxc.x86_tsc_info.reserved",),
        "Likewise.",
        "save-image",
        "libxc X86_TSC_INFO: bit 0 of reserved",
    ),
    Why(
        "RecordError: Reserved field not zero .*",
        ("libxc.hvm_params.reserved",),
        "Likewise.",
        "save-image",
        "libxc HVM_PARAMS: bit 0 of reserved",
    ),
    Why(
        "StreamError: Padding containing non0 bytes found",
        ("libxc.padding", "libxl.padding"),
        "No reader looks at padding.",
        "save-image",
        "libxc HVM_CONTEXT: padding not zero",
    ),
    Why(
        "RecordError: .* record with non-zero length",
        ("libxc.empty_record.length", "libxl.empty_record.length"),
        "Readers ignore the body of END, LIBXC_CONTEXT, CHECKPOINT_END, VERIFY, CHECKPOINT and STATIC_DATA_END.",
        "save-image",
        "libxl END: body of 8",
    ),
    Why(
        "RecordError: x86_pv_info: expected length of .*",
        ("libxc.x86_pv_info.length",),
        "libxc looks at the first 8 bytes.",
        "xl-pv64-v3",
        "libxc X86_PV_INFO: body of +8",
    ),
    Why(
        "RecordError: (x86 (CPUID|MSR) policy|Static data end) record found in v2 stream",
        ("libxc.policy.version", "libxc.static_data_end.version"),
        "libxc of 4.14 and later does not ask for the version of the stream; older ones know no such record "
        "(`check --for-xen 4.13` says so).",
        "save-image",
        "libxc IMAGE_HEADER: bit 0 of version",
    ),
    Why(
        "RecordError: Unrecognised emulator id .*",
        ("libxl.emulator.id",),
        "libxl ignores it.",
        "save-image",
        "libxl EMULATOR_CONTEXT: emulator_id all ones",
    ),
)
"""Every difference there is."""


HEAD = """# Check and verify-stream-v2

`tests/cross/test_check_verifier.py` changes the plain streams of `captures/` in one place at a time
(`tests/cross/mutations.py`: header fields, types, lengths, sizes, padding, order, records left out, doubled and put in
between, cuts) and asks both `check` and Xen's `verify-stream-v2`. "Rejects" is for us: at least one finding of severity
error, or that it is no stream at all. Whatever is not in these tables, both accept or both reject; a difference that
has no row, or two, fails the test, and so does a row that does not apply to its example.
`python -m tests.cross.verifier_table` prints this page.

"""
ACCEPTED = """## It accepts, `check` rejects

Xen's receiver rejects all of these.

| First error | Example (stream: change) | Why |
|---|---|---|
"""
REJECTED = """
## It rejects, `check` does not

Xen's receiver accepts all of these but the stream without a header. But for one row `check` gives a warning or note.

| It says | `check` says | Example (stream: change) | Why |
|---|---|---|---|
"""
CANNOT = """
## What it cannot judge

Remus and COLO streams: behind CHECKPOINT it goes on with libxc records, and rejects every good one. The back channel,
captures, and streams from a pipe: it has no notion of them. Big-endian streams: it reads them as little endian. On
good ones `check` finds no error (`tests/check/test_checker.py`) but for the big-endian bit, which every reader of Xen
refuses; on broken ones it finds what was broken (`tests/cross/test_check_mutations.py`).
"""


def page() -> str:
    """Render the table."""
    lines = [HEAD, ACCEPTED]
    for row in TABLE:
        example = f"{row.stream}: {row.what or 'none'}"
        ours = ", ".join(f"`{one}` ({BY_ID[one].severity})" for one in row.ours) or "nothing"
        if row.theirs == ACCEPTS:
            lines.append(f"| {ours.replace(' (error)', '')} | {example} | {row.why} |\n")
    lines.append(REJECTED)
    for row in TABLE:
        if row.theirs != ACCEPTS:
            ours = ", ".join(f"`{one}` ({BY_ID[one].severity})" for one in row.ours) or "nothing"
            theirs = row.theirs.replace("|", "\\|")
            lines.append(f"| `{theirs}` | {ours} | {row.stream}: {row.what or 'none'} | {row.why} |\n")
    return "".join([*lines, CANNOT])


if __name__ == "__main__":
    sys.stdout.write(page())
