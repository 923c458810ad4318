package invenio

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"streamer/consumer"
	"streamer/control/job"
	"streamer/schemas"
	"streamer/schemas/schemastest"
)

// The methods of InvenioRDM's services that a day has all of.
var methodsOf = map[string][]string{
	"rdm_record": {"create", "update_tombstone", "search", "scan", "read", "publish", "delete_record", "restore_record", "mark_record",
		"unmark_record", "update_draft", "edit", "new_version", "delete_draft", "import_files", "read_draft", "search_drafts",
		"search_versions", "lift_embargo"},
	"community": {"create", "update_tombstone", "search", "scan", "read", "update", "rename", "scan_versions", "delete_community",
		"restore_community", "search_user_communities", "search_community_requests", "featured_search", "featured_create",
		"featured_update", "featured_delete", "mark", "unmark"},
}

// dict is any JSON object.
type dict map[string]any

// day makes the events of a day in a repository, in their order.
type day struct {
	at     time.Time
	events []dict
}

func (d *day) tell(service, method string, arguments dict) {
	d.at = d.at.Add(7 * time.Minute)
	e := dict{"service_type": service, "service_method": method, "time": d.at.Format(time.RFC3339),
		"identity": dict{"id": "3"}, "owner": dict{"id": "3", "username": "ada", "email": "ada@example.org"}, "errors": []any{}}
	maps.Copy(e, arguments)
	d.events = append(d.events, e)
}

// version is a record as the service has it.
func version(id, title, access string, index int, latest bool, custom dict) dict {
	return dict{
		"id": id, "updated": "2026-03-02T08:00:00.123456+00:00", "is_published": true,
		"parent":   dict{"id": "p-" + id[:2], "access": dict{"owned_by": dict{"user": 3}}, "communities": dict{"ids": []string{"c-1"}}},
		"versions": dict{"index": index, "is_latest": latest},
		"access":   dict{"record": access, "files": access, "embargo": dict{"active": false}},
		"metadata": dict{"title": title, "publication_date": "2026-03-02", "resource_type": dict{"id": "dataset"},
			"creators": []any{dict{"person_or_org": dict{"name": "Lovelace, Ada", "type": "personal"}}}},
		"pids":          dict{"doi": dict{"identifier": "10.5072/" + id, "provider": "datacite"}},
		"custom_fields": custom,
	}
}

func aDay() []dict {
	d := &day{at: time.Date(2026, 3, 2, 7, 53, 0, 0, time.UTC)}
	of := func(record dict) dict { return dict{"record": record} }
	drafted := func(record dict) dict {
		return dict{"record": record, "draft": dict{"id": record["id"], "is_draft": true}}
	}
	query := func(q string) dict { return dict{"params": dict{"q": q, "size": 25}} }

	// A public record: drafted, published, found by search, changed, and written back to by a callback.
	tides := version("aa1x0-7pt21", "Tides & <b>winds</b>", "public", 1, true, dict{})
	d.tell("rdm_record", "create", drafted(tides))
	d.tell("rdm_record", "update_draft", dict{"record": tides, "data": dict{"metadata": dict{"title": "Tides"}}, "errors": []any{dict{"field": "metadata.creators"}}})
	d.tell("rdm_record", "import_files", drafted(tides))
	d.tell("rdm_record", "read_draft", dict{"draft": dict{"id": "aa1x0-7pt21"}})
	d.tell("rdm_record", "publish", drafted(tides))
	written := version("aa1x0-7pt21", "Tides & <b>winds</b>", "public", 1, true,
		dict{"search:id": "doc-77", "search:updated": d.at.Add(7*time.Minute - 2*time.Second).Format("2006-01-02T15:04:05.999999")})
	d.tell("rdm_record", "publish", drafted(written)) // the echo of the callback's write
	d.tell("rdm_record", "read", of(written))
	d.tell("rdm_record", "search", query("tides"))
	d.tell("rdm_record", "scan", query("*"))
	d.tell("rdm_record", "edit", drafted(written))
	d.tell("rdm_record", "publish", drafted(written)) // long after
	// Its second version.
	second := version("aa2x0-8qu32", "Tides, corrected", "public", 2, true, dict{})
	d.tell("rdm_record", "new_version", drafted(second))
	d.tell("rdm_record", "publish", drafted(second))
	d.tell("rdm_record", "search_versions", query(""))
	// A restricted one, which nobody but the archive hears of, until its embargo is over.
	patient := version("bb1r0-9rv43", "A patient", "restricted", 1, true, dict{})
	d.tell("rdm_record", "create", drafted(patient))
	d.tell("rdm_record", "search_drafts", query("patient"))
	d.tell("rdm_record", "publish", drafted(patient))
	d.tell("rdm_record", "edit", drafted(patient))
	d.tell("rdm_record", "delete_draft", drafted(patient))
	d.tell("rdm_record", "delete_record", dict{"record": patient, "data": dict{"removal_reason": dict{"id": "privacy"}}})
	d.tell("rdm_record", "mark_record", of(patient))
	d.tell("rdm_record", "unmark_record", of(patient))
	open := version("cc1e0-0sw54", "Once under embargo", "public", 1, true, dict{"search:id": "doc-78"})
	d.tell("rdm_record", "lift_embargo", of(open))
	// Deleted, told why, and restored.
	d.tell("rdm_record", "delete_record", dict{"record": open, "data": dict{"removal_reason": dict{"id": "retracted"}}})
	d.tell("rdm_record", "update_tombstone", dict{"record": open, "data": dict{"removal_reason": dict{"id": "test-record"}}})
	d.tell("rdm_record", "restore_record", of(open))

	// Communities: a public and a restricted one.
	public := dict{"id": "c-1", "slug": "oceans", "access": dict{"visibility": "public"}, "metadata": dict{"title": "Oceans"}}
	closed := dict{"id": "c-2", "slug": "board", "access": dict{"visibility": "restricted"}, "metadata": dict{"title": "Board"}}
	for _, c := range []dict{public, closed} {
		d.tell("community", "create", of(c))
		d.tell("community", "update", dict{"record": c, "data": c})
		d.tell("community", "rename", dict{"record": c, "data": dict{}, "old_slug": c["slug"], "slug": c["slug"].(string) + "-2"})
	}
	for _, m := range []string{"search", "scan", "scan_versions", "search_user_communities", "search_community_requests", "featured_search"} {
		d.tell("community", m, query("ocean"))
	}
	for _, m := range []string{"read", "featured_create", "featured_update", "featured_delete", "delete_community", "update_tombstone", "mark",
		"unmark", "restore_community"} {
		d.tell("community", m, of(public))
	}
	// The names that InvenioRDM's own methods have.
	d.tell("records", "delete", dict{"record": second, "data": dict{}})
	d.tell("communities", "restore", of(closed))
	return d.events
}

// fill writes what filled-in.yaml has for the marked places of a job.
func fill(t *testing.T, n *yaml.Node, by map[string]yaml.Node) {
	t.Helper()
	for i, child := range n.Content {
		rest, marked := strings.CutPrefix(child.Value, job.FillIn+": ")
		if !marked {
			fill(t, child, by)
			continue
		}
		best := "" // the longest that the place begins with
		for begin := range by {
			if strings.HasPrefix(rest, begin) && len(begin) > len(best) {
				best = begin
			}
		}
		if best == "" {
			t.Fatalf("nothing is written for %s", rest)
		}
		with := by[best]
		n.Content[i] = &with
	}
}

// jobsOfTheDay imports the site's setting, fills in what is to be filled in, and compiles.
func jobsOfTheDay(t *testing.T) []consumer.Config {
	t.Helper()
	read := func(name string) []byte {
		src, err := os.ReadFile("testdata/day/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return src
	}
	r, err := Import(read("invenio.cfg"), Options{Owner: "library", Topic: "record-events"})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Remarks) > 0 {
		t.Errorf("remarks: %v", r.Remarks)
	}
	var by map[string]yaml.Node
	if err := yaml.Unmarshal(read("filled-in.yaml"), &by); err != nil {
		t.Fatal(err)
	}
	var all []consumer.Config
	for _, j := range r.Jobs {
		src, err := j.YAML()
		if err != nil {
			t.Fatal(err)
		}
		var root yaml.Node
		if err := yaml.Unmarshal(src, &root); err != nil {
			t.Fatal(err)
		}
		fill(t, &root, by)
		if src, err = yaml.Marshal(&root); err != nil {
			t.Fatal(err)
		}
		defs, broken := job.ParseFile(j.ID+".yaml", src)
		if len(defs) != 1 || len(broken) > 0 {
			t.Fatalf("%d jobs, %v of\n%s", len(defs), broken, src)
		}
		cfg, faults := defs[0].Compile(job.Process{Namespace: "streamer", Secrets: job.Secrets{Env: func(string) (string, bool) { return "secret", true }}})
		if err := faults.Err(); err != nil {
			t.Fatalf("%s: %v\n%s", j.ID, err, src)
		}
		all = append(all, cfg)
	}
	return all
}

// records are the ways in which an event stands in Kafka.
var records = map[string]func(t *testing.T, n int, e dict) consumer.Record{
	"JSON": func(t *testing.T, _ int, e dict) consumer.Record {
		return consumer.Record{Value: encoded(t, e)}
	},
	"CloudEvents structured": func(t *testing.T, n int, e dict) consumer.Record {
		c := attributes(n, e)
		c["datacontenttype"], c["data"] = "application/json", e
		return consumer.Record{Value: encoded(t, c), Headers: []consumer.RecordHeader{{Key: "content-type", Value: []byte("application/cloudevents+json; charset=UTF-8")}}}
	},
	"Avro": func(t *testing.T, _ int, e dict) consumer.Record {
		row := map[string]any{}
		for _, name := range []string{"record", "draft", "data", "identity", "owner", "errors", "params", "old_slug", "slug", "id", "time"} {
			row[name] = nil
		}
		for name, v := range e {
			if _, ok := v.(string); !ok {
				v = string(encoded(t, v)) // documents are JSON texts there
			}
			row[name] = v
		}
		return consumer.Record{Value: schemastest.Container(schemas.RecordEvent, "deflate", row)}
	},
	"CloudEvents binary": func(t *testing.T, n int, e dict) consumer.Record {
		r := consumer.Record{Value: encoded(t, e), Headers: []consumer.RecordHeader{{Key: "content-type", Value: []byte("application/json")}}}
		for name, v := range attributes(n, e) {
			r.Headers = append(r.Headers, consumer.RecordHeader{Key: "ce_" + name, Value: []byte(fmt.Sprint(v))})
		}
		return r
	},
}

func attributes(n int, e dict) dict {
	return dict{"specversion": "1.0", "id": fmt.Sprint(n), "source": "https://repository.example.org", "time": e["time"],
		"type":        fmt.Sprintf("org.inveniordm.%s.%s", e["service_type"], e["service_method"]),
		"servicetype": e["service_type"], "servicemethod": e["service_method"]}
}

func encoded(t *testing.T, v any) []byte {
	t.Helper()
	src, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// A day of a repository, through the import and the jobs it makes, gives exactly the expected requests, in whichever way its events stand in
// Kafka. Beside the golden file some rules hold that can be said without it.
func TestDay(t *testing.T) {
	t.Parallel()
	jobs, events := jobsOfTheDay(t), aDay()
	if len(jobs) != 5 {
		t.Errorf("%d jobs, not one for each of 5 endpoints", len(jobs))
	}
	told := map[string][]string{}
	for _, e := range events {
		told[e["service_type"].(string)] = append(told[e["service_type"].(string)], e["service_method"].(string))
	}
	for service, methods := range methodsOf {
		for _, m := range methods {
			if !slices.Contains(told[service], m) {
				t.Errorf("nothing happens by %s.%s", service, m)
			}
		}
	}
	for way, record := range records {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			usage := 0
			for n, e := range events {
				fmt.Fprintf(&b, "%s %s.%s\n", e["time"], e["service_type"], e["service_method"])
				for _, cfg := range jobs {
					rec := record(t, n, e)
					rec.Topic, rec.Offset, rec.Key = "record-events", int64(n), []byte("parent")
					for _, r := range consumer.Render(cfg, rec) {
						b.WriteString(sent(t, cfg.Job, r))
						if r.Verdict == "send" && cfg.Job == "invenio-usage-example-org-api-events" {
							usage++
						}
						// The archive and the counts have "when": None, and so has rename; nobody else hears of what is restricted.
						all := cfg.Job == "invenio-endpoint" || cfg.Job == "invenio-usage-example-org-api-events" || e["service_method"] == "rename"
						if r.Verdict == "send" && restricted(e) && !all {
							t.Errorf("%s is told of what is restricted: %s %s", cfg.Job, r.Request.Method, r.Request.URL)
						}
					}
				}
			}
			if usage != len(events) {
				t.Errorf("%d of %d events are counted", usage, len(events))
			}
			golden(t, "day/requests.txt", b.String())
		})
	}
}

// restricted says that an event is about something that not everybody may see.
func restricted(e dict) bool {
	record, _ := e["record"].(dict)
	access, _ := record["access"].(dict)
	return access["record"] == "restricted" || access["visibility"] == "restricted"
}

// sent shows a request; nothing of an event that is not for the job.
func sent(t *testing.T, id string, r consumer.Rendered) string {
	t.Helper()
	switch r.Verdict {
	case "unmatched":
		return ""
	case "send":
	default:
		return fmt.Sprintf("    %s %s: %s %s\n", id, r.Route, r.Verdict, r.Problem)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "    %s %s: %s %s\n", id, r.Route, r.Request.Method, r.Request.URL)
	for _, h := range r.Request.Header {
		if strings.HasPrefix(h.Name, "X-") {
			fmt.Fprintf(&b, "        %s: %s\n", h.Name, h.Value)
		}
	}
	if len(r.Request.Body) > 0 {
		fmt.Fprintf(&b, "        %s\n", r.Request.Body)
	}
	return b.String()
}
