package schemas

// Found says what a record's value was found to be: what its data is, and, of a CloudEvent, which mode it came in.
type Found uint8

// What the data is. FoundNothing is a tombstone, or a CloudEvent without data.
const (
	FoundNothing Found = iota
	FoundContainer
	FoundAvro         // with the id of its schema in a registry
	FoundSingleObject // with the fingerprint of its schema
	FoundJSON
	FoundRegistryJSON // with the id of its JSON Schema in a registry
	FoundText
	FoundBytes

	foundData Found = 1<<4 - 1
)

// The modes of a CloudEvent, added to what its data is.
const (
	FoundStructured Found = (iota + 1) << 4
	FoundBinary
	FoundBatch

	// FoundKinds is more than every Found.
	FoundKinds = 4 << 4
)

var (
	foundWords  = [...]string{"nothing", "container file", "avro (registry)", "avro (single object)", "json", "json (registry)", "text", "bytes"}
	foundModes  = [...]string{"", "cloudevent structured: ", "cloudevent binary: ", "cloudevent batch: "}
	foundFormat = [...]Format{FormatAuto, FormatAether, FormatAvro, FormatAvro, FormatJSON, FormatJSON, FormatBytes, FormatBytes}
)

// String gives the words of it: "json", "avro (registry)", "cloudevent binary: json".
func (f Found) String() string {
	if int(f&foundData) >= len(foundWords) || f >= FoundKinds {
		return "unknown"
	}
	return foundModes[f>>4] + foundWords[f&foundData]
}

// Format is the format by which it can be had alone.
func (f Found) Format() Format {
	switch {
	case f > foundData:
		return FormatCloudEvent
	case int(f) < len(foundFormat):
		return foundFormat[f]
	}
	return FormatAuto
}
