package job

import (
	"strings"
	"testing"

	"streamer/mapping"
)

// A step takes along the token of whom the job does where the job goes, of whom another part does where that one goes, and nobody's elsewhere.
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
		"elsewhere":                 {storage("{$.msg.by}"), "url: 'https://b.example.org/'", " ann"},
		"elsewhere, whoever it is":  {storage("{$.msg.nobody}"), "url: 'https://b.example.org/'", " "},
		"of an entity elsewhere":    {storage("{$.msg.by}"), "read_or_create: {read: {url: 'https://b.example.org/'}, create: {url: 'https://b.example.org:443/x'}}", " ann"},
		"of a later step":           {storage("{$.msg.by}"), "url: 'https://b.example.org/'}, {name: t, url: 'https://b.example.org/', " + storage("robot"), "robot ann"},
		"of a bearer elsewhere":     {storage("{$.msg.by}"), "url: 'https://b.example.org/'}, {name: t, url: 'https://b.example.org/', auth: {bearer: x}", " ann"},
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
			if strings.Contains(name, "whoever") {
				if got := parts[0].Call; got.User != "" || got.URL != "https://b.example.org/" {
					t.Errorf("the step is %+v", got)
				}
				if _, _, err := parts[0].Flow.Next(&mapping.Response{Status: 200, Body: []byte(`{}`)}); err == nil || !strings.Contains(err.Error(), "found no user") {
					t.Errorf("the row's own request is for nobody, and the error %v", err)
				}
				return
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

// What goes to two places at once cannot have the tokens of two users.
func TestWhoseTokenMustBeOne(t *testing.T) {
	t.Parallel()
	const storage = "auth: {token_storage: {url: 'https://tokens.example.org', service: s, user: '{$.msg.by}'}}"
	for step, want := range map[string][]string{
		"url: {when: $.msg.id, then: 'https://api.example.org/', else: 'https://b.example.org/'}":                                            {"steps[0]: goes where tokens of different users go along, or none"},
		"read_or_create: {read: {url: 'https://b.example.org/'}, create: {url: 'https://api.example.org/'}}":                                 {"steps[0]: goes where tokens of different users go along, or none"},
		"url: 'https://b.example.org/'}, {name: t, url: 'https://b.example.org/', " + storage + "}, {name: u, url: 'https://c.example.org/'": nil,
		"url: {when: $.msg.id, then: 'https://c.example.org/', else: 'https://b.example.org/'}":                                              nil,
	} {
		_, faults := parseOne(t, "job.yaml", jobText(storage, "steps: [{name: s, "+step+"}]")).Compile(Process{Namespace: "streamer"})
		checkFaults(t, faults, want)
	}
}

// The method of a record event takes along the token of whom the job does, unless it has one of its own.
func TestWhoseTokenGoesAlongWithAnEvent(t *testing.T) {
	t.Parallel()
	text := `{id: e, owner: demo, topic: [events], auth: {token_storage: {url: 'https://tokens.example.org', service: s, user: '{$.identity.name}'}},
		events: {rdm_record: {'https://a.example.org/': {publish: {http_method: POST}}, 'https://b.example.org/': {publish: {http_method: POST, auth_token: x}}}}}`
	cfg, faults := parseOne(t, "job.yaml", text).Compile(Process{Namespace: "streamer"})
	checkFaults(t, faults, nil)
	row := parseOne(t, "row.json", `{"service_type": "rdm_record", "service_method": "publish", "record": {"id": 1}, "identity": {"name": "ann"}}`).value
	parts, _, err := cfg.Program.NewMapper().Map(&mapping.Message{Msg: row}, nil)
	if err != nil || len(parts) != 2 || parts[0].Err != nil || parts[1].Err != nil {
		t.Fatal(parts, err)
	}
	if parts[0].Call.User != "ann" || parts[1].Call.User != "" {
		t.Errorf("users %q and %q", parts[0].Call.User, parts[1].Call.User)
	}
}
