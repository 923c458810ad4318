"""Makes the container files in aether/ and python/ and, beside each, the rows that Python's own reader finds in it (NAME.rows.json, one
JSON row a line). See README.md; the tests need neither this script nor Python.

    pip install spavro==1.1.27 fastavro==1.13.1 avro==1.12.2 python-snappy==0.7.3 && python make.py
"""
import base64, datetime, decimal, glob, io, json, os, struct, sys, zlib

import avro.datafile, avro.io, avro.schema, fastavro, spavro.datafile, spavro.io, spavro.schema

here = os.path.dirname(os.path.abspath(__file__))
out = os.path.join(here, "python")
SYNC = b"sync marker here"
TEXT_READERS = dict(fastavro.read.LOGICAL_READERS)
RAW_READERS = {k: v for k, v in TEXT_READERS.items() if k.endswith("decimal")}


def shortest32(x):
    for digits in range(1, 10):
        short = float(f"{x:.{digits}g}")
        if abs(short) < 3.4028235677973366e38 and struct.pack("<f", short) == struct.pack("<f", x):
            return short
    return x


floats = set()  # names of the fields of 32-bit floats in the schema at hand


def find_floats(schema):
    if isinstance(schema, list):
        for s in schema:
            find_floats(s)
    elif isinstance(schema, dict):
        for f in schema.get("fields", []):
            if "float" in (f["type"], f["type"][-1:][0] if isinstance(f["type"], list) else None) or isinstance(f["type"], dict) and f["type"].get("items") == "float":
                floats.add(f["name"])
            find_floats(f["type"])
        for key in ("type", "items", "values"):
            find_floats(schema.get(key))


def plain(x, key=""):
    if isinstance(x, dict):
        return {k: plain(v, k) for k, v in x.items()}
    if isinstance(x, list):
        return [plain(v, key) for v in x]
    if isinstance(x, bytes):
        return base64.b64encode(x).decode()
    if isinstance(x, decimal.Decimal):
        return f"{x:f}"
    if isinstance(x, datetime.datetime):
        text = x.replace(tzinfo=None).isoformat()
        if "." in text:
            text = text.rstrip("0")
        return text + ("Z" if x.tzinfo else "")
    if isinstance(x, (datetime.date, datetime.time)):
        text = x.isoformat()
        return text.rstrip("0") if "." in text else text
    if isinstance(x, float) and key in floats:
        return shortest32(x)
    return x


def rows_of(path, readers):
    fastavro.read.LOGICAL_READERS.clear()
    fastavro.read.LOGICAL_READERS.update(readers)
    with open(path, "rb") as f:
        reader = fastavro.reader(f)
        floats.clear()
        find_floats(reader.writer_schema)
        return [plain(row) for row in reader]


def expect(path, suffix=".rows.json", readers=RAW_READERS):
    with open(path[: -len(".avro")] + suffix, "w", encoding="utf-8") as f:
        for row in rows_of(path, readers):
            f.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


def by_spavro(name, schema, rows, codec, own_reader=False):
    path = os.path.join(out, name + ".avro")
    w = spavro.datafile.DataFileWriter(open(path, "wb"), spavro.io.DatumWriter(), spavro.schema.parse(json.dumps(schema)), codec)
    for row in rows:
        w.append(row)
    w.close()
    if own_reader:  # fastavro is stricter than the library that Aether's consumers read with
        rows = list(spavro.datafile.DataFileReader(open(path, "rb"), spavro.io.DatumReader()))
        with open(path[: -len(".avro")] + ".rows.json", "w", encoding="utf-8") as f:
            f.writelines(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
    else:
        expect(path)


def by_avro(name, schema, rows, codec):
    path = os.path.join(out, name + ".avro")
    w = avro.datafile.DataFileWriter(open(path, "wb"), avro.io.DatumWriter(), avro.schema.parse(json.dumps(schema)), codec=codec)
    for row in rows:
        w.append(row)
    w.close()
    expect(path)


def by_fastavro(name, schema, rows, codec="null", interval=16000, text=False):
    path = os.path.join(out, name + ".avro")
    with open(path, "wb") as f:
        fastavro.writer(f, schema, rows, codec=codec, sync_interval=interval, sync_marker=SYNC)
    expect(path)
    if text:
        expect(path, ".text.rows.json", TEXT_READERS)


def long(n):
    n = (n << 1) ^ (n >> 63)
    b = bytearray()
    while n > 0x7F:
        b.append(n & 0x7F | 0x80)
        n >>= 7
    b.append(n)
    return bytes(b)


def data(b):
    return long(len(b)) + b


def by_hand(name, schema_text, blocks, meta=(), negative=False, read=True):
    """Writes the container byte by byte. blocks: (count, data). negative: the header's map has a negative count and a size."""
    entries = b"".join(data(k.encode()) + data(v) for k, v in [("avro.schema", schema_text.encode()), *meta])
    count = 1 + len(meta)
    head = long(-count) + long(len(entries)) if negative else long(count)
    path = os.path.join(out, name + ".avro")
    with open(path, "wb") as f:
        f.write(b"Obj\x01" + head + entries + long(0) + SYNC)
        for rows, block in blocks:
            f.write(long(rows) + data(block) + SYNC)
    if read:
        expect(path)


def datum(schema, row):
    b = io.BytesIO()
    fastavro.schemaless_writer(b, fastavro.parse_schema(schema), row)
    return b.getvalue()


person = {
    "type": "record", "name": "Person", "namespace": "org.eha.demo", "doc": "a person",
    "fields": [
        {"name": "id", "type": "string", "@aether_extended_type": "string"},
        {"name": "_rev", "type": ["null", "string"], "default": None},
        {"name": "name", "type": "string", "aetherMaskingLevel": "private"},
        {"name": "dateOfBirth", "type": ["null", "string"], "default": None, "aetherMaskingLevel": "confidential"},
        {"name": "villageID", "type": "string", "aetherMaskingLevel": "public"},
        {"name": "age", "type": ["null", "int"]},
        {"name": "approved", "type": "boolean"},
    ],
}
people = [
    {"id": f"p-{i:04}", "_rev": None if i % 3 else str(i), "name": f"Näme {i} 👩", "dateOfBirth": None, "villageID": f"v{i % 7}", "age": i if i % 2 else None, "approved": i % 2 == 0}
    for i in range(40)
]

by_spavro("person-null", person, people[:3], "null")
by_spavro("person-deflate", person, people[:3], "deflate")
by_spavro("zero-rows", person, [], "deflate")
by_avro("person-avro-deflate", person, people, "deflate")
by_avro("person-avro-snappy", person, people, "snappy")
by_fastavro("person-fastavro-snappy", person, people, "snappy")
by_fastavro("many-blocks-deflate", person, people * 10, "deflate", interval=300)
by_fastavro("many-blocks-null", person, people, "null", interval=100)

one = lambda name, field, t: {"type": "record", "name": name, "fields": [{"name": field, "type": t}]}
by_fastavro("unions", {
    "type": "record", "name": "Unions", "fields": [
        {"name": "label", "type": "string"},
        {"name": "any", "type": ["null", "boolean", "long", "double", "string", "bytes",
                                 one("string_", "string", "string"),
                                 one("Outer", "inner", ["null", one("Inner", "long", ["string", "null"])]),
                                 {"type": "enum", "name": "E", "symbols": ["string", "null_"]},
                                 {"type": "fixed", "name": "F", "size": 3},
                                 {"type": "array", "items": ["null", "int"]},
                                 {"type": "map", "values": ["null", "string", {"type": "map", "values": "int"}]}]},
    ],
}, [
    {"label": "null", "any": None},
    {"label": "boolean", "any": True},
    {"label": "long", "any": 9007199254740993},
    {"label": "double", "any": 2.5},
    {"label": "string", "any": "string"},
    {"label": "bytes", "any": b"\x00\xff"},
    {"label": "record of one field named like a type", "any": ("string_", {"string": "x"})},
    {"label": "record in a union in a record in a union", "any": ("Outer", {"inner": {"long": "deep"}})},
    {"label": "the same with null inside", "any": ("Outer", {"inner": None})},
    {"label": "enum", "any": ("E", "null_")},
    {"label": "fixed", "any": ("F", b"abc")},
    {"label": "list", "any": [1, None, -1]},
    {"label": "empty list", "any": []},
    {"label": "map of one key named like a type", "any": {"string": "x"}},
    {"label": "map of a map of one key", "any": {"map": {"int": 1}}},
    {"label": "map with null", "any": {"null": None}},
    {"label": "empty map", "any": {}},
])

by_fastavro("types", {
    "type": "record", "name": "Types", "fields": [
        {"name": "int", "type": {"type": "array", "items": "int"}},
        {"name": "long", "type": {"type": "array", "items": "long"}},
        {"name": "float32", "type": {"type": "array", "items": "float"}},
        {"name": "double", "type": {"type": "array", "items": "double"}},
        {"name": "bytes", "type": {"type": "array", "items": "bytes"}},
        {"name": "fixed", "type": {"type": "fixed", "name": "F16", "size": 16}},
        {"name": "enum", "type": {"type": "enum", "name": "Suit", "symbols": ["SPADES", "HEARTS"]}},
        {"name": "map", "type": {"type": "map", "values": "long"}},
        {"name": "nothing", "type": "null"},
        {"name": "empty", "type": {"type": "record", "name": "Empty", "fields": []}},
    ],
}, [{
    "int": [0, -1, 2147483647, -2147483648],
    "long": [0, 64, -65, 9007199254740993, 9223372036854775807, -9223372036854775808],
    "float32": [0.1, 1.5, -3.25, 16777216.0, 3.4028234e38],
    "double": [0.1, 1.5, -1e300, 1 / 3, 123456789012345680.0],
    "bytes": [b"", b"\x00", bytes(range(256))],
    "fixed": bytes(range(16)), "enum": "HEARTS", "map": {"z": 1, "a": 2, "": 3, "ключ": 4}, "nothing": None, "empty": {},
}])

utc = datetime.timezone.utc
by_fastavro("logical", {
    "type": "record", "name": "Logical", "fields": [
        {"name": "date", "type": {"type": "int", "logicalType": "date"}},
        {"name": "time_ms", "type": {"type": "int", "logicalType": "time-millis"}},
        {"name": "time_us", "type": {"type": "long", "logicalType": "time-micros"}},
        {"name": "ts_ms", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "ts_us", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]},
        {"name": "local_ms", "type": {"type": "long", "logicalType": "local-timestamp-millis"}},
        {"name": "local_us", "type": {"type": "long", "logicalType": "local-timestamp-micros"}},
        {"name": "uuid", "type": {"type": "string", "logicalType": "no-such-type"}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 40, "scale": 2}},
        {"name": "whole", "type": {"type": "bytes", "logicalType": "decimal", "precision": 5}},
        {"name": "rate", "type": {"type": "fixed", "name": "Rate", "size": 8, "logicalType": "decimal", "precision": 18, "scale": 6}},
        {"name": "beside", "type": "long", "logicalType": "timestamp-millis"},
    ],
}, [
    {"date": datetime.date(2024, 2, 29), "time_ms": datetime.time(23, 59, 59, 999000), "time_us": datetime.time(0, 0, 0, 1),
     "ts_ms": datetime.datetime(2024, 2, 29, 12, 30, 0, 120000, utc), "ts_us": datetime.datetime(1969, 12, 31, 23, 59, 59, 999999, utc),
     "local_ms": datetime.datetime(2024, 2, 29, 12, 30), "local_us": datetime.datetime(1, 1, 1, 0, 0, 0, 1),
     "uuid": "x", "price": decimal.Decimal("-0.05"), "whole": decimal.Decimal("-128"), "rate": decimal.Decimal("123456.000100"), "beside": 5},
    {"date": datetime.date(1, 1, 1), "time_ms": datetime.time(0), "time_us": datetime.time(12, 0),
     "ts_ms": datetime.datetime(9999, 12, 31, 23, 59, 59, 999000, utc), "ts_us": None,
     "local_ms": datetime.datetime(1970, 1, 1), "local_us": datetime.datetime(2000, 1, 1),
     "uuid": "", "price": decimal.Decimal("12345678901234567890123456789012345678.90"), "whole": decimal.Decimal("0"), "rate": decimal.Decimal("-0.000001"), "beside": -5},
], text=True)

by_fastavro("recursive", {
    "type": "record", "name": "Node", "namespace": "tree", "fields": [
        {"name": "value", "type": "int"},
        {"name": "children", "type": {"type": "array", "items": "Node"}},
        {"name": "next", "type": ["null", "tree.Node"]},
    ],
}, [{"value": 1, "children": [{"value": 2, "children": [], "next": None}, {"value": 3, "children": [{"value": 4, "children": [], "next": None}], "next": None}],
     "next": {"value": 5, "children": [], "next": {"value": 6, "children": [], "next": None}}}])

by_fastavro("names", {
    "type": "record", "name": "a.b.Root", "aliases": ["Old"], "fields": [
        {"name": "first", "type": {"type": "enum", "name": "Kind", "symbols": ["X", "Y"], "doc": "a.b.Kind"}},
        {"name": "second", "type": "Kind", "aliases": ["deux"]},
        {"name": "third", "type": "a.b.Kind"},
        {"name": "other", "type": {"type": "record", "name": "Other", "namespace": "c", "fields": [
            {"name": "k", "type": {"type": "enum", "name": "Kind", "symbols": ["P", "Q"]}}, {"name": "l", "type": "Kind"}, {"name": "m", "type": "a.b.Kind"}]}},
        {"name": "again", "type": ["null", "c.Other"]},
    ],
}, [{"first": "X", "second": "Y", "third": "Y", "other": {"k": "P", "l": "Q", "m": "X"}, "again": {"k": "Q", "l": "P", "m": "Y"}}])

by_spavro("names-against-the-rule", {
    "type": "record", "name": "7 up-form", "namespace": "org.eha-x", "fields": [
        {"name": "my-field", "namespace": "7-up", "type": "string"},
        {"name": "a.b", "type": ["null", {"type": "enum", "name": "E-1", "symbols": ["not-known", "2"]}]},
        {"name": "été", "type": ["null", "E-1"]},
    ],
}, [{"my-field": "x", "a.b": "not-known", "été": "2"}, {"my-field": "", "a.b": None, "été": None}], "deflate", own_reader=True)

texts = ["", "é", "👩🏽‍🚀", "日本語", "quote \" backslash \\ slash /", "tab\tnewline\nreturn\r", "\x00\x01\x1f\x7f", "\u2028\u2029\ufeff", "x" * 5000]
by_fastavro("text", {"type": "record", "name": "T", "fields": [{"name": "s", "type": "string"}]}, [{"s": s} for s in texts], "deflate")
by_fastavro("scalar-rows", "string", texts[:4])
by_fastavro("null-rows", "null", [None] * 5)

number = {"type": "record", "name": "N", "fields": [{"name": "f", "type": "float"}, {"name": "d", "type": "double"}]}
by_hand("not-a-number", json.dumps(number), [(1, datum(number, {"f": float("nan"), "d": float("-inf")}))], read=False)

plain_person = {**person, "fields": [{"name": f["name"], "type": f["type"]} for f in person["fields"]]}
block = b"".join(datum(plain_person, p) for p in people[:2])
by_hand("no-codec", json.dumps(person), [(2, block)])
by_hand("negative-count-in-header", json.dumps(person), [(2, block)], [("avro.codec", b"null"), ("writer", b"by hand")], negative=True)
deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
by_hand("deflate-with-bytes-after-it", json.dumps(person), [(2, deflater.compress(block) + deflater.flush() + b"\x00\x01\x02")], [("avro.codec", b"deflate")], read=False)

misfit = {"type": "record", "name": "Misfit", "fields": [
    {"name": "a", "type": ["null", "string"], "default": "none"},
    {"name": "b", "type": "int", "default": "zero"},
    {"name": "c", "type": {"type": "array", "items": "string"}, "default": None},
    {"name": "d", "type": "boolean", "default": "false", "choices": [{"label": "Yes", "value": "y"}]},
]}
layout = {**misfit, "fields": [{"name": f["name"], "type": f["type"]} for f in misfit["fields"]]}
by_hand("misfit-default", json.dumps(misfit), [(1, datum(layout, {"a": None, "b": 1, "c": ["x"], "d": True}))], read=False)
with open(os.path.join(out, "misfit-default.rows.json"), "w") as f:
    f.write('{"a":null,"b":1,"c":["x"],"d":true}\n')

lists = {"type": "record", "name": "L", "fields": [{"name": "l", "type": {"type": "array", "items": "int"}}, {"name": "m", "type": {"type": "map", "values": "int"}}]}
items = long(1) + long(2)
pairs = data(b"a") + long(1)
by_hand("negative-counts-in-data", json.dumps(lists), [(1, long(-2) + data(items)[:1] + items + long(1) + long(3) + long(0) + long(-1) + long(len(pairs)) + pairs + long(1) + data(b"b") + long(2) + long(0))])

for path in glob.glob(os.path.join(here, "aether", "*.avro")):
    expect(path)
