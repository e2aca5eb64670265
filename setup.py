"""What pyproject.toml cannot say for good yet: the compiled part. Everything else stands there."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        # Speed alone depends on it, see amctc/quant/scan.py: without a C compiler the package is installed without it.
        Extension(
            "amctc.quant.native",
            ["amctc/quant/native.c"],
            extra_compile_args=["-O3"],
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
