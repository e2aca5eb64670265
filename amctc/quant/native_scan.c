/* Looks at float32 values in one pass over memory: what numpy takes several passes for.

Each function does what the numpy code beside its call in amctc/quant does, bit for bit, and lets go of Python's lock
meanwhile. The package works without this module, only slower; amctc/quant/scan.py says what the functions take. */

#include "native_arrays.h"
#include <stdlib.h>

/* One build for all processors of a kind: the loader takes the version for the widest registers there are. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__GLIBC__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

enum {
    BLOCK = 1024, /* values looked at together: their bins stay in the first cache */
    LANES = 32,   /* extremes taken side by side, so that no value waits for the one before */
    MOST_BINS = 1 << 20,
    TABLES = 4 /* tables counted into in turn: equal values in a row would wait for each other in one */
};

static const float FARTHEST = 1 << 30;
static const int32_t INFINITE = 0x7f800000; /* the bits of infinity; those of NaN are more */

typedef struct {
    float low, high;
    int32_t magnitude; /* the largest of all bits but the sign's */
} Extremes;

static inline int32_t magnitude_of(float value)
{
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & INT32_MAX;
}

static inline void widen(Extremes *found, float low, float high, int32_t magnitude)
{
    found->low = low < found->low ? low : found->low;
    found->high = high > found->high ? high : found->high;
    found->magnitude = magnitude > found->magnitude ? magnitude : found->magnitude;
}

/* Of n values, at least one. Comparisons with NaN are false, so that `magnitude` alone tells of it. */
FOR_EACH_PROCESSOR static void take_extremes(const float *values, Py_ssize_t n, Extremes *found)
{
    float low[LANES], high[LANES];
    int32_t magnitude[LANES];
    for (int lane = 0; lane < LANES; lane++) {
        low[lane] = high[lane] = values[0];
        magnitude[lane] = 0;
    }
    Py_ssize_t whole = n - n % LANES;
    for (Py_ssize_t start = 0; start < whole; start += LANES) {
        for (int lane = 0; lane < LANES; lane++) {
            float value = values[start + lane];
            int32_t bits = magnitude_of(value);
            low[lane] = value < low[lane] ? value : low[lane];
            high[lane] = value > high[lane] ? value : high[lane];
            magnitude[lane] = bits > magnitude[lane] ? bits : magnitude[lane];
        }
    }
    *found = (Extremes){values[0], values[0], 0};
    for (Py_ssize_t i = whole; i < n; i++)
        widen(found, values[i], values[i], magnitude_of(values[i]));
    for (int lane = 0; lane < LANES; lane++)
        widen(found, low[lane], high[lane], magnitude[lane]);
}

/* trunc(place), or a place that no counts have: what is no int32 must not be cast to one. */
static inline int32_t whole(float place)
{
    return (int32_t)(place > -FARTHEST && place < FARTHEST ? place : -FARTHEST);
}

/* trunc(value * factor); the product is exact where the factor is a power of two. */
FOR_EACH_PROCESSOR static void scaled_places(const float *values, int n, float factor, int32_t *places)
{
    for (int i = 0; i < n; i++)
        places[i] = whole(values[i] * factor);
}

/* trunc((value - low) / extent * factor), each step rounded to float32. */
FOR_EACH_PROCESSOR static void places_between(
    const float *values, int n, float low, float extent, float factor, int32_t *places)
{
    for (int i = 0; i < n; i++)
        places[i] = whole((values[i] - low) / extent * factor);
}

static PyObject *native_extremes(PyObject *module, PyObject *args)
{
    PyObject *given;
    Py_buffer values;
    Extremes found = {0};
    if (!PyArg_ParseTuple(args, "O", &given) || get_array(given, FLOAT32, 0, &values) < 0)
        return NULL;
    Py_ssize_t n = length(&values);
    if (n) {
        Py_BEGIN_ALLOW_THREADS
        take_extremes(values.buf, n, &found);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&values);
    if (!n)
        return PyErr_Format(PyExc_ValueError, "there are no values");
    PyObject *finite = found.magnitude < INFINITE ? Py_True : Py_False;
    return Py_BuildValue("ddO", (double)found.low, (double)found.high, finite);
}

/* The most extreme values so far, a heap whose first is the least extreme; `sign` is 1 for the largest, -1 for the least. */
typedef struct {
    float *values;
    Py_ssize_t filled, room;
    float sign;
} Tail;

static void sink(Tail *tail, Py_ssize_t place)
{
    float value = tail->values[place];
    for (;;) {
        Py_ssize_t child = 2 * place + 1;
        if (child >= tail->filled)
            break;
        if (child + 1 < tail->filled && tail->sign * tail->values[child + 1] < tail->sign * tail->values[child])
            child++;
        if (tail->sign * value <= tail->sign * tail->values[child])
            break;
        tail->values[place] = tail->values[child];
        place = child;
    }
    tail->values[place] = value;
}

static void make_heap(Tail *tail)
{
    for (Py_ssize_t place = tail->filled / 2; place-- > 0;)
        sink(tail, place);
}

/* Take in finite values, of which none is more extreme than `most`. */
static void extend(Tail *tail, const float *values, int n, float most)
{
    int i = 0;
    if (tail->filled < tail->room) {
        for (; i < n && tail->filled < tail->room; i++)
            tail->values[tail->filled++] = values[i];
        make_heap(tail);
    }
    if (tail->sign * most <= tail->sign * tail->values[0])
        return;
    for (; i < n; i++) {
        if (tail->sign * values[i] > tail->sign * tail->values[0]) {
            tail->values[0] = values[i];
            sink(tail, 0);
        }
    }
}

static PyObject *native_extend_tails(PyObject *module, PyObject *args)
{
    PyObject *given[3];
    Py_ssize_t lower_filled, upper_filled;
    Py_buffer views[3];
    if (!PyArg_ParseTuple(args, "OOnOn", &given[0], &given[1], &lower_filled, &given[2], &upper_filled))
        return NULL;
    const Kind kinds[] = {FLOAT32, FLOAT32, FLOAT32};
    const int flags[] = {0, PyBUF_WRITABLE, PyBUF_WRITABLE};
    if (get_arrays(3, given, kinds, flags, views) < 0)
        return NULL;
    const float *all = views[0].buf;
    Py_ssize_t n = length(&views[0]);
    Tail below = {views[1].buf, lower_filled, length(&views[1]), -1};
    Tail above = {views[2].buf, upper_filled, length(&views[2]), 1};
    int sound = n > 0 && below.room > 0 && below.filled >= 0 && below.filled <= below.room && above.room > 0 &&
                above.filled >= 0 && above.filled <= above.room;
    Extremes found = {0};
    if (sound) {
        Py_BEGIN_ALLOW_THREADS
        make_heap(&below);
        make_heap(&above);
        for (Py_ssize_t start = 0; start < n; start += BLOCK) {
            int some = n - start < BLOCK ? (int)(n - start) : BLOCK;
            Extremes block;
            take_extremes(all + start, some, &block);
            if (!start)
                found = block;
            widen(&found, block.low, block.high, block.magnitude);
            if (found.magnitude >= INFINITE)
                break;
            extend(&below, all + start, some, block.low);
            extend(&above, all + start, some, block.high);
        }
        Py_END_ALLOW_THREADS
    }
    release_arrays(3, views);
    if (!sound)
        return PyErr_Format(PyExc_ValueError, "there are no values, or no tails of this length");
    PyObject *finite = found.magnitude < INFINITE ? Py_True : Py_False;
    return Py_BuildValue("ddOnn", (double)found.low, (double)found.high, finite, below.filled, above.filled);
}

static const Kind VALUES_AND_COUNTS[] = {FLOAT32, INT64};
static const int READ_AND_WRITTEN[] = {0, PyBUF_WRITABLE};

static PyObject *native_count_runs(PyObject *module, PyObject *args)
{
    PyObject *given[2];
    Py_ssize_t row, run, stride;
    int first;
    float factor;
    Py_buffer views[2];
    if (!PyArg_ParseTuple(args, "OnnnifO", &given[0], &row, &run, &stride, &first, &factor, &given[1]))
        return NULL;
    if (get_arrays(2, given, VALUES_AND_COUNTS, READ_AND_WRITTEN, views) < 0)
        return NULL;
    const float *all = views[0].buf;
    int64_t *sums = views[1].buf;
    Py_ssize_t n = length(&views[0]), size = length(&views[1]);
    int sound = row > 0 && run > 0 && run <= BLOCK && stride > 0 && stride <= PY_SSIZE_T_MAX / BLOCK / 2 && n % row == 0;
    int missing = 0;
    if (sound) {
        Py_BEGIN_ALLOW_THREADS
        int32_t places[BLOCK];
        for (Py_ssize_t start = 0; start < n; start += row) {
            for (Py_ssize_t at = 0; at < row; at += run * stride) {
                int some = row - at < run ? (int)(row - at) : (int)run;
                if (some < run && stride > 1)
                    break;
                scaled_places(all + start + at, some, factor, places);
                for (int i = 0; i < some; i++) {
                    uint32_t place = (uint32_t)places[i] - (uint32_t)first;
                    if (place < (uint64_t)size)
                        sums[place] += stride;
                    else
                        missing = 1;
                }
            }
        }
        Py_END_ALLOW_THREADS
    }
    release_arrays(2, views);
    if (!sound)
        return PyErr_Format(PyExc_ValueError, "there are no such rows, runs or strides");
    if (missing)
        return PyErr_Format(PyExc_ValueError, "a value lies outside the bins");
    Py_RETURN_NONE;
}

/* Extremes of n values, and their counts, in tables of which each takes every fourth value; whether all have places. */
static int count_in_tables(
    const float *values, Py_ssize_t n, float low, float extent, uint32_t *tables, Py_ssize_t size, Extremes *found)
{
    int32_t places[BLOCK];
    int counted = 1;
    for (Py_ssize_t start = 0; start < n; start += BLOCK) {
        int some = n - start < BLOCK ? (int)(n - start) : BLOCK;
        Extremes block;
        take_extremes(values + start, some, &block);
        if (!start)
            *found = block;
        widen(found, block.low, block.high, block.magnitude);
        if (block.magnitude >= INFINITE)
            counted = 0;
        if (!counted)
            continue;
        places_between(values + start, some, low, extent, (float)(size - 1), places);
        for (int i = 0; i < some; i += TABLES) {
            for (int table = 0; table < TABLES && i + table < some; table++) {
                uint32_t place = (uint32_t)places[i + table];
                if (place < (uint64_t)size)
                    tables[table * size + place]++;
                else
                    counted = 0;
            }
        }
    }
    return counted;
}

static PyObject *native_count_between(PyObject *module, PyObject *args)
{
    PyObject *given[2];
    float low, extent;
    Py_buffer views[2];
    if (!PyArg_ParseTuple(args, "OffO", &given[0], &low, &extent, &given[1]))
        return NULL;
    if (get_arrays(2, given, VALUES_AND_COUNTS, READ_AND_WRITTEN, views) < 0)
        return NULL;
    Py_ssize_t n = length(&views[0]), size = length(&views[1]);
    int sound = n > 0 && n <= UINT32_MAX && size > 1 && size <= MOST_BINS, counted = 0;
    Extremes found = {0};
    uint32_t *tables = sound ? calloc((size_t)size * TABLES, sizeof *tables) : NULL;
    if (tables) {
        int64_t *sums = views[1].buf;
        Py_BEGIN_ALLOW_THREADS
        counted = count_in_tables(views[0].buf, n, low, extent, tables, size, &found);
        for (int table = 0; table < TABLES && counted; table++)
            for (Py_ssize_t i = 0; i < size; i++)
                sums[i] += tables[table * size + i];
        Py_END_ALLOW_THREADS
        free(tables);
    }
    release_arrays(2, views);
    if (!sound)
        return PyErr_Format(PyExc_ValueError, "there are no values or bins, or too many");
    if (!tables)
        return PyErr_NoMemory();
    PyObject *finite = found.magnitude < INFINITE ? Py_True : Py_False;
    return Py_BuildValue("ddOO", (double)found.low, (double)found.high, finite, counted ? Py_True : Py_False);
}

static PyMethodDef METHODS[] = {
    {"extremes", native_extremes, METH_VARARGS, NULL},
    {"extend_tails", native_extend_tails, METH_VARARGS, NULL},
    {"count_runs", native_count_runs, METH_VARARGS, NULL},
    {"count_between", native_count_between, METH_VARARGS, NULL},
    {0},
};

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "native_scan", NULL, 0, METHODS};

PyMODINIT_FUNC PyInit_native_scan(void)
{
    return PyModuleDef_Init(&MODULE);
}
