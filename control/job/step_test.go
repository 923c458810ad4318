package job

import (
	"testing"

	"streamer/mapping"
)

// A step takes along the token of whom the job does, unless it logs in by itself; and below a connection it is.
func TestWhoseTokenGoesAlongWithAStep(t *testing.T) {
	t.Parallel()
	storage := func(user string) string {
		return "auth: {token_storage: {url: 'https://tokens.example.org', service: s, user: '" + user + "'}}"
	}
	const create = "read_or_create: {read: {url: 'https://api.example.org/'}, create: {url: 'https://api.example.org/'}}"
	for name, test := range map[string]struct{ job, step, want string }{
		"the job's":                 {storage("{$.msg.by}"), "url: 'https://api.example.org/'", "ann ann"},
		"its own":                   {storage("{$.msg.by}"), "url: 'https://b.example.org/', " + storage("robot"), "robot ann"},
		"nobody's":                  {storage("{$.msg.by}"), "url: 'https://b.example.org/', auth: {bearer: x}", " ann"},
		"of an entity, the job's":   {storage("{$.msg.by}"), create, "ann ann"},
		"of an entity, its own":     {storage("portal"), "read_or_create: {read: {url: 'https://b.example.org/'}}, " + storage("{$.msg.by}"), "ann portal"},
		"of a job without a person": {"auth: {bearer: x}", create, " "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := Process{Namespace: "streamer"}
			cfg, faults := parseOne(t, "job.yaml", jobText(test.job, "steps: [{name: s, "+test.step+"}]")).Compile(p)
			if err := faults.Err(); err != nil {
				t.Fatal(err)
			}
			row := parseOne(t, "row.json", `{"id": 7, "by": "ann"}`).value
			parts, _, err := cfg.Program.NewMapper().Map(&mapping.Message{Msg: row}, nil)
			if err != nil || len(parts) != 1 || parts[0].Err != nil {
				t.Fatal(parts, err)
			}
			last, done := parts[0].Call, false
			for last.Step != "" && !done {
				if last, done, err = parts[0].Flow.Next(&mapping.Response{Status: 200, Body: []byte(`{"id": 1}`)}); err != nil {
					t.Fatal(err)
				}
			}
			if got := parts[0].Call.User + " " + last.User; got != test.want {
				t.Errorf("whose: %q, want %q", got, test.want)
			}
		})
	}
}
