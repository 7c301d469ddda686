"""The independent reader: folds a change log per table and compares it with what the source holds.

Reads one request as JSON from standard input and writes one answer as JSON:

    {"table": "<uri of the Delta table>", "storage": {...}, "primary": {"shop.orders": ["id"], ...},
     "expected": {"shop.orders": "<file with one JSON object of text values per row>", ...},
     "defaults": {"shop.orders": {"column added later": "its default"}}}
    {"version": 3, "files": [...], "rows": 61204, "doubles": [...],
     "tables": {"shop.orders": {"rows": 20, "missing": [...], "extra": [...], "different": [...]}}}

A table without a primary key is folded as a multiset of row images. What was truncated or dropped is forgotten,
what was renamed goes on under its last name.
"""

import array
import collections
import json
import os
import sys

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from order import ordered

SHOWN = 5
# Rows that stand in memory as Python objects at a time.
ROWS = 20_000
COLUMNS = [
    "op", "schema_name", "table_name", "before", "after", "gtid", "lineage", "file", "position",
    "event_ordinal", "row_ordinal",
]


def text(value):
    """A value of the change log as the source's own text protocol shows it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict) and "$hex" in value:
        return value["$hex"]
    if isinstance(value, (dict, list)):
        return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return str(value)


def image(document):
    """A row image: a dictionary of texts. Numbers keep the digits they were written with."""
    if document is None:
        return None
    parsed = json.loads(document, parse_float=str, parse_int=str)
    return {column: text(value) for column, value in parsed.items()}


def doubled(changes):
    """Identities that occur more than once."""
    place = pc.binary_join_element_wise(
        changes["lineage"], "/", changes["file"], ":", changes["position"].cast(pa.string()), ""
    )
    named = pc.greater(pc.fill_null(pc.binary_length(changes["gtid"]), 0), 0)
    ordinals = ["event_ordinal", "row_ordinal"]
    identities = changes.select(ordinals).append_column(
        "group", pc.if_else(named, changes["gtid"], place)
    )
    counted = identities.group_by(["group", *ordinals]).aggregate([([], "count_all")])
    more = counted.filter(pc.greater(counted["count_all"], 1)).slice(0, SHOWN)
    return [list(row.values()) for row in more.select(["group", *ordinals]).to_pylist()]


def rows_of(changes):
    for batch in changes.to_batches(max_chunksize=ROWS):
        yield from batch.to_pylist()


class Keyed:
    """The contents of a table with a primary key."""

    def __init__(self, key):
        self.key = key
        self.rows = {}
        self.wrong = []

    def of(self, row):
        return tuple(row[column] for column in self.key)

    def apply(self, op, before, after):
        if op in ("update", "delete") and self.rows.pop(self.of(before), None) is None:
            self.wrong.append(f"{op} of a row that is not there: {self.of(before)}")
        if op in ("insert", "update"):
            if op == "insert" and self.of(after) in self.rows:
                self.wrong.append(f"insert of a row that is there: {self.of(after)}")
            self.rows[self.of(after)] = after

    def compare(self, expected, defaults):
        source = {self.of(row): row for row in expected}
        different = []
        for key in source.keys() & self.rows.keys():
            # A column added later is not in images written before.
            folded = {**defaults, **self.rows[key]}
            if folded != source[key]:
                different.append([folded, source[key]])
        return (
            sorted(source.keys() - self.rows.keys()),
            sorted(self.rows.keys() - source.keys()),
            different,
        )


class Bag:
    """The contents of a table without one."""

    def __init__(self):
        self.rows = collections.Counter()
        self.wrong = []

    @staticmethod
    def of(row):
        return json.dumps(row, sort_keys=True)

    def apply(self, op, before, after):
        if op in ("update", "delete"):
            self.rows[self.of(before)] -= 1
            if self.rows[self.of(before)] < 0:
                self.wrong.append(f"{op} of a row that is not there: {self.of(before)}")
        if op in ("insert", "update"):
            self.rows[self.of(after)] += 1

    def compare(self, expected, _defaults):
        source = collections.Counter(self.of(row) for row in expected)
        folded = +self.rows
        return list((source - folded).elements()), list((folded - source).elements()), []


def histories(changes):
    """Numbers of the changes that made each table what it is at the end, by its last name."""
    tables = collections.defaultdict(lambda: array.array("q"))
    for number, row in enumerate(rows_of(changes.select(["op", "schema_name", "table_name"]))):
        op, schema, table = row["op"], row["schema_name"], row["table_name"]
        name = f"{schema}.{table}"
        if op == "drop" and table == "":
            for dropped in [known for known in tables if known.startswith(f"{schema}.")]:
                del tables[dropped]
        elif op in ("truncate", "drop"):
            tables.pop(name, None)
        elif op == "rename":
            to = json.loads(changes["after"][number].as_py())
            tables[f'{to["schema"]}.{to["table"]}'] = tables.pop(name, array.array("q"))
        else:
            tables[name].append(number)
    return tables


def main():
    request = json.load(sys.stdin)
    table = DeltaTable(request["table"], storage_options=request.get("storage"))
    changes = ordered(table.to_pyarrow_table(columns=COLUMNS))

    primary = request["primary"]
    folded = {}
    images = changes.select(["op", "before", "after"])
    for name, history in histories(changes).items():
        if name in request["expected"]:
            folded[name] = Keyed(primary[name]) if primary.get(name) else Bag()
            for row in rows_of(images.take(pa.array(history, pa.int64()))):
                folded[name].apply(row["op"], image(row["before"]), image(row["after"]))
    for name in request["expected"]:
        folded.setdefault(name, Bag())

    tables = {}
    for name, path in request["expected"].items():
        with open(path, encoding="utf-8") as lines:
            expected = [json.loads(line) for line in lines]
        missing, extra, different = folded[name].compare(
            expected, request.get("defaults", {}).get(name, {})
        )
        tables[name] = {
            "rows": len(expected),
            "missing": missing[:SHOWN],
            "extra": extra[:SHOWN],
            "different": different[:SHOWN],
            "wrong": folded[name].wrong[:SHOWN],
        }
    answer = {
        "version": table.version(),
        "files": sorted(paths(table)),
        "rows": len(changes),
        "doubles": doubled(changes),
        "tables": tables,
    }
    json.dump(answer, sys.stdout)
    sys.stdout.flush()
    # The library's threads may still run while the interpreter is taken apart, and then abort it.
    os._exit(0)


def paths(table):
    """Paths of the files under the table, which is partitioned by date."""
    return [uri[uri.index("date=") :] for uri in table.file_uris()]


if __name__ == "__main__":
    main()
