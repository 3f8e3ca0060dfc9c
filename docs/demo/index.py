#!/usr/bin/env python3
"""Indexes a tree of SVG drawings: index.py DRAWINGS OUT.

Writes OUT/keywords.tsv (keyword, number of drawings, their paths), OUT/colours.tsv (colour, number of drawings that
use it) and OUT/colours.png, a chart of the most used colours. The result depends only on the drawings.
"""
import collections
import os
import re
import subprocess
import sys

KEYWORD = re.compile(r"<rdf:li>\s*([^<]{2,60}?)\s*</rdf:li>")
COLOUR = re.compile(r"#([0-9a-fA-F]{6})\b")
SHOWN = 40


def scan(top):
    keywords = collections.defaultdict(set)
    colours = collections.Counter()
    files = 0
    for folder, subfolders, names in os.walk(top):
        subfolders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            if not name.endswith(".svg") or os.path.islink(path):
                continue
            with open(path, encoding="utf-8", errors="replace") as f:
                text = f.read()
            files += 1
            for word in KEYWORD.findall(text):
                keywords[word.lower()].add(os.path.relpath(path, top))
            colours.update({colour.lower() for colour in COLOUR.findall(text)})
    return files, keywords, colours


def chart(colours, out):
    shown = sorted(colours.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]
    rows = "\n".join(f'{i} {count} {int(colour, 16)} "#{colour}"' for i, (colour, count) in enumerate(shown))
    script = f"""
set terminal png medium size 1200,600
set output '{out}'
set title 'Most used colours: in how many drawings'
set style fill solid border -1
set boxwidth 0.9
set xtics rotate by 90 right
set grid ytics
set yrange [0:*]
$colours << END
{rows}
END
plot $colours using 1:2:3:xtic(4) with boxes lc rgb variable notitle
"""
    subprocess.run(["gnuplot"], input=script.encode(), check=True)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    top, out = sys.argv[1:]
    files, keywords, colours = scan(top)
    with open(os.path.join(out, "keywords.tsv"), "w", encoding="utf-8") as f:
        for word in sorted(keywords):
            f.write(f"{word}\t{len(keywords[word])}\t{' '.join(sorted(keywords[word]))}\n")
    with open(os.path.join(out, "colours.tsv"), "w", encoding="utf-8") as f:
        for colour, count in sorted(colours.items(), key=lambda item: (-item[1], item[0])):
            f.write(f"#{colour}\t{count}\n")
    chart(colours, os.path.join(out, "colours.png"))
    print(f"{files} drawings, {len(keywords)} keywords, {len(colours)} colours")


if __name__ == "__main__":
    main()
