# SPDX-License-Identifier: GPL-2.0-or-later
"""The newest contents of one guest page in a capture, as a hexdump of its first lines.

Usage: python docs/examples/extract_page.py CAPTURE PFN
"""

from __future__ import annotations

import sys

import dissector


def main(capture: str, pfn: int) -> None:
    """Find the last PAGE_DATA that carries the page and read the page from the capture."""
    newest = None
    for record in dissector.read(capture, display_filter="libxc.page_data"):
        if pfn in record.pfns:
            newest = record
    if newest is None:
        sys.exit(f"page {pfn:#x} is not in this capture")
    try:
        page = newest.page(pfn)
    except dissector.LostBytesError as lost:
        sys.exit(f"page {pfn:#x}: {lost}")
    print(f"page {pfn:#x} from PAGE_DATA at offset {newest.offset}, frames {newest.first_frame} to {newest.last_frame}")
    if page is None:
        print("sent without contents")
        return
    for at in range(0, 64, 16):
        row = page[at : at + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        print(f"{at:04x}  {row.hex(' ')}  {text}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2], 0))
