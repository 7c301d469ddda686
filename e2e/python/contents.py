"""Folds a change log and writes what it makes of each table, in the texts of the log itself.

Reads one request as JSON from standard input and writes one answer as JSON:

    {"table": "<uri of the Delta table>", "storage": {...}, "schema": "types", "into": "<folder>",
     "primary": {"orders": ["id"], "journal": []}}
    {"rows": 61204, "doubles": [...], "wrong": {"orders": ["update of a row that is not there"]}}

In the folder then: for each table a file with one row image a line, and `changes`, every row change in the order of
the binlog, one JSON array a line. The row before a change must be, text for text, what the changes so far have left;
an ALTER between them is told by the schema's fingerprint. A table without a primary key is folded as a multiset.
"""

import collections
import json
import os
import pathlib
import sys

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from fold import COLUMNS, SHOWN, doubled, histories, rows_of
from order import ordered

FOLDED = ["op", "before", "after", "schema_fingerprint"]
LISTED = ["op", "table_name", "before", "after", "file", "position", "event_ordinal"]


def place(row, key):
    """Where a row stands: its key's values, or all of it."""
    if not key:
        return row
    parsed = json.loads(row, parse_float=str, parse_int=str)
    return tuple(json.dumps(parsed[column]) for column in key)


def contents(history, key):
    """Row images at the end, and what did not fit."""
    rows, wrong = collections.defaultdict(list), []
    for change in history:
        before, after, schema = change["before"], change["after"], change["schema_fingerprint"]
        if before is not None:
            held = rows[place(before, key)]
            if not held:
                wrong.append(f"{change['op']} of a row that is not there: {before}")
            else:
                left, under = held.pop()
                if under == schema and left != before:
                    wrong.append(f"{change['op']} of {before}, which was left as {left}")
        if after is not None:
            held = rows[place(after, key)]
            if key and held:
                wrong.append(f"{change['op']} to a row that is there: {after}")
            held.append((after, schema))
    return [row for held in rows.values() for row, _ in held], wrong


def main():
    request = json.load(sys.stdin)
    table = DeltaTable(request["table"], storage_options=request.get("storage"))
    changes = table.to_pyarrow_table(columns=[*COLUMNS, "schema_fingerprint"])
    changes = ordered(changes.filter(pc.field("schema_name") == request["schema"]))
    into = pathlib.Path(request["into"])

    folded, wrong = changes.select(FOLDED), {}
    tables = histories(changes)
    for name, key in request["primary"].items():
        history = tables.get(f"{request['schema']}.{name}", [])
        rows, misfits = contents(rows_of(folded.take(pa.array(history, pa.int64()))), key)
        (into / name).write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
        if misfits:
            wrong[name] = misfits[:SHOWN]

    of_rows = changes.filter(pc.is_in(changes["op"], pa.array(["insert", "update", "delete"])))
    with open(into / "changes", "w", encoding="utf-8") as listed:
        for row in rows_of(of_rows.select(LISTED)):
            print(json.dumps(list(row.values())), file=listed)
    json.dump({"rows": len(of_rows), "doubles": doubled(changes), "wrong": wrong}, sys.stdout)
    sys.stdout.flush()
    # The library's threads may still run while the interpreter is taken apart, and then abort it.
    os._exit(0)


main()
