"""The shapes of the parameters of well-known models."""


def resnet50():
    """ResNet-50 for ImageNet: 161 tensors, 25.6M elements."""
    found = [(64, 3, 7, 7), (64,), (64,)]
    width = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        inner = 64 * 2**stage
        for block in range(blocks):
            for shape in ((inner, width, 1, 1), (inner, inner, 3, 3), (4 * inner, inner, 1, 1)):
                found += [shape, shape[:1], shape[:1]]
            if block == 0:
                found += [(4 * inner, width, 1, 1), (4 * inner,), (4 * inner,)]
            width = 4 * inner
    return [*found, (1000, 2048), (1000,)]


def gpt2():
    """GPT-2 small: 148 tensors, 124M elements."""
    d = 768
    block = [
        (d,),
        (d,),
        (d, 3 * d),
        (3 * d,),
        (d, d),
        (d,),
        (d,),
        (d,),
        (d, 4 * d),
        (4 * d,),
        (4 * d, d),
        (d,),
    ]
    return [(50257, d), (1024, d), *(12 * block), (d,), (d,)]


SETS = {
    "one of 16M": [(1 << 24,)],
    "ResNet-50": resnet50(),
    "GPT-2": gpt2(),
    "2,000 of 1,000": [(1000,)] * 2000,
    "20 of 100": [(100,)] * 20,
}
