"""Products of matrices: ours and those of NumPy's BLAS, in turns, in billions of operations per second.

    python benchmarks/products.py --threads 1 --rounds 15

A call multiplies each pair of a row of the table once; the time of the call itself is in it on both sides.
"""

import argparse
import os

PRODUCTS = {  # how many, m, n, k, which of both is read transposed
    "logistic regression": (1, 32, 1, 64),
    "its gradient": (1, 1, 64, 32),
    "attention, scores": (32, 64, 64, 32, (False, True)),
    "attention, values": (32, 64, 32, 64),
    "attention, gradient": (32, 64, 32, 64, (True, False)),
    "ten classes": (1, 256, 10, 1024, (False, True)),
    "their gradient": (1, 10, 1024, 256, (True, False)),
    "one row": (1, 1, 1024, 1024, (False, True)),
    "layer, batch 64": (1, 64, 128, 784, (False, True)),
    "its gradient, batch 64": (1, 128, 784, 64, (True, False)),
    "small layer": (1, 64, 64, 128, (False, True)),
    "blocks of a transformer": (1, 512, 512, 128, (False, True)),
    "layer, batch 256": (1, 256, 1024, 784, (False, True)),
    "its gradient, batch 256": (1, 1024, 784, 256, (True, False)),
    "odd sizes": (1, 101, 103, 107),
    "square": (1, 1024, 1024, 1024),
}


def factors(product, dtype, numpy):
    """Both factors as they lie, and as they are read."""
    rng = numpy.random.default_rng(0)
    shapes = ((product.m, product.k), (product.k, product.n))
    lying, read = [], []
    for shape, flipped in zip(shapes, product.transposed, strict=True):
        stored = (product.count, *(reversed(shape) if flipped else shape))
        lying.append(rng.normal(size=stored).astype(dtype))
        read.append(lying[-1].swapaxes(1, 2) if flipped else lying[-1])
    return lying, read


def ours(product, arrays, lf):
    with lf.Graph("products") as graph, graph.program("multiply"):
        pair = []
        for name, array, flipped in zip("ab", arrays, product.transposed, strict=True):
            factor = lf.Variable(array, name=name, dtype=str(array.dtype))
            pair.append(lf.swapaxes(factor, 1, 2) if flipped else factor)
        result = pair[0] @ pair[1]
        out = lf.Variable(0.0, (product.count, product.m, product.n), name="out", dtype=str(arrays[0].dtype))
        out.assign(result)
    session = lf.compile(graph).session("cpu")
    return lambda: session.run("multiply"), lambda: session.get("out")


def main():
    parser = argparse.ArgumentParser(description="Times products of matrices.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    arguments = parser.parse_args()
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(arguments.threads)
    # what loads numpy comes after the variables, which it reads once
    import numpy as np
    from turns import median, ratio, turns
    from works import Product

    import lazyflow as lf

    lf.set_num_threads(arguments.threads)
    print(f"{arguments.dtype}, {arguments.threads} threads, load {os.getloadavg()[0]:.1f}\n")
    print("| | shape | ours, GFLOPS | BLAS, GFLOPS | time, ours / BLAS |\n|---|---|---|---|---|")
    for name, row in PRODUCTS.items():
        product = Product(*row)
        arrays, (a, b) = factors(product, arguments.dtype, np)
        multiply, taken = ours(product, arrays, lf)
        result = np.empty((product.count, product.m, product.n), arguments.dtype)
        calls = {"ours": multiply, "blas": lambda a=a, b=b, out=result: np.matmul(a, b, out=out)}
        found = turns(calls, arguments.rounds)
        np.testing.assert_allclose(taken(), result, rtol=1e-3, atol=1e-3)
        work = 2e-9 * product.count * product.m * product.n * product.k
        speeds = [f"{work / median(found, side):.3g}" for side in calls]
        count = f"{product.count} x " if product.count > 1 else ""
        shape = f"{count}{product.m} x {product.n} x {product.k}"
        print("|", " | ".join([name, shape, *speeds, f"{ratio(found, 'ours', 'blas'):.2f}"]), "|", flush=True)


if __name__ == "__main__":
    main()
