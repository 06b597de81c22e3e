# SPDX-License-Identifier: GPL-2.0-or-later
"""The two or three facts that matter about a record, in a few words.

A record type without a line of its own gets one from its definition, so a new type needs no edit here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dissector.sinks.colour import printable
from dissector.sinks.page_list import page_list
from dissector.spec.libxc import PFN_MASK
from dissector.spec.model import OPTIONAL_RECORD, Array, Bytes, Element, Field, PfnList, StringPairs
from dissector.wire import codec

if TYPE_CHECKING:
    from dissector.wire.events import Record

Fields: TypeAlias = Mapping[str, Any]

_SHOWN = 3
"""Facts of a line made from the definition; also the HVM parameters that are written out."""


def facts(record: Record) -> str:
    """Return what to say about a record; empty when there is nothing."""
    found = page_list(record)
    if found is not None:
        count, _, first, last, tops = found
        return f"{count} pfns {_run(first & PFN_MASK, last & PFN_MASK)}, {_known_contents(tops)}"
    fields = _fields(record)
    special = SPECIAL.get((record.layer, record.type))
    if special is not None:
        try:
            return special(record, fields)
        except (KeyError, IndexError):  # a body that was cut lacks fields; the definition knows which ones are left
            pass
    return generic(record, fields)


def _fields(record: Record) -> Fields:
    """Decode a body no deeper than a line of text needs."""
    if not record.body:  # perhaps it was decoded by somebody else
        return record.fields
    values = codec.decode(record.definition, record.body, record.order, record.body_length, brief=False)
    return {**values, **record.extra} if record.extra else values


def generic(record: Record, fields: Fields) -> str:
    """Say the first facts of a body, as its definition names them."""
    said: list[str] = []
    for element in record.definition.body:
        text = _element(element, fields)
        if text:
            said.append(text)
        if len(said) == _SHOWN:
            break
    return ", ".join(said)


def _element(element: Element, fields: Fields) -> str:
    match element:
        case Field(reserved=False, const=None) if element.name in fields:
            value = fields[element.name]
            named = fields.get(f"{element.name}_name")
            return named or f"{element.name} {value:#x}" if element.hexadecimal else named or f"{element.name} {value}"
        case Bytes(text=True) if element.name in fields:
            return printable(fields[element.name].rstrip("\n"))
        case Bytes(const=None) if f"{element.name}_length" in fields:
            return f"{fields[f'{element.name}_length']} bytes"
        case Array() if element.name in fields:
            return counted(len(fields[element.name]), element.name)
        case StringPairs() if element.name in fields:
            return counted(len(fields[element.name]), "key")
        case PfnList() if "first_pfn" in fields:
            return f"pfns {span(fields)}"
    return ""


def counted(count: int, noun: str) -> str:
    """Write a number and its noun: ``1 page``, ``2 pages``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def span(fields: Fields) -> str:
    """Write the first and last pfn of a list."""
    first, last = fields["first_pfn"], fields.get("last_pfn")
    if last is None:
        return f"from {first:#x}, list cut"
    return _run(first, last)


def _run(first: int, last: int) -> str:
    return f"{first:#x}" if first == last else f"{first:#x}-{last:#x}"


def named(fields: Fields, name: str) -> str:
    """Return the name of an enumerated value, or its number when it has none."""
    return fields[f"{name}_name"] or f"{name} {fields[name]:#x}"


def _save_file_header(record: Record, fields: Fields) -> str:
    # The field holds 0x01020304 in the sender's order; read in another order it comes out reversed.
    reversed_order = "big" if record.order == "little" else "little"
    order = record.order if fields["byteorder"] == 0x01020304 else reversed_order
    flags = fields["mandatory_flags_name"] or "no flags"
    return f"{flags}, {order} endian, {fields['optional_data_len']} bytes of optional data"


def _config(_record: Record, fields: Fields) -> str:
    text = fields["config"]
    size = f"{fields['config_len']} bytes"
    if not text.lstrip().startswith("{"):
        return f"{size} of text"
    import json

    try:
        config = json.loads(text)
        about = config["c_info"]
        said = [str(about[key]) for key in ("name", "type", "uuid") if about.get(key)]
        memory = config.get("b_info", {}).get("max_memkb")
    except (ValueError, TypeError, AttributeError, RecursionError):
        return f"{size} of JSON"
    if isinstance(memory, int):
        said.insert(2, f"{memory >> 10} MiB" if memory >= 1024 else f"{memory} KiB")
    return printable(", ".join(said)) or f"{size} of JSON"


def _report_status(_record: Record, fields: Fields) -> str:
    return f"{fields['status']} {fields['status_name'] or 'no known error code'}"


def _stream_header(_record: Record, fields: Fields) -> str:
    options = f", {fields['options_name']}" if fields["options_name"] else ""
    return f"version {fields['version']}{options}"


def _image_header(_record: Record, fields: Fields) -> str:
    since = {2: " (Xen 4.6 to 4.13)", 3: " (Xen 4.14 on)"}.get(fields["version"], "")
    options = f", {fields['options_name']}" if fields["options_name"] else ""
    return f"version {fields['version']}{since}{options}"


def _domain_header(_record: Record, fields: Fields) -> str:
    major = fields["xen_major"]
    sender = f"Xen {major}.{fields['xen_minor']}" if major else "made by convert-legacy-stream"
    return f"{named(fields, 'type')}, {sender}"


_EMPTY: Final = ("XTAB", "XALLOC", "BROKEN")
"""Page types without contents, the one with the greatest number first."""


def _page_data(_record: Record, fields: Fields) -> str:
    said = [f"{counted(fields['count'], 'pfn')} {span(fields)}" if "first_pfn" in fields else "list lost"]
    if "data_pages" in fields:
        said.append(_contents(fields["data_pages"], fields["types"]))
    return ", ".join(said)


def _contents(pages: int, types: Mapping[str, int]) -> str:
    """Say what follows a list, and which entries of it have no contents."""
    tables = [f"{number} {name}" for name, number in types.items() if name != "NOTAB" and name not in _EMPTY]
    empty = [f"{number} {name}" for name, number in types.items() if name in _EMPTY]
    said = counted(pages, "page") + (f" ({', '.join(tables)})" if tables else "")
    return ", ".join((said, *reversed(empty)))


@lru_cache(maxsize=1024)
def _known_contents(tops: bytes) -> str:
    return _contents(*codec.pages_and_types(tops))


def _pv_info(_record: Record, fields: Fields) -> str:
    return f"{8 * fields['guest_width']}-bit guest, {fields['pt_levels']} page-table levels"


def _p2m_frames(_record: Record, fields: Fields) -> str:
    return f"pfns {fields['p2m_start_pfn']:#x}-{fields['p2m_end_pfn']:#x}, {counted(fields['count'], 'frame')}"


def _vcpu(_record: Record, fields: Fields) -> str:
    said = [f"vcpu {fields['vcpu_id']}"]
    if "context_length" in fields:
        size = fields["context_length"]
        width = {5168: " (64-bit)", 2800: " (32-bit)"}.get(size, "")
        said.append(f"{size} bytes{width}")
    if "xcr0" in fields:
        said.append(f"xcr0 {fields['xcr0']:#x}")
    if "xsave_area_length" in fields:
        said.append(f"{fields['xsave_area_length']} bytes")
    if "msr" in fields:
        said.append(counted(len(fields["msr"]), "MSR"))
    return ", ".join(said)


def _tsc_info(_record: Record, fields: Fields) -> str:
    khz, nsec = fields["khz"], fields["nsec"]
    return (
        f"{named(fields, 'mode')}, {khz // 1000}.{khz % 1000:03d} MHz, {nsec / 1e9:,.2f} s, "
        f"incarnation {fields['incarnation']}"
    )


def _hvm_context(_record: Record, fields: Fields) -> str:
    sections = fields["section"]
    vcpus = sum(section.get("typecode_name") == "CPU" for section in sections)
    return f"{counted(len(sections), 'section')}, {counted(vcpus, 'vcpu')}"


def _hvm_params(_record: Record, fields: Fields) -> str:
    params = fields["param"]
    said = [f"{row['index_name'] or row['index']}={row['value']:#x}" for row in params[:_SHOWN]]
    more = " …" if len(params) > _SHOWN else ""
    return f"{counted(len(params), 'param')}{': ' if said else ''}{' '.join(said)}{more}"


def _dirty_list(record: Record, fields: Fields) -> str:
    said = counted(fields["count"], "pfn")
    if "first_pfn" in fields:
        said += f" {span(fields)}"
    if record.header_size != 8:
        said += f", {record.header_size}-byte header (Xen 4.18+)"
    return said


def _emulator(record: Record, fields: Fields) -> str:
    rest = (_element(element, fields) for element in record.definition.body[2:])
    return ", ".join(text for text in (named(fields, "emulator_id"), *rest) if text)


def _unknown(record: Record, _fields: Fields) -> str:
    type_id = record.type_id or 0
    kind = "optional" if type_id & OPTIONAL_RECORD else "mandatory"
    return f"type {type_id:#x} ({kind}), {record.body_length} bytes"


Special: TypeAlias = "Callable[[Record, Fields], str]"

SPECIAL: Final[Mapping[tuple[str, str], Special]] = {
    ("xl", "SAVE_FILE_HEADER"): _save_file_header,
    ("xl", "CONFIG"): _config,
    ("xl", "REPORT_STATUS"): _report_status,
    ("libxl", "STREAM_HEADER"): _stream_header,
    ("libxl", "EMULATOR_XENSTORE_DATA"): _emulator,
    ("libxl", "EMULATOR_CONTEXT"): _emulator,
    ("libxl", "UNKNOWN"): _unknown,
    ("libxc", "IMAGE_HEADER"): _image_header,
    ("libxc", "DOMAIN_HEADER"): _domain_header,
    ("libxc", "PAGE_DATA"): _page_data,
    ("libxc", "X86_PV_INFO"): _pv_info,
    ("libxc", "X86_PV_P2M_FRAMES"): _p2m_frames,
    ("libxc", "X86_PV_VCPU_BASIC"): _vcpu,
    ("libxc", "X86_PV_VCPU_EXTENDED"): _vcpu,
    ("libxc", "X86_PV_VCPU_XSAVE"): _vcpu,
    ("libxc", "X86_PV_VCPU_MSRS"): _vcpu,
    ("libxc", "X86_TSC_INFO"): _tsc_info,
    ("libxc", "HVM_CONTEXT"): _hvm_context,
    ("libxc", "HVM_PARAMS"): _hvm_params,
    ("libxc", "CHECKPOINT_DIRTY_PFN_LIST"): _dirty_list,
    ("libxc", "X86_CPUID_POLICY"): lambda _, fields: counted(len(fields["leaf"]), "leaf").replace("leafs", "leaves"),
    ("libxc", "X86_MSR_POLICY"): lambda _, fields: counted(len(fields["msr"]), "MSR"),
    ("libxc", "UNKNOWN"): _unknown,
}
"""(layer, type) -> its line, where the definition alone would not say it well."""
