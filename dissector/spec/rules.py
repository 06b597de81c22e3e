# SPDX-License-Identifier: GPL-2.0-or-later
"""The consistency rules of stream.md section 7 that :mod:`dissector.check` looks for, in the order of their numbers.

One rule, one entry; a rule whose parts differ in severity has one for each part. Those that the engine itself finds
(9, 10, 35, 43, 44, 93, 97, 98) stand in :mod:`dissector.spec.findings`. Rule 86 is not reported. To add one: an entry
here, a function in a module of :mod:`dissector.check`, a stream that breaks it in ``tests/check/broken.py``.

``error``: Xen's receiver rejects it, crashes or goes out of step; ``warn``: only verify-stream-v2 objects, or Xen never
writes it; ``note``: worth showing.
"""

from __future__ import annotations

from dissector.spec import findings
from dissector.spec.findings import Rule

# Why the Wireshark plugin does not look for a rule.
_FRAMED = "the plugin says stream.framing there: what the bytes may be instead of a record is not looked at"
_PADDED = "padding is passed over unseen"
_MATCHED = "needs a set of all pfns that were sent since a checkpoint"
_WHOLE = "is said of a whole migration, not of a record"
_AT_END = "Wireshark never tells a plugin that a connection or a capture has ended"

# -- xl (stream.md section 2) ------------------------------------------------------------------------------------------

XL_MAGIC = Rule(
    "xl.save_file_header.magic",
    "error",
    "these bytes begin like an xl header, but are not the 32 bytes that a receiver compares",
    "2.2",
    1,
    why="xl takes this for no save file: 'not an xl save file'.",
    beyond_wireshark=_FRAMED,
)
XL_BYTEORDER = Rule(
    "xl.save_file_header.byteorder",
    "error",
    "byteorder is {found}, expected 04 03 02 01 (a little-endian sender)",
    "2.2",
    2,
    why="The reader wants its own byte order and has no code to swap. All hosts that can migrate are little endian.",
)
XL_MANDATORY_FLAGS = Rule(
    "xl.save_file_header.mandatory_flags",
    "error",
    "mandatory_flags {found:#x}: bits other than 0 (JSON) and 1 (STREAMv2) are set",
    "2.2",
    3,
    why="A reader has to understand every mandatory flag; xl refuses the rest.",
)
XL_OLD_FLAGS = Rule(
    "xl.save_file_header.old_flags",
    "note",
    "mandatory_flags {found:#x}, Xen 4.6 and later always write 0x3",
    "2.2",
    4,
    why="Bit 0 clear: the configuration is xl.cfg text. Bit 1 clear: a legacy stream follows.",
    releases="0x0: 4.1 to 4.4; 0x1: 4.5; 0x3: 4.6 and later; 0x2: none",
)
XL_OPTIONAL_FLAGS = Rule(
    "xl.save_file_header.optional_flags",
    "warn",
    "optional_flags {found:#x}, expected 0",
    "2.2",
    5,
    why="Readers ignore them, and no writer sets one.",
)
XL_CONFIG_LENGTH = Rule(
    "xl.config.length",
    "error",
    "optional data of {size} bytes: {problem}",
    "2.3",
    6,
    why="xl says that the optional data are truncated, and gives up.",
)
XL_CONFIG_SURPLUS = Rule(
    "xl.config.surplus",
    "warn",
    "optional_data_len {size}, expected 4 + config_len = {expected}",
    "2.3",
    7,
    why="Readers skip the surplus; no writer sends any.",
)
XL_CONFIG_JSON = Rule(
    "xl.config.json",
    "warn",
    "the JSON configuration {problem}, expected JSON with one NUL at its end",
    "2.3",
    8,
    why="xl takes the configuration for a C string: it reads on behind a missing NUL, and what it can not parse makes "
    "no domain.",
    releases="JSON since 4.5",
)
XL_PERMISSION = Rule(
    "xl.permission",
    "error",
    "{problem}",
    "2.4",
    10,
    why="The permission to resume comes if, and only if, the target failed and has destroyed its copy. Without it xl "
    "says that the state of the guest is not known, and leaves both copies alone; with one too many it may run twice.",
)
XL_BANNER_FIRST = Rule(
    "xl.banner_first",
    "warn",
    "the sender's first byte came before the receiver's banner",
    "2.4",
    11,
    why="xl sends nothing before the banner has matched: this sender, or what lies between, is not xl.",
)

# -- libxl (section 3) -------------------------------------------------------------------------------------------------

LIBXL_VERSION = Rule(
    "libxl.stream_header.version",
    "error",
    "expected 'LibxlFmt' and version 2, found {found}",
    "3.1",
    12,
    why="libxl reads no other version, and none was ever released.",
)
LIBXL_BIG_ENDIAN = Rule(
    "libxl.stream_header.big_endian",
    "error",
    "options {found:#x}: bit 0 says that the records are big endian",
    "3.1",
    13,
    why="libxl refuses it. verify-stream-v2 means to, but tests the wrong bit.",
)
LIBXL_OPTIONS = Rule(
    "libxl.stream_header.options",
    "warn",
    "options {found:#x}: reserved bits are set, expected 0",
    "3.1",
    14,
    why="libxl ignores them; verify-stream-v2 rejects bits 2 to 15.",
)
LIBXL_CONVERTED = Rule(
    "libxl.stream_header.converted",
    "note",
    "options {found:#x}: made by convert-legacy-stream",
    "3.1",
    15,
    why="Such a stream leaves out holes and has emulator id 0: several rules do not hold for it.",
)
LIBXL_UNKNOWN = Rule(
    "libxl.record.unknown",
    "error",
    "libxl record type {found:#x}, expected 0 to 5",
    "3.3",
    16,
    why="libxl rejects every type it does not know; bit 31 makes no difference, whatever the specification says.",
)
LIBXL_PADDING = Rule(
    "libxl.padding",
    "warn",
    "{what} is padded with {found}, expected zeros",
    "3.2",
    17,
    why="Readers do not look at padding; verify-stream-v2 rejects it.",
    beyond_wireshark=_PADDED,
)
LIBXL_EMPTY = Rule(
    "libxl.empty_record.length",
    "warn",
    "{what} has {length} bytes of body, expected none",
    "3.3",
    18,
    why="libxl ignores the body; verify-stream-v2 rejects it.",
)
EMULATOR_LENGTH = Rule(
    "libxl.emulator.length",
    "error",
    "{what}: body_length {length}, expected at least 8",
    "3.4",
    19,
    why="The body begins with emulator id and index; libxl rejects a shorter one.",
)
EMULATOR_GUEST = Rule(
    "libxl.emulator.guest_type",
    "error",
    "{what} in the stream of a {guest} guest, which has no device model",
    "3.3",
    20,
    why="libxl restores device models for HVM guests only; PVH counts as not HVM.",
)
EMULATOR_ID = Rule(
    "libxl.emulator.id",
    "warn",
    "emulator_id {found}, expected 0, 1 or 2",
    "3.4",
    21,
    why="libxl ignores it; verify-stream-v2 rejects it.",
)
EMULATOR_INDEX = Rule(
    "libxl.emulator.index",
    "warn",
    "emulator index {found}, expected 0",
    "3.4",
    22,
    why="No release has a second emulator.",
)
EMULATOR_UNKNOWN = Rule(
    "libxl.emulator.unknown_id",
    "warn",
    "emulator_id 0 (unknown) in a stream that was not converted",
    "3.4",
    23,
    why="Xen's writer knows its device model; only convert-legacy-stream does not.",
)
XENSTORE_FORM = Rule(
    "libxl.xenstore_data.form",
    "error",
    "xenstore data {problem}, expected pairs of a relative key and a value, each ended by NUL",
    "3.5",
    24,
    why="libxl restores the keys of the device model from it and rejects anything else.",
)
XENSTORE_KEY = Rule(
    "libxl.xenstore_data.key",
    "warn",
    "xenstore key {found}: characters other than letters, digits and -/_@",
    "3.5",
    25,
    why="xenstored may refuse such a key.",
)
LIBXC_CONTEXT_ORDER = Rule(
    "libxl.libxc_context.order",
    "warn",
    "{problem}, expected one LIBXC_CONTEXT as the first libxl record",
    "3.7",
    26,
    why="Xen's writer always hands over to libxc first. A second hand-over needs a whole second libxc stream.",
)
CHECKPOINT_END_PLACE = Rule(
    "libxl.checkpoint_end.place",
    "error",
    "CHECKPOINT_END outside of a checkpoint",
    "3.7",
    27,
    why="libxl takes it only between libxc's CHECKPOINT and the end of the device records, and gives up.",
)
CHECKPOINT_STATE_PLACE = Rule(
    "libxl.checkpoint_state.place",
    "error",
    "CHECKPOINT_STATE behind {before}, expected behind CHECKPOINT_END only",
    "3.7",
    28,
    why="The secondary takes it only when COLO has asked for one.",
    releases="4.7 and later",
)
CHECKPOINT_STATE_SHORT = Rule(
    "libxl.checkpoint_state.too_short",
    "error",
    "CHECKPOINT_STATE: body_length {length}, expected 4",
    "3.3",
    29,
    why="libxl does not check the length and reads behind the body; with length 0 it crashes.",
)
CHECKPOINT_STATE_LENGTH = Rule(
    "libxl.checkpoint_state.length",
    "warn",
    "CHECKPOINT_STATE: body_length {length}, expected 4",
    "3.3",
    29,
    why="libxl reads the first 4 bytes and never writes more.",
)
CONTROL_ID = Rule(
    "libxl.checkpoint_state.control_id",
    "error",
    "CHECKPOINT_STATE {found}, expected {expected}",
    "5.3",
    30,
    why="Each side of a COLO session waits for one certain state and gives up at any other.",
)
END_INSIDE = Rule(
    "libxl.end.inside_checkpoint",
    "error",
    "libxl END inside a checkpoint",
    "3.7",
    31,
    why="An assertion fails: the receiver aborts. In a COLO session this is also what is left of an empty dirty list "
    "with a 16-byte header.",
)
EMULATOR_COUNT = Rule(
    "libxl.emulator_context.count",
    "warn",
    "{count} EMULATOR_CONTEXT before {where}, expected one",
    "3.7",
    32,
    why="Without its device model's state an HVM guest can not go on.",
    releases="4.7 to 4.9 send none for an HVM guest without a device model",
)

# -- libxc: headers and framing (4.1 to 4.4) ---------------------------------------------------------------------------

IMAGE_MARKER = Rule(
    "libxc.image_header.marker",
    "error",
    "expected the libxc image header (8 x ff, XENF), found {found}",
    "4.1",
    33,
    why="libxc rejects the stream: 'Invalid marker' or 'Invalid ID'.",
    beyond_wireshark=_FRAMED,
)
IMAGE_VERSION = Rule(
    "libxc.image_header.version",
    "error",
    "libxc stream version {found}, expected 2 or 3",
    "4.1",
    34,
    why="libxc reads no other version.",
    releases="2: written by 4.6 to 4.13; 3: by 4.14 and later, unreadable for 4.13 and older",
)
IMAGE_RESERVED = Rule(
    "libxc.image_header.reserved",
    "warn",
    "{field} {found:#x}, expected reserved bits to be 0",
    "4.1",
    36,
    why="Readers ignore them; verify-stream-v2 rejects them.",
)
DOMAIN_TYPE = Rule(
    "libxc.domain_header.type",
    "error",
    "domain type {found}, expected 1 (PV) or 2 (HVM and PVH)",
    "4.2",
    37,
    why="It has to fit the domain that the receiver has created.",
)
PAGE_SHIFT = Rule(
    "libxc.domain_header.page_shift",
    "error",
    "page_shift {found}, expected 12",
    "4.2",
    38,
    why="All pages of a stream have 4096 bytes; libxc rejects any other size.",
)
DOMAIN_RESERVED = Rule(
    "libxc.domain_header.reserved",
    "warn",
    "reserved field {found:#x}, expected 0",
    "4.2",
    39,
    why="Readers ignore it; verify-stream-v2 rejects it.",
)
XEN_MAJOR = Rule(
    "libxc.domain_header.converted",
    "note",
    "xen_major 0: made by convert-legacy-stream, converter version {found}",
    "4.2",
    40,
    why="The stream does not tell which Xen the guest comes from.",
)
TOO_LONG = Rule(
    "libxc.record.too_long",
    "error",
    "{what}: body_length {length}, expected at most {limit} (REC_LENGTH_MAX)",
    "4.3",
    41,
    why="libxc refuses to make room for it.",
    releases="128 MiB since 4.10; 8 MiB in 4.6 to 4.9",
    beyond_wireshark=_FRAMED,
)
LIBXC_PADDING = Rule(
    "libxc.padding",
    "warn",
    "{what} is padded with {found}, expected zeros",
    "4.3",
    42,
    why="Readers do not look at padding; verify-stream-v2 rejects it.",
    beyond_wireshark=_PADDED,
)
UNKNOWN_BUFFERED = Rule(
    "record.unknown_optional_buffered",
    "error",
    "unknown optional record type {found:#x} behind the first checkpoint",
    "4.3",
    44,
    why="While a receiver buffers a checkpoint it does not skip optional records: the checkpoint fails.",
)
GUEST_RECORD = Rule(
    "libxc.record.guest_type",
    "error",
    "{what} belongs to {wanted} guests, the domain header says {guest}",
    "4.4",
    45,
    why="libxc has no handler for it in this kind of guest, and rejects the stream.",
)
TOOLSTACK = Rule(
    "libxc.toolstack",
    "error",
    "TOOLSTACK record",
    "4.4",
    46,
    why="It was never in a release: no receiver handles it.",
)
LIBXC_EMPTY = Rule(
    "libxc.empty_record.length",
    "warn",
    "{what} has {length} bytes of body, expected none",
    "4.6",
    47,
    why="libxc ignores the body; verify-stream-v2 rejects it.",
)

# -- libxc: static data (4.6, 4.7) -------------------------------------------------------------------------------------

STATIC_MISSING = Rule(
    "libxc.static_data_end.missing",
    "error",
    "{what} before STATIC_DATA_END in a v3 stream",
    "4.5, 4.7",
    48,
    why="libxc builds the guest's CPU policy at STATIC_DATA_END and takes no memory before it.",
    releases="4.14 and later",
)
STATIC_REPEATED = Rule(
    "libxc.static_data_end.repeated",
    "error",
    "a second STATIC_DATA_END",
    "4.7",
    49,
    why="libxc rejects it; verify-stream-v2 does not notice.",
    releases="4.14 and later",
)
STATIC_VERSION = Rule(
    "libxc.static_data_end.version",
    "warn",
    "STATIC_DATA_END in a v2 stream",
    "4.7",
    50,
    why="4.14 and later accept it, older receivers do not know the record; verify-stream-v2 rejects it.",
)
POLICY_VERSION = Rule(
    "libxc.policy.version",
    "warn",
    "{what} in a v2 stream",
    "4.7",
    51,
    why="4.14 and later accept it, older receivers do not know the record; verify-stream-v2 rejects it.",
)
POLICY_LATE = Rule(
    "libxc.policy.late",
    "warn",
    "{what} behind STATIC_DATA_END",
    "4.7",
    52,
    why="libxc stores the policy, but never applies it: the guest gets the default of the target.",
)
POLICY_LENGTH = Rule(
    "libxc.policy.length",
    "error",
    "{what}: body_length {length}, expected a multiple of {step}, at least one",
    "4.6",
    53,
    why="libxc rejects a policy that is empty or ends inside an entry.",
)
POLICY_ABSENT = Rule(
    "libxc.policy.absent",
    "note",
    "no {what} before STATIC_DATA_END",
    "4.7",
    54,
    why="libxl then makes a default policy at the target: the guest may see another CPU.",
)
MSR_FLAGS = Rule(
    "libxc.x86_msr_policy.flags",
    "warn",
    "flags {found:#x} of MSR {index:#x}, expected 0",
    "4.6",
    55,
    why="Xen's interface wants zero; a hypervisor that checks refuses the policy.",
)
POLICY_ORDER = Rule(
    "libxc.policy.order",
    "warn",
    "{what}: {entry} behind {before}, expected ascending entries, none twice",
    "4.6",
    why="Xen writes the entries in order; of one that is there twice, the last counts.",
)

# -- libxc: PV guests (4.6) --------------------------------------------------------------------------------------------

PV_INFO_ORDER = Rule(
    "libxc.x86_pv_info.order",
    "error",
    "{problem}, expected one X86_PV_INFO before P2M_FRAMES and SHARED_INFO",
    "4.6",
    56,
    why="Without the width of the guest libxc can not read the other records.",
)
PV_INFO_VALUE = Rule(
    "libxc.x86_pv_info.value",
    "error",
    "{problem}, expected 8 bytes with guest_width and pt_levels (4, 3) or (8, 4)",
    "4.6",
    57,
    why="There are no other PV guests; verify-stream-v2 takes any mixture.",
    releases="4.6 to 4.13 checked the two numbers separately",
)
PV_INFO_LENGTH = Rule(
    "libxc.x86_pv_info.length",
    "warn",
    "X86_PV_INFO: body_length {length}, expected 8",
    "4.6",
    57,
    why="Xen never writes more; readers look at the first 8 bytes.",
)
PV_INFO_RESERVED = Rule(
    "libxc.x86_pv_info.reserved",
    "warn",
    "X86_PV_INFO: reserved bytes {found}, expected zeros",
    "4.6",
    why="Xen writes zeros and its receivers ignore them; verify-stream-v2 rejects anything else.",
)
P2M_RANGE = Rule(
    "libxc.x86_pv_p2m_frames.range",
    "error",
    "X86_PV_P2M_FRAMES: {problem}",
    "4.6",
    58,
    why="libxc wants exactly the frames that make up this part of the table; verify-stream-v2 wants a multiple of 8.",
)
P2M_ORDER = Rule(
    "libxc.x86_pv_p2m_frames.order",
    "error",
    "PAGE_DATA before X86_PV_P2M_FRAMES",
    "4.7",
    59,
    why="The receiver does not know yet how big the guest is: every pfn is out of range.",
)

# -- libxc: memory (4.5, 4.8) ------------------------------------------------------------------------------------------

PAGE_DATA_LENGTH = Rule(
    "libxc.page_data.length",
    "error",
    "PAGE_DATA: body_length {length}, expected {expected}",
    "4.5",
    60,
    why="The receiver computes the length from the page types and rejects any other.",
)
PAGE_TYPE = Rule(
    "libxc.page_data.type",
    "error",
    "page type {found:#x} of pfn {pfn:#x}, expected 0 to 4 or 9 to f{more}",
    "4.5",
    61,
    why="Types 5 to 8 do not exist; the receiver rejects the record.",
)
PAGE_DATA_RESERVED = Rule(
    "libxc.page_data.reserved",
    "warn",
    "{problem}, expected 0",
    "4.5",
    62,
    why="Readers mask reserved bits; verify-stream-v2 rejects them.",
)
PAGE_DATA_COUNT = Rule(
    "libxc.page_data.count",
    "note",
    "{found} pfns in one PAGE_DATA, Xen writes at most 1024",
    "4.3",
    63,
    why="The reader takes any number; another writer than Xen's was at work.",
)
PAGE_DATA_ORDER = Rule(
    "libxc.page_data.order",
    "warn",
    "pfn {pfn:#x} behind {before:#x}, expected ascending pfns, each once",
    "4.8",
    64,
    why="Xen walks the memory upwards. A pfn that comes twice in one batch is restored from whichever comes last.",
)
PAGE_DATA_PFN = Rule(
    "libxc.page_data.pfn",
    "error",
    "pfn {pfn:#x} of a PV guest, expected at most {maximum:#x} (p2m_end_pfn){more}",
    "4.5",
    65,
    why="The receiver rejects the record: pfn out of range.",
)
HVM_PAGE_TYPE = Rule(
    "libxc.page_data.hvm_type",
    "warn",
    "page type {name} of pfn {pfn:#x} in an HVM guest, expected NOTAB, BROKEN or XTAB{more}",
    "4.5",
    66,
    why="An HVM guest has no page tables that Xen knows of.",
)
XALLOC = Rule(
    "libxc.page_data.xalloc",
    "warn",
    "page type XALLOC of pfn {pfn:#x} in a stream that was not converted{more}",
    "4.5",
    67,
    why="Only 4.2 to 4.5 wrote it, so only convert-legacy-stream passes it on.",
)
FIRST_PASS = Rule(
    "libxc.page_data.first_pass",
    "warn",
    "the first pass goes from pfn {before:#x} to {pfn:#x}, expected every pfn from 0 on",
    "4.8",
    68,
    why="The first pass covers all pfns, holes included. Pages left out are missing at the target, unless a later pass "
    "sends them.",
)
VERIFY_PLACE = Rule(
    "libxc.verify.place",
    "warn",
    "{problem}",
    "4.6",
    69,
    why="xl migrate --debug sends it once, in a plain migration only.",
    releases="4.6, and 4.16 and later; 4.7 to 4.15 never send it",
)

# -- libxc: state at the end of a checkpoint (4.6) ---------------------------------------------------------------------

SHARED_INFO_LENGTH = Rule(
    "libxc.shared_info.length",
    "error",
    "SHARED_INFO: body_length {length}, expected 4096",
    "4.6",
    70,
    why="It is one page; libxc rejects any other length.",
)
VCPU_LENGTH = Rule(
    "libxc.vcpu.length",
    "error",
    "{what}: body_length {length}, expected {expected}",
    "4.4",
    71,
    why="libxc rejects a vcpu's state of another size; verify-stream-v2 only wants 8 bytes.",
)
VCPU_EMPTY = Rule(
    "libxc.vcpu.empty",
    "warn",
    "{what} without contents",
    "4.4",
    72,
    why="An erratum of old senders; verify-stream-v2 warns.",
    releases="sent by 4.6 to 4.8; tolerated by 4.11 and later",
)
VCPU_RESERVED = Rule(
    "libxc.vcpu.reserved",
    "warn",
    "{what}: reserved field {found:#x}, expected 0",
    "4.6",
    73,
    why="Readers ignore it; verify-stream-v2 rejects it.",
)
VCPU_MISSING = Rule(
    "libxc.vcpu.basic_missing",
    "error",
    "no X86_PV_VCPU_BASIC of vcpu 0 before {where}",
    "4.6",
    74,
    why="The receiver looks for the guest's start_info in vcpu 0 and gives up.",
)
VCPU_INNER = Rule(
    "libxc.x86_pv_vcpu_extended.inner",
    "warn",
    "X86_PV_VCPU_EXTENDED: {problem}",
    "4.6",
    75,
    why="Xen checks the size itself; a wrong vcpu puts the state into another one.",
)
TSC_LENGTH = Rule(
    "libxc.x86_tsc_info.length",
    "error",
    "X86_TSC_INFO: body_length {length}, expected 24",
    "4.6",
    76,
    why="libxc rejects any other length.",
)
TSC_RESERVED = Rule(
    "libxc.x86_tsc_info.reserved",
    "warn",
    "X86_TSC_INFO: reserved field {found:#x}, expected 0",
    "4.6",
    77,
    why="Readers ignore it; verify-stream-v2 rejects it.",
)
TSC_COUNT = Rule(
    "libxc.x86_tsc_info.count",
    "warn",
    "{count} X86_TSC_INFO before {where}, expected one",
    "4.7",
    78,
    why="Xen writes it once at each end of memory. Without it the guest's clock jumps.",
)
HVM_PARAMS_LENGTH = Rule(
    "libxc.hvm_params.length",
    "error",
    "HVM_PARAMS: body_length {length}, expected {expected}",
    "4.6",
    79,
    why="libxc computes the length from the count and rejects any other.",
)
HVM_PARAMS_EMPTY = Rule(
    "libxc.hvm_params.empty",
    "warn",
    "HVM_PARAMS with count 0",
    "4.4",
    80,
    why="An erratum of old senders; verify-stream-v2 warns.",
    releases="sent by 4.6 to 4.8; tolerated by 4.9 and later",
)
HVM_PARAMS_RESERVED = Rule(
    "libxc.hvm_params.reserved",
    "warn",
    "HVM_PARAMS: reserved field {found:#x}, expected 0",
    "4.6",
    81,
    why="Readers ignore it; verify-stream-v2 rejects it.",
)
HVM_PARAM_INDEX = Rule(
    "libxc.hvm_params.index",
    "warn",
    "HVM parameter {index}{name} is none that Xen sends",
    "9.5",
    82,
    why="The hypervisor of the target rejects a parameter it does not know: 'set HVM param failed'.",
    releases="see section 9.5 for which release sends which",
)
HVM_CONTEXT_EMPTY = Rule(
    "libxc.hvm_context.empty",
    "error",
    "HVM_CONTEXT without contents",
    "4.6",
    83,
    why="libxc rejects an empty record.",
)
HVM_CONTEXT_MISSING = Rule(
    "libxc.hvm_context.missing",
    "error",
    "no HVM_CONTEXT before {where}",
    "4.6",
    84,
    why="The receiver has no CPU state to load: setting the context fails.",
)
HVM_CONTEXT_CHAIN = Rule(
    "libxc.hvm_context.chain",
    "warn",
    "HVM_CONTEXT: {problem}",
    "4.6",
    85,
    why="libxc passes the body on unseen; the hypervisor of the target goes along this chain and refuses a broken one.",
)

HVM_CONTEXT_SECTION = Rule(
    "libxc.hvm_context.section",
    "warn",
    "HVM_CONTEXT: section {name} of {length} bytes, {problem}",
    "9.7",
    why="No release has such a section: every hypervisor refuses the context and says so on its console. --for-xen "
    "compares with one release.",
)
EMULATOR_MAGIC = Rule(
    "libxl.emulator_context.magic",
    "warn",
    "the device model's state begins with {found}, expected 'QEVM' and version 3",
    "3.6",
    why="Both QEMUs begin their state so; another beginning can not be loaded at the target.",
)

# -- checkpoints and both directions (section 5) -----------------------------------------------------------------------

CHECKPOINT_PLAIN = Rule(
    "libxc.checkpoint.plain",
    "error",
    "CHECKPOINT in a plain migration: the receiver said '{found}'",
    "4.4",
    87,
    why="A receiver that was not started with -r or --colo has no handler for checkpoints and gives up.",
)
END_AFTER_CHECKPOINT = Rule(
    "libxc.end.after_checkpoint",
    "warn",
    "libxc END behind a CHECKPOINT",
    "5.1",
    88,
    why="Remus and COLO streams just stop. 4.6 ended so when a callback of the primary failed.",
    releases="4.6 only, where it is not reported",
)
DIRTY_LIST_FORWARD = Rule(
    "libxc.checkpoint_dirty_pfn_list.forward",
    "error",
    "CHECKPOINT_DIRTY_PFN_LIST in the forward direction",
    "4.4",
    89,
    why="It goes from the secondary to the primary only; a receiver rejects it.",
)
DIRTY_LIST_LENGTH = Rule(
    "libxc.checkpoint_dirty_pfn_list.length",
    "error",
    "CHECKPOINT_DIRTY_PFN_LIST: body_length {length}, expected a multiple of 8",
    "4.6",
    90,
    why="The primary rejects the list, and the session ends.",
)
DIRTY_LIST_PFN = Rule(
    "libxc.checkpoint_dirty_pfn_list.pfn",
    "error",
    "pfn {pfn:#x} in the list, expected less than {size:#x} (the guest's p2m size){more}",
    "4.6",
    91,
    why="The primary rejects the list, and the session ends.",
    releases="before 4.16 a pfn equal to the size was let through",
)
DIRTY_LIST_ORDER = Rule(
    "libxc.checkpoint_dirty_pfn_list.order",
    "warn",
    "pfn {pfn:#x} behind {before:#x} in the list, expected ascending pfns, each once",
    "4.6",
    92,
    why="The secondary walks its bitmap upwards; another order means that this is no list.",
)
DIRTY_LIST_RESENT = Rule(
    "libxc.checkpoint_dirty_pfn_list.resent",
    "warn",
    "{missing} of {count} pfns of the list were not sent again in the same checkpoint, first {pfn:#x}{reason}",
    "5.3",
    94,
    why="A page that the secondary has changed and the primary does not send again differs between the two from then "
    "on: after a failover the guest may see wrong memory.",
    beyond_wireshark=_MATCHED,
)
DIRTY_LIST_PLACE = Rule(
    "libxc.checkpoint_dirty_pfn_list.place",
    "error",
    "{problem}, expected one list behind each SVM_SUSPENDED",
    "5.3",
    95,
    why="The primary reads exactly one list when the secondary is suspended; anything else is out of step.",
    releases="4.7 and later",
)
COLO_GUEST = Rule(
    "colo.guest_type",
    "error",
    "COLO with a {guest} guest, expected HVM",
    "1.2",
    96,
    why="libxl does COLO for HVM guests only.",
    releases="4.7 and later",
)
FRAMING_UNCERTAIN = Rule(
    "stream.framing_uncertain",
    "note",
    "no record head at this place: {what}; but bytes before it are not in the capture",
    "5.7",
    why="Behind a hole the next record is found by searching. That may have gone wrong: this says nothing against the "
    "migration.",
    beyond_wireshark=_FRAMED,
)
HEADER_TWICE = Rule(
    "stream.header_twice",
    "error",
    "a second {what}",
    "5.1",
    100,
    why="Nothing in Xen sends a header twice; the receiver takes it for a record and gives up. Two streams were glued "
    "together, or a stream was restarted on the same connection.",
    beyond_wireshark=_FRAMED,
)

# -- releases (section 8; payloads.md 1.3) ---------------------------------------------------------------------------

SENDER = Rule(
    "release.sender",
    "note",
    "{text}",
    "8",
    why="What a stream holds narrows down which releases can have written it. Distributions and point releases carry "
    "newer code back, so this is a hint, not a proof.",
    beyond_wireshark=_WHOLE,
)
SECONDARY = Rule(
    "release.secondary",
    "note",
    "the COLO secondary runs {text}",
    "8",
    why="Nothing else on the wire tells the receiver's release.",
    beyond_wireshark=_WHOLE,
)
REJECTED = Rule(
    "release.rejected",
    "error",
    "Xen {release} rejects this: {problem}",
    "8",
    why="Asked for with --for-xen: a receiver of that release knows no such record, length or value.",
    beyond_wireshark=_WHOLE,
)
DOUBTFUL = Rule(
    "release.doubtful",
    "warn",
    "Xen {release} may reject this: {problem}",
    "8",
    why="Asked for with --for-xen: whether a receiver of that release takes it depends on its point release, on what "
    "was carried back, or on the processor's vendor.",
    beyond_wireshark=_WHOLE,
)
ACCEPTED = Rule(
    "release.accepted",
    "note",
    "a receiver of Xen {release} finds nothing that it does not know in what is in the capture{doubt}",
    "8",
    why="Asked for with --for-xen. What the hypervisor thinks of the values, and whether the target has the same "
    "disks, networks and CPU features, is not in the stream.",
    beyond_wireshark=_WHOLE,
)

# -- how it ended (2.5, 5.1): always said, once per migration --------------------------------------------------------

COMPLETED = Rule(
    "ending.completed", "note", "{text}", "2.4", why="The migration ended as it should.", beyond_wireshark=_AT_END
)
FAILED = Rule(
    "ending.failed",
    "error",
    "{text}",
    "2.5",
    why="Both sides kept to the protocol up to the point where one of them gave up; its messages say why: those of "
    "xl on standard error, and 'xl dmesg' of the hypervisor.",
    beyond_wireshark=_AT_END,
)
CUT = Rule(
    "ending.cut",
    "error",
    "{text}",
    "5.1",
    98,
    why="A plain stream is whole only with libxl's END; the receiver destroys what it has built.",
    beyond_wireshark=_AT_END,
)
FAILOVER = Rule(
    "ending.failover",
    "note",
    "{text}",
    "2.5",
    99,
    why="Remus and COLO have no end: a lost connection is how failover begins, from the last complete checkpoint.",
    beyond_wireshark=_AT_END,
)
NOT_SEEN = Rule(
    "ending.not_seen",
    "note",
    "{text}",
    "5.1",
    why="What was not captured is not judged; the migration may have gone on.",
    beyond_wireshark=_AT_END,
)

NOT_REPORTED: dict[int, str] = {86: "HVM_CONTEXT before HVM_PARAMS is what every release does"}
"""Rules of stream.md section 7 that are nothing to report, and why."""

RULES: tuple[Rule, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Rule))
"""The rules of this module."""

BY_ID: dict[str, Rule] = {rule.id: rule for rule in (*findings.RULES, *RULES)}
"""Every rule there is."""
