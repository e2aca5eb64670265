/* The inner loops of the searches for a scale, over a histogram: many small steps, which Python makes one by one.

Each function does what the Python code beside its call in amctc/quant does, bit for bit, and lets go of Python's lock
meanwhile, so that several searches go on at the same time. The package works without this module, only slower;
amctc/quant/compiled.py says what the functions take. */

#include "native_arrays.h"

static PyObject *native_shed_ranges(PyObject *module, PyObject *args)
{
    PyObject *given[3];
    Py_ssize_t least, count = 0;
    Py_buffer views[3];
    if (!PyArg_ParseTuple(args, "OOnO", &given[0], &given[1], &least, &given[2]))
        return NULL;
    const Kind kinds[] = {INT64, INT64, INT64};
    const int flags[] = {0, 0, PyBUF_WRITABLE};
    if (get_arrays(3, given, kinds, flags, views) < 0)
        return NULL;
    const int64_t *lefts = views[0].buf, *rights = views[1].buf;
    int64_t *ranges = views[2].buf;
    Py_ssize_t bins = length(&views[0]), room = length(&views[2]) / 2;
    int sound = bins > 0 && bins == length(&views[1]) && least >= 0;
    if (sound) {
        Py_BEGIN_ALLOW_THREADS
        int64_t left = 0, right = bins - 1;
        while (sound && right - left > least) {
            int64_t next_left = lefts[left], next_right = rights[right];
            if (next_left > right)
                next_left = right;
            if (next_right < next_left)
                next_right = next_left;
            /* Each side gives bins up, or none, and never those of the other. */
            sound = next_left > left && next_right <= right && count < room;
            if (!sound)
                break;
            if (right - next_right >= next_left - left)
                right = next_right;
            else
                left = next_left;
            ranges[2 * count] = left;
            ranges[2 * count + 1] = right;
            count++;
        }
        Py_END_ALLOW_THREADS
    }
    release_arrays(3, views);
    if (!sound)
        return PyErr_Format(PyExc_ValueError, "these are no steps from bin to bin, or there is no room for them");
    return PyLong_FromSsize_t(count);
}

/* What the errors of all grids depend on: sums over the values below each of `bins` + 1 edges, equally far apart. */
typedef struct {
    const double *edges, *evenly, *zeroth, *first;
    Py_ssize_t bins;
    double width, middle, second;
} Moments;

static double cell_error(const Moments *of, Py_ssize_t cells, double step, double low, double high)
{
    const double start = of->edges[0], stop = of->edges[of->bins];
    double sum = 0, zeroth_before = 0, first_before = 0;
    for (Py_ssize_t cell = 0; cell < cells; cell++) {
        double number = low + (double)cell;
        double level = (number < high ? number : high) * step - of->middle;
        double zeroth = of->zeroth[of->bins], first = of->first[of->bins];
        if (cell + 1 < cells) {
            double end = (number + 0.5) * step - of->middle;
            end = end < start ? start : end > stop ? stop : end;
            double place = (end - start) / of->width;
            Py_ssize_t bin = place >= 0 && place < (double)of->bins ? (Py_ssize_t)place : of->bins - 1;
            double inside = (end - of->edges[bin]) * of->evenly[bin];
            zeroth = of->zeroth[bin] + inside;
            first = of->first[bin] + inside * ((end + of->edges[bin]) / 2);
        }
        double count = zeroth - zeroth_before, weight = first - first_before;
        sum += level * (level * count - 2 * weight);
        zeroth_before = zeroth;
        first_before = first;
    }
    return of->second + sum;
}

static PyObject *native_cell_errors(PyObject *module, PyObject *args)
{
    enum { STEPS, LOWS, HIGHS, EDGES, EVENLY, ZEROTH, FIRST, ERRORS, ARRAYS };
    PyObject *given[ARRAYS];
    Py_ssize_t cells;
    Moments of;
    Py_buffer views[ARRAYS];
    if (!PyArg_ParseTuple(args, "OOOnOOOOddO", &given[STEPS], &given[LOWS], &given[HIGHS], &cells, &given[EDGES],
                          &given[EVENLY], &given[ZEROTH], &given[FIRST], &of.middle, &of.second, &given[ERRORS]))
        return NULL;
    Kind kinds[ARRAYS];
    int flags[ARRAYS];
    for (int i = 0; i < ARRAYS; i++) {
        kinds[i] = FLOAT64;
        flags[i] = i == ERRORS ? PyBUF_WRITABLE : 0;
    }
    if (get_arrays(ARRAYS, given, kinds, flags, views) < 0)
        return NULL;
    Py_ssize_t grids = length(&views[ERRORS]);
    of.bins = length(&views[EVENLY]);
    int sound = of.bins > 0 && cells > 0;
    for (int i = STEPS; i <= HIGHS; i++)
        sound = sound && length(&views[i]) == grids;
    for (int i = EDGES; i <= FIRST; i++)
        sound = sound && (i == EVENLY || length(&views[i]) == of.bins + 1);
    if (sound) {
        const double *steps = views[STEPS].buf, *lows = views[LOWS].buf, *highs = views[HIGHS].buf;
        double *errors = views[ERRORS].buf;
        of.edges = views[EDGES].buf;
        of.evenly = views[EVENLY].buf;
        of.zeroth = views[ZEROTH].buf;
        of.first = views[FIRST].buf;
        of.width = of.edges[1] - of.edges[0];
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t grid = 0; grid < grids; grid++)
            errors[grid] = cell_error(&of, cells, steps[grid], lows[grid], highs[grid]);
        Py_END_ALLOW_THREADS
    }
    release_arrays(ARRAYS, views);
    if (!sound)
        return PyErr_Format(PyExc_ValueError, "there are no bins or cells, or the arrays have other lengths");
    Py_RETURN_NONE;
}

static PyMethodDef METHODS[] = {
    {"shed_ranges", native_shed_ranges, METH_VARARGS, NULL},
    {"cell_errors", native_cell_errors, METH_VARARGS, NULL},
    {0},
};

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "native_search", NULL, 0, METHODS};

PyMODINIT_FUNC PyInit_native_search(void)
{
    return PyModuleDef_Init(&MODULE);
}
