package job

import (
	"strings"
	"testing"
)

// What stands in files is a job or a connection, whatever file it is in; jobs use the connections that stand there.
func TestSetHasConnections(t *testing.T) {
	t.Parallel()
	var set Set
	set.Parse("a.yaml", []byte(`name: crm
owner: o
base_url: https://crm.example.org/api
---
id: one
owner: o
type: PUT
topic: [t]
datamap: {id: $.msg.id}
connection: crm
url: /{id}
---
- {id: two, owner: o, type: PUT, topic: [t], datamap: {id: $.msg.id}, connection: crn, url: "/{id}"}
- {id: three, owner: p, type: PUT, topic: [t], datamap: {id: $.msg.id}, connection: crm, url: "/{id}"}
- {id: four, owner: o, type: PUT, topic: [t], datamap: {id: $.msg.id}, connection: bad, url: "/{id}"}
- {id: five, owner: o, type: PUT, topic: [t], datamap: {id: $.msg.id}, url: "https://x.example.org/{id}", name: x, base_url: y}
`))
	set.Parse("b.json", []byte(`[{"name": "bad", "owner": "o", "base_url": "ftp://x"}, {"name": "twice", "owner": "*", "base_url": "https://a.example.org"},
{"name": "twice", "owner": "*", "base_url": "https://b.example.org"}, {"owner": "*", "base_url": "https://b.example.org"}, {"id": "six", "owner": "o", "base_url": "https://b.example.org"}]`))
	if len(set.Jobs) != 5 || len(set.Connections) != 6 || len(set.Broken) != 0 {
		t.Fatalf("%d jobs, %d connections, %v", len(set.Jobs), len(set.Connections), set.Broken)
	}
	p := Process{Namespace: "streamer"}
	var got []string
	for _, c := range set.CompileConnections(p) {
		for _, f := range c.Findings(c.Faults) {
			if f.Connection != c.Name || f.Job != "" {
				t.Errorf("%+v", f)
			}
			got = append(got, f.Error())
		}
	}
	jobs := set.Compile(p)
	for _, c := range jobs {
		for _, f := range c.Findings(c.Faults) {
			got = append(got, f.Error())
		}
	}
	for _, want := range []string{
		"b.json:1: base_url: ",
		`b.json:1: name: connection "twice" stands in b.json:2 too; keep one of them`,
		`b.json:2: name: connection "twice" stands in b.json:1 too; keep one of them`,
		"b.json:2: name: is missing",
		"b.json:2: id: unknown key",
		`a.yaml:13: warning: connection: connection "crn" stands in none of these files; did you mean crm? Else it has to be there when the job is stored`,
		`a.yaml:14: connection: connection "crm" of a.yaml:1 is for jobs of o, not of p; let both have one owner, or the connection the owner "*"`,
		`a.yaml:15: connection: connection "bad" of b.json:1 has faults of its own; mend them first`,
		"a.yaml:16: warning: base_url: unknown key",
	} {
		if !strings.Contains(strings.Join(got, "\n"), want) {
			t.Errorf("no %q in\n%s", want, strings.Join(got, "\n"))
		}
	}
	if one := jobs[0]; one.Faults.Err() != nil || one.Config.Sink.Target != "crm" || one.Config.Sink.Origin != "https://crm.example.org:443" {
		t.Errorf("%v, %+v", one.Faults, one.Config.Sink)
	}
}

// Files whose dead letters go round are all refused, each with its way; one that only leads there is not.
func TestSetRefusesDeadLettersThatGoRound(t *testing.T) {
	t.Parallel()
	var set Set
	set.Parse("a.yaml", []byte(`
- {id: a, owner: o, type: PUT, topic: [s, streamer.out.b-lost], url: "https://api.test/{id}", datamap: {id: $.msg.id}, dead_letter: {topic: streamer.out.a-lost}}
- {id: b, owner: p, type: PUT, topic: ['^streamer\.out\.a-.*$'], url: "https://api.test/{id}", datamap: {id: $.msg.id}, dead_letter: {topic: streamer.out.b-lost}}
- {id: c, owner: o, type: PUT, topic: [s], url: "https://api.test/{id}", datamap: {id: $.msg.id}, dead_letter: {topic: streamer.out.b-lost}}
- {id: d, owner: o, type: PUT, topic: [streamer.out.e], url: "https://api.test/{id}", datamap: {id: $.msg.id}, callback: {}}
- {id: e, owner: o, type: PUT, topic: [streamer.out.d], url: "https://api.test/{id}", datamap: {id: $.msg.id}, callback: {}}
`))
	var got []string
	for _, c := range set.Compile(Process{Namespace: "streamer"}) {
		for _, f := range c.Findings(c.Faults) {
			got = append(got, f.Error())
		}
	}
	want := []string{
		"a.yaml:2: dead_letter.topic: its dead letters come back to it: a -> streamer.out.a-lost -> b -> streamer.out.b-lost -> a; ",
		"a.yaml:3: dead_letter.topic: its dead letters come back to it: b -> streamer.out.b-lost -> a -> streamer.out.a-lost -> b; ",
		"a.yaml:5: warning: callback.topic: what it writes comes back to it: d -> streamer.out.d -> e -> streamer.out.e -> d; ",
		"a.yaml:6: warning: callback.topic: what it writes comes back to it: e -> streamer.out.e -> d -> streamer.out.d -> e; ",
	}
	if len(got) != len(want) {
		t.Fatalf("%s", strings.Join(got, "\n"))
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("%s, want %s", got[i], want[i])
		}
	}
}
