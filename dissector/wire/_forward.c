/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The fast-forward kernel in C: the twin of PythonKernel in forward.py, which says what it is for.
 *
 * forward(buffer, position, end, shape, linktype, fast, slim) -> (position, passed, latest, latest_at, latest_number)
 *
 * Passes packets in buffer[position:end] as long as each is a pure acknowledgement, or an in-order segment that ends
 * before the bytes that somebody needs, or belongs to a connection of no interest; stops at the first that is anything
 * else. `fast` (connection key -> [next sequence number, number to end before, last ACK]) is updated in place. `latest`
 * is the key of the last passed packet with payload on a connection of interest, or None, `latest_at` where its record
 * begins, and `latest_number` which of the passed packets it was. After an exception `fast` is not up to date.
 *
 * No length is trusted: a packet is looked at only if its whole record lies before `end`, and a header only if it lies
 * in what was captured of the packet.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <stdint.h>
#include <string.h>

#define IGNORE (1LL << 60) /* in place of a limit: of no interest, whatever it sends */
#define MOST_CONNECTIONS 32 /* directions looked up at a time */

enum { PCAP, PCAPNG, RING };
static const char *const SHAPES[] = {"pcap<", "pcap>", "pcapng<", "pcapng>", "ring<", "ring>"};

enum { ETHERNET = 1, SLL = 113, SLL2 = 276 };
enum { IPV4 = 0x0800, IPV6 = 0x86dd, TCP = 6 };

typedef struct {
    const uint8_t *frame;
    uint64_t captured, step; /* bytes of the frame, and of the whole record */
    uint16_t protocol;       /* ring: of a frame without link header */
} Record;

typedef struct {
    const uint8_t *key;
    size_t size; /* of the key */
    uint32_t seq, ack;
    uint32_t payload;
} Segment;

typedef struct {
    uint64_t end; /* of the key, which tells most connections apart */
    uint8_t key[36];
    size_t size;
    PyObject *state; /* the list in `fast` that the numbers come from and go to */
    int64_t next, limit, ack;
} Connection;

typedef struct {
    Connection all[MOST_CONNECTIONS];
    int count;
} Connections;

static uint16_t net16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static uint32_t net32(const uint8_t *p) { return (uint32_t)net16(p) << 16 | net16(p + 2); }
static uint16_t file16(const uint8_t *p, int big) { return big ? net16(p) : (uint16_t)(p[1] << 8 | p[0]); }
static uint32_t file32(const uint8_t *p, int big)
{
    return big ? net32(p) : (uint32_t)file16(p + 2, 0) << 16 | file16(p, 0);
}

static int is_tag(uint16_t protocol) { return protocol == 0x8100 || protocol == 0x88a8 || protocol == 0x9100; }

/* Read a record header; false unless the record is of the usual kind and lies in the `left` bytes from p. */
static int read_record(const uint8_t *p, uint64_t left, int kind, int big, int slim, Record *record)
{
    static const uint64_t header[] = {[PCAP] = 16, [PCAPNG] = 28, [RING] = 52};
    uint64_t at = header[kind];
    if (left < at)
        return 0;
    record->protocol = 0;
    if (kind == PCAP) {
        record->captured = file32(p + 8, big);
        record->step = at + record->captured;
    } else if (kind == PCAPNG) {
        record->captured = file32(p + 20, big);
        record->step = file32(p + 4, big);
        const uint64_t bare = 32 + record->captured; /* slim: the options may say what was left out */
        if (file32(p, big) != 6 || record->step < bare || record->step & 3 || (slim && record->step > bare + 3))
            return 0;
    } else {
        if (file16(p + 24, big) < at)
            return 0;
        at = file16(p + 24, big);
        record->captured = file32(p + 12, big);
        record->step = (at + record->captured + 7) & ~7ULL;
        record->protocol = net16(p + 50);
        if ((file32(p + 20, big) & 0x50) == 0x50 && !is_tag(file16(p + 36, big)))
            return 0; /* the tag that was taken out of the frame was none that we know */
    }
    if (record->step > left)
        return 0;
    record->frame = p + at;
    return 1;
}

/* Find the network protocol of a frame, and where its header begins; 0 if there is none. */
static uint16_t find_network(const Record *record, long linktype, int kind, uint64_t *at)
{
    const uint8_t *frame = record->frame;
    uint64_t place; /* of the protocol number */
    switch (linktype) {
    case ETHERNET:
        place = 12, *at = 14;
        break;
    case SLL:
        place = 14, *at = 16;
        break;
    case SLL2:
        if (kind != RING) {
            place = 0, *at = 20;
            break;
        } /* a ring gives such frames without their link header */
        /* fall through */
    case 101: /* raw IP, under the numbers that it has had */
    case 12:
    case 14:
    case 228:
    case 229: {
        *at = 0;
        const int version = record->captured ? frame[0] >> 4 : 0;
        const uint16_t protocol = version == 4 ? IPV4 : version == 6 ? IPV6 : 0;
        return kind == RING && protocol != record->protocol ? 0 : protocol;
    }
    default:
        return 0;
    }
    if (record->captured < *at)
        return 0;
    uint16_t protocol = net16(frame + place);
    while (is_tag(protocol)) {
        if (record->captured < *at + 4)
            return 0;
        protocol = net16(frame + *at + 2);
        *at += 4;
    }
    return protocol;
}

/* Read the headers of plain data or of a pure acknowledgement; false if the packet is anything else or is cut. */
static int read_segment(const uint8_t *ip, uint64_t room, uint16_t protocol, int slim, Segment *segment)
{
    uint64_t length, headers = 0; /* what the IP length field says; what of that is headers */
    const uint8_t *tcp;
    if (protocol == IPV4) {
        if (room < 40 || ip[0] != 0x45 || net16(ip + 6) & 0xbfff || ip[9] != TCP)
            return 0;
        length = net16(ip + 2), headers = 20;
        segment->key = ip + 12, segment->size = 12, tcp = ip + 20;
    } else if (protocol == IPV6) {
        if (room < 60 || ip[0] >> 4 != 6 || ip[6] != TCP)
            return 0;
        length = net16(ip + 4), room -= 40;
        segment->key = ip + 8, segment->size = 36, tcp = ip + 40;
    } else
        return 0;
    const uint16_t bits = net16(tcp + 12);
    if (bits >> 12 < 5 || (bits & 0x0f37) != 0x10) /* ACK; PSH, ECE and CWR do not matter */
        return 0;
    headers += 4 * (bits >> 12);
    if (headers > length || (slim ? headers : length) > room)
        return 0;
    segment->seq = net32(tcp + 4), segment->ack = net32(tcp + 8), segment->payload = (uint32_t)(length - headers);
    return 1;
}

static int put(PyObject *list, Py_ssize_t place, int64_t value)
{
    PyObject *number = PyLong_FromLongLong(value);
    return number ? PyList_SetItem(list, place, number) : -1; /* takes the reference, whatever happens */
}

static int64_t get(PyObject *list, Py_ssize_t place)
{
    PyObject *number = PyList_GetItem(list, place);
    return number ? PyLong_AsLongLong(number) : -1;
}

/* Write the numbers of all connections back, unless there is an exception, and forget them; false on an exception. */
static int settle(Connections *known)
{
    int good = !PyErr_Occurred();
    for (Connection *one = known->all; one < known->all + known->count; one++) {
        good = good && !put(one->state, 0, one->next) && !put(one->state, 2, one->ack);
        Py_DECREF(one->state);
    }
    known->count = 0;
    return good;
}

/* Find a connection; NULL if it is unknown, or with an exception. */
static Connection *find(Connections *known, PyObject *fast, const Segment *segment)
{
    uint64_t end;
    memcpy(&end, segment->key + segment->size - 8, 8);
    for (Connection *one = known->all; one < known->all + known->count; one++)
        if (one->end == end && one->size == segment->size && !memcmp(one->key, segment->key, segment->size))
            return one;
    if (known->count == MOST_CONNECTIONS && !settle(known))
        return NULL;
    PyObject *key = PyBytes_FromStringAndSize((const char *)segment->key, (Py_ssize_t)segment->size);
    PyObject *state = key ? PyDict_GetItemWithError(fast, key) : NULL;
    Py_XDECREF(key);
    if (!state)
        return NULL;
    Connection *one = known->all + known->count;
    one->next = get(state, 0), one->limit = get(state, 1), one->ack = get(state, 2);
    if (PyErr_Occurred())
        return NULL;
    memcpy(one->key, segment->key, segment->size);
    one->end = end, one->size = segment->size, one->state = Py_NewRef(state);
    known->count++;
    return one;
}

static PyObject *forward(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer view;
    Py_ssize_t position, end, passed = 0, latest_at = 0, latest_number = 0, latest_size = 0;
    const char *name;
    long linktype;
    PyObject *fast;
    int slim, shape = 0;
    const uint8_t *latest = NULL; /* its key, in the buffer */
    Connections known;
    known.count = 0;
    if (!PyArg_ParseTuple(args, "y*nnslO!p", &view, &position, &end, &name, &linktype, &PyDict_Type, &fast, &slim))
        return NULL;
    while (shape < 6 && strcmp(name, SHAPES[shape]))
        shape++;
    if (end > view.len)
        end = view.len;
    while (shape < 6 && position >= 0 && position < end) {
        const uint8_t *here = (const uint8_t *)view.buf + position;
        Record record;
        Segment segment;
        uint64_t at;
        if (!read_record(here, (uint64_t)(end - position), shape >> 1, shape & 1, slim, &record))
            break;
        /* Packets come in runs of one size. What is fetched in vain does no harm, wherever it lies. */
        __builtin_prefetch((const void *)((uintptr_t)here + 2 * (uintptr_t)record.step));
        __builtin_prefetch((const void *)((uintptr_t)here + 2 * (uintptr_t)record.step + 64));
        const uint16_t protocol = find_network(&record, linktype, shape >> 1, &at);
        if (!protocol || !read_segment(record.frame + at, record.captured - at, protocol, slim, &segment))
            break;
        Connection *one = find(&known, fast, &segment);
        if (!one)
            break;
        if (segment.payload) {
            const int64_t until = (int64_t)segment.seq + segment.payload;
            if (segment.seq == one->next && until < one->limit) {
                one->next = until;
                latest = segment.key, latest_size = (Py_ssize_t)segment.size;
                latest_at = position, latest_number = passed;
            } else if (one->limit != IGNORE)
                break;
        }
        one->ack = segment.ack;
        position += (Py_ssize_t)record.step;
        passed++;
    }
    PyObject *result = NULL;
    if (settle(&known)) /* of a key that is not there, y# makes None */
        result = Py_BuildValue("nny#nn", position, passed, latest, latest_size, latest_at, latest_number);
    PyBuffer_Release(&view);
    return result;
}

static PyMethodDef methods[] = {
    {"forward", forward, METH_VARARGS, "Pass packets that cannot matter; see dissector.wire.forward.PythonKernel."},
    {NULL, NULL, 0, NULL},
};
static PyModuleDef_Slot module_slots[] = {{0, NULL}};
static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_forward", "The fast-forward kernel in C.", 0, methods, module_slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__forward(void) { return PyModuleDef_Init(&definition); }
