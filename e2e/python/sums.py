"""The reader of change logs that are too large to fold: rows of each table, and a sum over them.

Reads one request as JSON from standard input and writes one answer as JSON:

    {"table": "<uri of the Delta table>", "storage": {...}, "columns": {"shop.blobs": ["id", "body"], ...}}
    {"files": [...], "rows": 524288, "doubles": 0, "tables": {"shop.blobs": {"rows": 524288, "sum": "1125..."}}}

The sum is of the CRC32 of each row's values, joined by ":". An image after adds to it, an image before takes away:
what is left is the sum over the table as it is.
"""

import collections
import json
import os
import sys
import zlib

from deltalake import DeltaTable

COLUMNS = [
    "schema_name", "table_name", "before", "after", "gtid", "lineage", "file", "position", "event_ordinal",
    "row_ordinal",
]
# Rows in memory at once, whatever their size.
BATCH = 256


def checksum(document, columns):
    row = json.loads(document, parse_float=str, parse_int=str)
    values = (row[column] for column in columns)
    texts = (value["$hex"] if isinstance(value, dict) else value for value in values)
    return zlib.crc32(":".join(texts).encode())


def main():
    request = json.load(sys.stdin)
    table = DeltaTable(request["table"], storage_options=request.get("storage"))
    rows = doubles = 0
    seen = collections.defaultdict(set)
    tables = {name: {"rows": 0, "sum": 0} for name in request["columns"]}
    dataset = table.to_pyarrow_dataset()
    for batch in dataset.to_batches(columns=COLUMNS, batch_size=BATCH, batch_readahead=1, fragment_readahead=1):
        for row in batch.to_pylist():
            rows += 1
            group = row["gtid"] or f'{row["lineage"]}/{row["file"]}:{row["position"]}'
            ordinals = row["event_ordinal"] << 32 | row["row_ordinal"]
            doubles += ordinals in seen[group]
            seen[group].add(ordinals)
            name = f'{row["schema_name"]}.{row["table_name"]}'
            for image, sign in ((row["before"], -1), (row["after"], 1)):
                if name in tables and image is not None:
                    tables[name]["rows"] += sign
                    tables[name]["sum"] += sign * checksum(image, request["columns"][name])
    for sums in tables.values():
        sums["sum"] = str(sums["sum"])
    files = sorted(uri[uri.index("date=") :] for uri in table.file_uris())
    json.dump({"files": files, "rows": rows, "doubles": doubles, "tables": tables}, sys.stdout)
    sys.stdout.flush()
    # The library's threads may still run while the interpreter is taken apart, and then abort it.
    os._exit(0)


main()
