"""Does it add up? Compares archives with the servers they were made from.

usage: add_up.py PLAN.json      exit 1: something differs

The plan is a list of
  {"title", "archive": folder or s3://bucket/path, "s3": {"endpoint", "key", "secret", "region"} or null,
   "binlogs": [the server's binlog files], "dump": [mysqlbinlog ...], "client": [mysql ...],
   "database", "table", "row": a primary key to show}

Nothing of the worker's own code is used here: the change log is read by the deltalake package, the
number of changes at the source is counted in mysqlbinlog's output, the contents come from SELECT.
"""

import hashlib
import json
import pathlib
import re
import subprocess
import sys

import pyarrow as pa
import pyarrow.fs
from deltalake import DeltaTable


class Archive:
    """The objects of one stream, on a volume or in a bucket."""

    def __init__(self, plan):
        self.uri, s3 = plan["archive"].rstrip("/"), plan.get("s3")
        if s3:
            plain = s3["endpoint"].startswith("http://")
            self.files = pa.fs.S3FileSystem(
                access_key=s3["key"], secret_key=s3["secret"], region=s3["region"],
                endpoint_override=s3["endpoint"].split("://")[1], scheme="http" if plain else "https")
            self.root = self.uri.removeprefix("s3://")
            self.options = {
                "AWS_ACCESS_KEY_ID": s3["key"], "AWS_SECRET_ACCESS_KEY": s3["secret"],
                "AWS_REGION": s3["region"], "AWS_ENDPOINT_URL": s3["endpoint"],
                "AWS_ALLOW_HTTP": str(plain).lower(), "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false"}
        else:
            self.files, self.root, self.options = pa.fs.LocalFileSystem(), self.uri, None

    def read(self, key):
        with self.files.open_input_stream(f"{self.root}/{key}", compression=None) as stream:
            return stream.read()

    def log(self):
        """The entries in their order, without the hint beside them."""
        found = self.files.get_file_info(pa.fs.FileSelector(f"{self.root}/log", recursive=True))
        keys = sorted(f.path[len(self.root) + 1:] for f in found if re.search(r"/\d{12}\.json$", f.path))
        return [json.loads(self.read(key)) for key in keys]

    def changes(self):
        table = DeltaTable(f"{self.uri}/changes", storage_options=self.options)
        rows = table.to_pyarrow_table().to_pylist()
        rows.sort(key=place)
        return rows


def place(row):
    """Where a change stands in the server's history."""
    suffix = int(row["file"].rsplit(".", 1)[1])
    return row["lineage"], suffix, row["position"], row["event_ordinal"], row["row_ordinal"]


def source_changes(plan):
    """Row changes in the server's own binlog files, as its own tool decodes them."""
    mark = f"`{plan['database']}`.`{plan['table']}`"
    names = tuple(f"### {op} {mark}" for op in ("INSERT INTO", "UPDATE", "DELETE FROM"))
    command = [*plan["dump"], "--base64-output=decode-rows", "--verbose", *plan["binlogs"]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, errors="replace") as dump:
        count = sum(line.startswith(names) for line in dump.stdout)
    if dump.returncode:
        sys.exit(f"{command[0]} ended with {dump.returncode}")
    return count


def source_table(plan):
    """Columns and rows of the table as SELECT gives them, NULL as \\N."""
    full = f"{plan['database']}.{plan['table']}"
    query = f"SET NAMES utf8mb4; SELECT * FROM {full} ORDER BY id"
    out = subprocess.run([*plan["client"], "--batch", "--raw", "-e", query], check=True,
                         capture_output=True).stdout.decode()
    lines = out.splitlines()
    return lines[0].split("\t"), [line.split("\t") for line in lines[1:]]


def fold(rows, columns):
    """The table as the change log says it is now."""
    table = {}
    for row in rows:
        load = lambda text: json.loads(text, parse_float=str, parse_int=str) if text else None
        before, after = load(row["before"]), load(row["after"])
        if before is not None:
            table.pop(before["id"], None)
        if after is not None:
            table[after["id"]] = after
    text = lambda value: "NULL" if value is None else str(value)
    # A row written before an ALTER lacks the column that it added.
    return [[text(table[key].get(c)) for c in columns] for key in sorted(table, key=int)]


def checksum(rows):
    digest = hashlib.sha256("\n".join("\t".join(row) for row in rows).encode()).hexdigest()
    return f"{digest[:4]}..{digest[-2:]}"


def raw_files(archive, entries, plan):
    """How many of the server's closed files the raw archive holds unchanged, and how many there are."""
    parts = {}
    for entry in entries:
        for thing in (entry.get("raw") or {}).get("objects", []):
            parts.setdefault(thing["file"], []).append(thing)
    same = 0
    for path in map(pathlib.Path, plan["binlogs"]):
        own, at, equal = path.read_bytes(), None, path.name in parts
        for thing in sorted(parts.get(path.name, []), key=lambda part: part["from"]):
            data = pa.input_stream(pa.BufferReader(archive.read(thing["key"])), compression="zstd").read()
            equal = equal and at in (None, thing["from"]) and data == own[thing["from"]:thing["to"]]
            at = thing["to"]
        same += equal and at == len(own)
    return same, len(plan["binlogs"])


def check(plan):
    archive = Archive(plan)
    rows = archive.changes()
    wanted = [r for r in rows if (r["schema_name"], r["table_name"]) == (plan["database"], plan["table"])]
    distinct = len({place(row) for row in wanted})
    columns, source = source_table(plan)
    folded = fold(wanted, columns)
    written = source_changes(plan)
    same, files = raw_files(archive, archive.log(), plan)
    word = lambda equal: "equal" if equal else "DIFFERENT"
    doubled, missing = len(wanted) - distinct, written - distinct
    result = [
        ("changes, source / archive", f"{written:,} / {len(wanted):,}  {word(written == len(wanted))}"),
        ("rows in the table now", f"{len(source):,} / {len(folded):,}"),
        ("table contents (checksum)", f"{checksum(source)} / {checksum(folded)}  {word(source == folded)}"),
        ("doubled / missing", f"{doubled} / {missing}"),
        ("raw files identical", f"{same} of {files}"),
    ]
    good = source == folded and written == len(wanted) == distinct and same == files and files > 0
    show = [r for r in wanted if r["primary_key"] and plan["row"] in re.findall(r"\d+", r["primary_key"])]
    return result, good, show[-1] if show else None


def last_change(plan, row):
    load = lambda text: json.loads(text) if text else {}
    before, after = load(row["before"]), load(row["after"])
    diff = ", ".join(f'{c} "{before.get(c)}" -> "{after.get(c)}"' for c in row["changed"] or [])
    where = row["gtid"] or f"{row['file']}:{row['position']}"
    return f"last change of {plan['database']}.{plan['table']} {plan['row']}: {row['op']} {row['commit_time']:%Y-%m-%d %H:%M:%S.%f} {where} {diff}"


def main(path):
    plans = json.loads(pathlib.Path(path).read_text())
    checked = [check(plan) for plan in plans]
    width = max(34, *(len(plan["title"]) + 3 for plan in plans))
    print("does it add up?".ljust(30) + "".join(plan["title"].ljust(width) for plan in plans)
          + "read by the Python deltalake package")
    for lines in zip(*(result for result, _, _ in checked)):
        print(f"  {lines[0][0]:<28}" + "".join(value.ljust(width) for _, value in lines).rstrip())
    for plan, (_, _, row) in zip(plans, checked):
        if row:
            print(last_change(plan, row))
    return 0 if all(good for _, good, _ in checked) else 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
