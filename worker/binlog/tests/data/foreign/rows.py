"""rows.py MYSQLBINLOG : writes NAME.rows for every NAME.tables here: the rows of NAME.binlog in the form of the change
log, from what the server's own program prints of them.

A .tables file names the columns, which these binlogs do not: {"schema.table": [[column, members...], ...]}. A column
that ends in ":hex" holds bytes, one in ":unsigned" is printed in both readings where they differ."""
import ast, json, pathlib, re, subprocess, sys

here = pathlib.Path(__file__).parent


def value(text, kind, column, members):
    if text == "NULL":
        return None
    if kind.startswith("ENUM"):
        return members[int(text) - 1]
    if kind.startswith("SET"):
        bits = int(text[2:-1], 2)
        return ",".join(member for bit, member in enumerate(members) if bits >> bit & 1)
    if kind.startswith("BIT"):
        return int(text[2:-1], 2)
    if "INT" in kind:
        signed, *unsigned = re.findall(r"-?\d+", text)
        return int(unsigned[0] if unsigned and column.endswith(":unsigned") else signed)
    if kind.startswith("DECIMAL"):
        return text
    plain = ast.literal_eval(text)
    if kind.startswith("DATE("):
        return plain
    if kind.startswith("DATE"):
        return plain.replace(":", "-")
    if kind.startswith("JSON"):
        return json.loads(plain)
    if column.endswith(":hex"):
        return {"$hex": plain.encode("latin1").hex()}
    return plain


def rows(text, tables):
    row = image = None
    for line in text.splitlines():
        if begin := re.match(r"### (INSERT INTO|UPDATE|DELETE FROM) `(.*)`\.`(.*)`$", line):
            if row:
                yield row
            op = begin[1].split()[0].lower()
            row = {"table": f"{begin[2]}.{begin[3]}", "op": op, "before": None, "after": None}
        elif line in ("### SET", "### WHERE"):
            image = row["after" if line == "### SET" else "before"] = {}
        elif cell := re.match(r"###   @(\d+)=(.*) /\* ([A-Z]+.*?) meta=", line):
            column, *members = tables[row["table"]][int(cell[1]) - 1]
            # A part of a document: what the whole is cannot be known from a row without the part before.
            if not cell[2].startswith("JSON_"):
                image[column.split(":")[0]] = value(cell[2], cell[3], column, members)
    if row:
        yield row


for file in sorted(here.glob("*.tables")):
    tables = json.loads(file.read_text())
    command = [sys.argv[1], "--no-defaults", "-vv", "--base64-output=DECODE-ROWS", str(file.with_suffix(".binlog"))]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = [json.dumps(row) + "\n" for row in rows(printed, tables)]
    file.with_suffix(".rows").write_text("".join(lines))
    print(file.stem, len(lines))
