"""Lists a change log, row by row, in the order of the binlog.

Reads one request as JSON from standard input and writes one JSON object per row:

    {"table": "<uri of the Delta table>", "storage": {...}, "schema": "<of the wanted rows, or null for all>",
     "texts": <whether images are the texts that the log holds>}
    {"op": "insert", "schema_name": "shop", "table_name": "orders", "after": {"id": "1"}, ...}

Images that are no texts keep the digits that their numbers were written with: every number is a string.
"""

import json
import os
import sys

import pyarrow.compute as pc
from deltalake import DeltaTable

from order import ordered


def main():
    request = json.load(sys.stdin)
    table = DeltaTable(request["table"], storage_options=request.get("storage"))
    changes = table.to_pyarrow_table()
    if request["schema"] is not None:
        changes = changes.filter(pc.field("schema_name") == request["schema"])
    for row in ordered(changes).to_pylist():
        row["commit_time"] = int(row["commit_time"].timestamp() * 1_000_000 + 0.5)
        row["date"] = str(row["date"])
        for image in ("before", "after"):
            if row[image] is not None and not request["texts"]:
                row[image] = json.loads(row[image], parse_float=str, parse_int=str)
        print(json.dumps(row))
    sys.stdout.flush()
    # The library's threads may still run while the interpreter is taken apart, and then abort it.
    os._exit(0)


main()
