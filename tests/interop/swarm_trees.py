#!/usr/bin/env python3
"""Makes what peers exchange: swarm_trees.py SEED tree DIR [FOLDERS], or swarm_trees.py SEED cbor CID...

tree     50 files in each of 40 directories (or FOLDERS), every tenth of them empty, and five empty directories
cbor     a dag-cbor block with these links, on standard output
"""
import base64
import os
import random
import sys


def tree(rng, top, folders):
    for i in range(folders):
        folder = os.path.join(top, f"d{i}")
        os.makedirs(folder)
        for j in range(50):
            size = 0 if j % 10 == 9 else rng.randrange(1, 30000)
            with open(os.path.join(folder, f"f{j}"), "wb") as f:
                f.write(rng.randbytes(size))
    for i in range(5):
        os.makedirs(os.path.join(top, f"hollow{i}", "inside"))


def head(major, n):
    if n < 24:
        return bytes([major << 5 | n])
    if n < 256:
        return bytes([major << 5 | 24, n])
    return bytes([major << 5 | 25]) + n.to_bytes(2, "big")


def cbor(rng, cids):
    out = b"\xa2" + head(3, 1) + b"l" + head(4, len(cids))
    for cid in cids:
        digits = cid[1:].upper()
        link = b"\0" + base64.b32decode(digits + "=" * (-len(digits) % 8))
        out += b"\xd8\x2a" + head(2, len(link)) + link
    out += head(3, 1) + b"s" + head(2, 500) + rng.randbytes(500)
    sys.stdout.buffer.write(out)


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    rng = random.Random(sys.argv[1])
    if sys.argv[2] == "cbor":
        cbor(rng, sys.argv[3:])
    else:
        tree(rng, sys.argv[3], int((sys.argv + [40])[4]))


if __name__ == "__main__":
    main()
