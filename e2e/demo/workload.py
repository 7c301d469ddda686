"""Prints the SQL of one part of the demo's workload, the same for MySQL and MariaDB.

usage: workload.py tables|first|large|last [DATABASE TABLE]

first  about 20 000 changes in 400 transactions: inserts, updates, deletes, some rolled back
large  one transaction of 20 000 changes
last   an ALTER, then about 20 000 changes that use the new column
"""

import random
import sys

STATES = ["new", "paid", "packed", "shipped", "returned"]


def tables(database, table):
    yield f"CREATE DATABASE IF NOT EXISTS {database};"
    yield f"""CREATE TABLE IF NOT EXISTS {database}.{table} (
  id INT PRIMARY KEY, customer VARCHAR(40) NOT NULL, total DECIMAL(12,2) NOT NULL,
  status VARCHAR(16) NOT NULL, at DATETIME(6) NOT NULL, remark TEXT NULL) CHARACTER SET utf8mb4;"""


def insert(table, random_, numbers, extra=""):
    rows = ", ".join(
        f"({n}, 'customer {random_.randrange(5000)}', {random_.randrange(10**7) / 100:.2f}, 'new',"
        f" '2026-01-01 00:00:00.{n % 10**6:06d}', {'NULL' if n % 3 else repr('grüße ' + str(n))}{extra})"
        for n in numbers
    )
    return f"INSERT INTO {table} VALUES {rows};"


def transactions(table, random_, first, count, extra=""):
    """Each inserts 25 rows, updates 20 of them and deletes 5 older ones; one in 20 is rolled back."""
    for number in range(count):
        start = first + number * 25
        yield "BEGIN;"
        yield insert(table, random_, range(start, start + 25), extra)
        state = random_.choice(STATES)
        yield f"UPDATE {table} SET status = '{state}', total = total + 1 WHERE id BETWEEN {start} AND {start + 19};"
        if number:
            yield f"DELETE FROM {table} WHERE id BETWEEN {start - 5} AND {start - 1};"
        yield "ROLLBACK;" if number % 20 == 19 else "COMMIT;"


def part(name, database, table):
    full = f"{database}.{table}"
    random_ = random.Random(name)
    if name == "tables":
        yield from tables(database, table)
    elif name == "first":
        yield from transactions(full, random_, 1, 425)
    elif name == "large":
        yield "BEGIN;"
        for start in range(100_001, 120_001, 500):
            yield insert(full, random_, range(start, start + 500))
        yield "COMMIT;"
    elif name == "last":
        yield f"ALTER TABLE {full} ADD COLUMN carrier VARCHAR(20) NULL;"
        yield from transactions(full, random_, 200_001, 425, ", 'post'")
        yield f"UPDATE {full} SET status = 'paid' WHERE id = 4711;"
        yield f"UPDATE {full} SET status = 'shipped' WHERE id = 4711;"
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 4):
        sys.exit(__doc__)
    for line in part(sys.argv[1], *(sys.argv[2:] or ["shop", "orders"])):
        print(line)
