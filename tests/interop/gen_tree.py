#!/usr/bin/env python3
"""Makes a tree that is hard on importers: gen_tree.py SEED KIND DIR. The same seed gives the same bytes.

KIND is one of
  sizes    files of every size around the chunk and fan-out boundaries of the profiles
  random   deep, with odd names, empty files and directories, symlinks, hidden entries
  edge     directories exactly at, and one byte beyond, the HAMT thresholds of every profile
  wide     a directory of 9,000 entries, so that its HAMT has several levels
"""
import os
import random
import sys

ODD_NAMES = ["a b", "ünï-cödé", "日本語", "🙂", "-dash", "per%20cent", "plus+plus", "back\\slash", "quote'\"",
             "tab\there", "semi;colon", "star*", "x" * 255, "~", "...", "..a", "CON", "new\nline", "\u00e9", "e\u0301"]


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def sizes(rng, top):
    mib = 1 << 20
    wanted = [0, 1, 2, 255, 4095, 4096, 4097]
    for boundary in (262144, mib, 2 * mib, 174 * 262144):
        wanted += [boundary - 1, boundary, boundary + 1]
    wanted += [3 * 262144, 5 * mib + 7, rng.randrange(mib, 8 * mib)]
    for size in wanted:
        write(os.path.join(top, f"size-{size}"), rng.randbytes(size))
    write(os.path.join(top, "zeros"), bytes(3 * mib + 5))
    write(os.path.join(top, "repeat"), b"fabric " * 500000)


def random_tree(rng, top):
    def fill(path, depth, budget):
        names = rng.sample(ODD_NAMES, rng.randrange(0, 6)) + [f"f{i}" for i in range(rng.randrange(0, 6))]
        for name in names:
            here = os.path.join(path, name)
            kind = rng.random()
            if kind < 0.3 and depth > 0 and budget > 1:
                os.mkdir(here)
                fill(here, depth - 1, budget - 1)
            elif kind < 0.4:
                os.symlink(rng.choice(["nowhere", "../..", "f0", "/etc/passwd", "ä/b", "x" * 200]), here)
            elif kind < 0.5:
                write(here, b"")
            else:
                write(here, rng.randbytes(rng.choice([1, 100, 5000, 262144, 300000])))

    os.mkdir(os.path.join(top, "empty"))
    os.mkdir(os.path.join(top, ".hidden-dir"))
    write(os.path.join(top, ".hidden-dir", "inside"), b"hidden")
    write(os.path.join(top, ".hidden"), b"hidden")
    deep = top
    for level in range(40):
        deep = os.path.join(deep, f"level{level}")
        os.mkdir(deep)
    write(os.path.join(deep, "bottom"), b"deep")
    for branch in range(6):
        path = os.path.join(top, f"branch{branch}")
        os.mkdir(path)
        fill(path, 5, 12)


def edge(rng, top):
    # (how many names, their length, length of the last): thresholds of 262144 by name and CID bytes (CIDs of
    # 36 and 34 bytes), and by the bytes of the block, for one-byte files.
    for name, count, length, last in (("links-v1", 4096, 28, 28), ("links-v1-over", 4096, 28, 29),
                                      ("links-v0", 4096, 30, 30), ("links-v0-over", 4096, 30, 31),
                                      ("block-v1", 4766, 11, 21), ("block-v1-over", 4766, 11, 22)):
        path = os.path.join(top, name)
        os.mkdir(path)
        for i in range(count):
            width = last if i == count - 1 else length
            write(os.path.join(path, str(i).rjust(width, "n")), b"x")


def wide(rng, top):
    for i in range(9000):
        write(os.path.join(top, f"entry-{rng.randrange(1 << 40):x}-{i}"), str(i % 7).encode())
    os.mkdir(os.path.join(top, "directory"))
    write(os.path.join(top, "directory", "f"), b"f")
    os.symlink("directory/f", os.path.join(top, "link"))


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    kinds = {"sizes": sizes, "random": random_tree, "edge": edge, "wide": wide}
    os.mkdir(sys.argv[3])
    kinds[sys.argv[2]](random.Random(f"{sys.argv[1]}-{sys.argv[2]}"), sys.argv[3])


if __name__ == "__main__":
    main()
