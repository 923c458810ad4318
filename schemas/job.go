package schemas

import _ "embed"

// Job is the JSON Schema of a job, for editors and for who writes jobs by program. It is the file job.schema.json.
//
//go:embed job.schema.json
var Job string
