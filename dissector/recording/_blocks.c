/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packets of a capture ring or a pcap file to pcapng blocks, in C: what Batch.add_frames does in batch.py, without a
 * Python object for each packet, and with one copy.
 *
 * blocks(buffer, position, behind, shape, linktype, tick, interface, out, most) -> (position, used, packets, time)
 *
 * Writes enhanced packet blocks (little endian, nanoseconds) for the records in buffer[position:behind] to the begin of
 * `out`, at most `most` of them and as many as fit; stops at the first record that is not as its format wants it. `tick`
 * is the unit of the fraction of a second in a record, in nanoseconds; `time` that of the last packet, in nanoseconds
 * since the epoch. A VLAN tag that was taken out of a ring's frame is put back, and a frame of the interface "any" gets
 * its link header, as RingFormat.packet does it.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <stdint.h>
#include <string.h>

enum { ETHERNET = 1, SLL2 = 276 };
enum { VLAN_VALID = 0x10, TPID_VALID = 0x40 };
enum { PCAP_HEADER = 16, RING_HEADER = 68, BLOCK_HEADER = 28, ADDRESS = 48, COOKED = 20 };

typedef struct {
    const uint8_t *frame;
    uint64_t step; /* bytes of the whole record */
    uint32_t seconds, fraction, captured, wire_length;
    uint8_t head[COOKED]; /* what comes before the rest of the frame, in place of its first `replaced` bytes */
    uint32_t head_size, replaced;
} Record;

static uint32_t file16(const uint8_t *p, int big) { return big ? p[0] << 8 | p[1] : p[1] << 8 | p[0]; }
static uint32_t file32(const uint8_t *p, int big)
{
    return big ? file16(p, 1) << 16 | file16(p + 2, 1) : file16(p + 2, 0) << 16 | file16(p, 0);
}
static void net16(uint8_t *p, uint32_t value) { p[0] = (uint8_t)(value >> 8), p[1] = (uint8_t)value; }
static void net32(uint8_t *p, uint32_t value) { net16(p, value >> 16), net16(p + 2, value); }
static void little32(uint8_t *p, uint64_t value)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> 8 * i);
}

static int read_pcap(const uint8_t *p, uint64_t left, int big, Record *record)
{
    if (left < PCAP_HEADER)
        return 0;
    record->seconds = file32(p, big), record->fraction = file32(p + 4, big);
    record->captured = file32(p + 8, big), record->wire_length = file32(p + 12, big);
    record->frame = p + PCAP_HEADER;
    record->step = PCAP_HEADER + (uint64_t)record->captured;
    return record->step <= left;
}

/* The link header of a frame from the interface "any", from the address in its record. */
static void cook(const uint8_t *address, int big, Record *record)
{
    uint8_t *head = record->head;
    const uint32_t size = address[11] < 8 ? address[11] : 8; /* what lies behind is left from older packets */
    memset(head, 0, COOKED);
    memcpy(head, address + 2, 2);
    net32(head + 4, file32(address + 4, big)), net16(head + 8, file16(address + 8, big));
    head[10] = address[10], head[11] = address[11];
    memcpy(head + 12, address + 12, size);
    record->head_size = COOKED;
}

static int read_ring(const uint8_t *p, uint64_t left, int big, long linktype, Record *record)
{
    if (left < RING_HEADER)
        return 0;
    const uint32_t next = file32(p, big), status = file32(p + 20, big), mac = file16(p + 24, big);
    record->seconds = file32(p + 4, big), record->fraction = file32(p + 8, big);
    record->captured = file32(p + 12, big), record->wire_length = file32(p + 16, big);
    const uint64_t size = mac + (uint64_t)record->captured;
    record->step = next ? next : (size + 7) & ~7ULL; /* the last record of a block has no next one */
    if (mac < RING_HEADER || size > record->step || record->step > left)
        return 0;
    record->frame = p + mac;
    if (linktype == SLL2) {
        cook(p + ADDRESS, big, record);
    } else if (linktype == ETHERNET && status & VLAN_VALID && record->captured >= 12) {
        memcpy(record->head, record->frame, 12);
        net16(record->head + 12, status & TPID_VALID ? file16(p + 36, big) : 0x8100);
        net16(record->head + 14, file32(p + 32, big));
        record->head_size = 16, record->replaced = 12;
    }
    return 1;
}

/* Write the block of a record; its length, or 0 if it does not fit in `room`. */
static uint64_t write_block(uint8_t *out, uint64_t room, const Record *record, uint32_t interface, uint64_t time)
{
    const uint64_t rest = record->captured - record->replaced, captured = record->head_size + rest;
    const uint64_t padded = (captured + 3) & ~3ULL, size = 32 + padded;
    if (size > room || size > UINT32_MAX)
        return 0;
    little32(out, 6), little32(out + 4, size), little32(out + 8, interface);
    little32(out + 12, time >> 32), little32(out + 16, time);
    little32(out + 20, captured), little32(out + 24, record->wire_length + (uint64_t)record->head_size - record->replaced);
    uint8_t *data = out + BLOCK_HEADER;
    memcpy(data, record->head, record->head_size);
    memcpy(data + record->head_size, record->frame + record->replaced, rest);
    memset(data + captured, 0, padded - captured);
    little32(data + padded, size);
    return size;
}

static PyObject *blocks(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer view, out;
    Py_ssize_t position, behind, most, packets = 0;
    const char *shape;
    long linktype, tick;
    unsigned long interface;
    uint64_t used = 0, time = 0;
    if (!PyArg_ParseTuple(
            args, "y*nnsllkw*n", &view, &position, &behind, &shape, &linktype, &tick, &interface, &out, &most))
        return NULL;
    const int ring = !strncmp(shape, "ring", 4), known = ring || !strncmp(shape, "pcap", 4);
    const char *order = known ? shape + 4 : "";
    const int big = !strcmp(order, ">");
    if (behind > view.len)
        behind = view.len;
    if (known && (big || !strcmp(order, "<")) && position >= 0) {
        Py_BEGIN_ALLOW_THREADS
        while (position < behind && packets < most) {
            const uint8_t *here = (const uint8_t *)view.buf + position;
            const uint64_t left = (uint64_t)(behind - position);
            Record record;
            record.head_size = record.replaced = 0;
            if (!(ring ? read_ring(here, left, big, linktype, &record) : read_pcap(here, left, big, &record)))
                break;
            const uint64_t at = record.seconds * 1000000000ULL + record.fraction * (uint64_t)tick;
            const uint64_t room = (uint64_t)out.len - used;
            const uint64_t size = write_block((uint8_t *)out.buf + used, room, &record, (uint32_t)interface, at);
            if (!size)
                break;
            used += size, time = at;
            position += (Py_ssize_t)record.step;
            packets++;
        }
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&view);
    PyBuffer_Release(&out);
    return Py_BuildValue("nnnK", position, (Py_ssize_t)used, packets, (unsigned long long)time);
}

static PyMethodDef methods[] = {
    {"blocks", blocks, METH_VARARGS, "Packets of a ring or a pcap file to pcapng blocks; see dissector.recording.batch."},
    {NULL, NULL, 0, NULL},
};
static PyModuleDef_Slot module_slots[] = {{0, NULL}};
static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_blocks", "Packets to pcapng blocks.", 0, methods, module_slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__blocks(void) { return PyModuleDef_Init(&definition); }
