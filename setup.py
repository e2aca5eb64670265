"""What pyproject.toml cannot say for good yet: the compiled parts. Everything else stands there."""

from setuptools import Extension, setup

# Speed alone depends on them, see amctc/quant/compiled.py: without a C compiler the package is installed without them.
COMPILED = ("native_scan", "native_search")

setup(
    ext_modules=[
        Extension(
            f"amctc.quant.{name}",
            [f"amctc/quant/{name}.c"],
            depends=["amctc/quant/native_arrays.h"],
            # Products and sums are rounded one by one, as numpy's are.
            extra_compile_args=["-O3", "-ffp-contract=off"],
            py_limited_api=True,
            optional=True,
        )
        for name in COMPILED
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
