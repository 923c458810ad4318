// Package schemas turns the value of a Kafka record into rows.
//
// A Decoder reads one value at a time: an Avro object container file as Aether's producers write it (schema embedded; codec null, deflate
// or snappy; 0..n rows), a JSON document, or text and bytes. The whole value is read before a row is handed out, so a damaged block never
// leaves half a record sent. What cannot be read is a *DecodeError: a reason, never a crash, and never the rows' contents.
//
// Rows are Values on a Doc, a flat tape in document order. In them
//
//   - unions are unwrapped by schema, never by shape: a map or record with one key is no union;
//   - longs are exact, a 32-bit float prints as itself, NaN and infinities are values without JSON;
//   - bytes and fixed are Bytes (base64 in JSON), decimals are decimal text, enums are text;
//   - logical types are their raw numbers, or RFC 3339 text with Config.LogicalText;
//   - members stand in the order of the writer's schema, or of the map or JSON as it came; of a map's or JSON object's members of the
//     same key the last one stays;
//   - text that is not UTF-8 has U+FFFD in place of each wrong byte.
package schemas
