/* What the compiled parts share: arrays as they come from numpy. */

#ifndef AMCTC_NATIVE_ARRAYS_H
#define AMCTC_NATIVE_ARRAYS_H

#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

typedef enum { FLOAT32, FLOAT64, INT64 } Kind;

static const char *const TYPES[] = {"f", "d", "lq"};
static const char *const NAMES[] = {"float32", "float64", "int64"};
static const Py_ssize_t SIZES[] = {4, 8, 8};

/* Whether a buffer holds elements of a kind, aligned and in the processor's own byte order. */
static inline int holds(const Py_buffer *view, Kind kind)
{
    const char *format = view->format ? view->format : "B";
    uint16_t one = 1;
    char least_first;
    memcpy(&least_first, &one, 1);
    if (*format == '@' || *format == '=' || *format == (least_first ? '<' : '>'))
        format++;
    return *format && strchr(TYPES[kind], *format) && !format[1] && view->itemsize == SIZES[kind] &&
           (uintptr_t)view->buf % (size_t)SIZES[kind] == 0;
}

/* An array without gaps, to be read, or with PyBUF_WRITABLE to be changed; or an exception and -1. */
static inline int get_array(PyObject *object, Kind kind, int flags, Py_buffer *view)
{
    if (PyObject_GetBuffer(object, view, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | flags) < 0)
        return -1;
    if (holds(view, kind))
        return 0;
    PyErr_Format(PyExc_TypeError, "an aligned array of %s was expected, not one of `%s`", NAMES[kind],
                 view->format ? view->format : "B");
    PyBuffer_Release(view);
    return -1;
}

/* All arrays of a call, or an exception and -1, with none of them held. */
static inline int get_arrays(int count, PyObject *const *objects, const Kind *kinds, const int *flags, Py_buffer *views)
{
    for (int i = 0; i < count; i++) {
        if (get_array(objects[i], kinds[i], flags[i], &views[i]) < 0) {
            while (i-- > 0)
                PyBuffer_Release(&views[i]);
            return -1;
        }
    }
    return 0;
}

static inline void release_arrays(int count, Py_buffer *views)
{
    for (int i = 0; i < count; i++)
        PyBuffer_Release(&views[i]);
}

static inline Py_ssize_t length(const Py_buffer *view)
{
    return view->len / view->itemsize;
}

#endif
