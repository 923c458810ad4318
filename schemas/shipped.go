package schemas

import _ "embed"

// Job is the JSON Schema of a job, for editors and for who writes jobs by program. It is the file job.schema.json.
//
//go:embed job.schema.json
var Job string

// RecordEvent is the Avro schema of a record event: the file record_event.avsc.
//
//go:embed record_event.avsc
var RecordEvent string

// RecordEventJSON is the JSON Schema of a record event: the file record_event.schema.json.
//
//go:embed record_event.schema.json
var RecordEventJSON string
