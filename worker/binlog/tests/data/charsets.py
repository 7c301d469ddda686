#!/usr/bin/env python3
"""Asks a server for its East Asian character sets and writes the tables of src/value/wide.

    charsets.py OUT CLIENT...      as in: charsets.py src/value/wide mysql --socket=/run/mysqld.sock

Needs no rights but to connect. A table is a list of 16-bit numbers, each kept as its distance from the
one before, little-endian, deflated: what each byte stands for, then each pair of bytes from 0x8000,
then, for some sets, the codes of three or four bytes. 0xd800 is a code that the server does not convert
to Unicode and back to the same bytes.
"""

import pathlib
import struct
import subprocess
import sys
import zlib

# No character has this number.
UNKNOWN = 0xD800
SETS = "big5 cp932 eucjpms euckr gb18030 gb2312 gbk sjis ujis".split()
# The numbers of 16 bits.
NUMBERS = "(SELECT " + " + ".join(f"b{bit}.v" for bit in range(16)) + " n FROM " + ", ".join(
    f"(SELECT 0 v UNION ALL SELECT {1 << bit}) b{bit}" for bit in range(16)
) + ") numbers"


def characters(client, charset, code, wanted):
    """What codes stand for, by their number."""
    text = f"CONVERT({code} USING {charset})"
    sql = (
        f"SELECT n, HEX(CONVERT({text} USING utf32)) FROM {NUMBERS} WHERE {wanted} "
        f"AND CHAR_LENGTH({text}) = 1 "
        f"AND HEX(CONVERT(CONVERT({text} USING utf8mb4) USING {charset})) = HEX({code})"
    )
    out = subprocess.run(
        [*client, "--skip-column-names", "--batch"], input=sql, text=True, check=True,
        stdout=subprocess.PIPE,
    ).stdout
    found = {}
    for line in out.splitlines():
        n, char = line.split("\t")
        # U+FFFD stands for a character that is not known.
        if int(char, 16) != 0xFFFD:
            found[int(n)] = int(char, 16)
    return found


def table(client, charset):
    def numbers(code, wanted, span):
        found = characters(client, charset, code, wanted)
        return [found.get(n, UNKNOWN) for n in span]

    table = numbers("UNHEX(LPAD(HEX(n), 2, '0'))", "n < 256", range(256))
    table += numbers("UNHEX(HEX(n))", "n >= 0x8000", range(0x8000, 0x10000))
    if charset in ("ujis", "eucjpms"):
        table += numbers("UNHEX(CONCAT('8F', HEX(n)))", "n >= 0x8000", range(0x8000, 0x10000))
    if charset == "gb18030":
        four = (
            "UNHEX(CONCAT(HEX(129 + n DIV 12600), HEX(48 + n DIV 1260 % 10),"
            " HEX(129 + n DIV 10 % 126), HEX(48 + n % 10)))"
        )
        table += numbers(four, "n < 39420", range(39420))
    return table


def main():
    out, client = pathlib.Path(sys.argv[1]), sys.argv[2:]
    for charset in SETS:
        numbers = table(client, charset)
        deltas = [(now - before) & 0xFFFF for before, now in zip([0, *numbers], numbers)]
        packed = zlib.compress(struct.pack(f"<{len(deltas)}H", *deltas), 9)
        (out / f"{charset}.z").write_bytes(packed)
        known = sum(number != UNKNOWN for number in numbers)
        print(f"{charset}: {known} characters, {len(packed)} bytes")


main()
