"""The order of the binlog, for everything that reads a change log."""

import pyarrow as pa
import pyarrow.compute as pc

PLACE = ["stint", "number", "position", "event_ordinal", "row_ordinal"]


def ordered(changes):
    """The rows as they stand in the binlog. A lineage begins with its number, a file ends with one."""
    def number(column, pattern):
        digits = pc.replace_substring_regex(changes[column], pattern=pattern, replacement="")
        return digits.cast(pa.int64())

    places = changes.append_column("stint", number("lineage", "-.*$"))
    places = places.append_column("number", number("file", r"^.*\."))
    places = places.sort_by([(column, "ascending") for column in PLACE])
    return places.select(changes.column_names)
